"""The configured repository: where it is, made, and opened."""

from __future__ import annotations

from edurise_backup.config import Settings, s3_access
from edurise_backup.errors import BackupError, ConfigError
from edurise_backup.model.compression import AUTO, AUTO_DATABASE, parse_compression
from edurise_backup.model.jobs import BackupType
from edurise_backup.model.settings import RepositorySettings
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.opening import create_repository, open_repository
from edurise_backup.operations.secrets import read_secret
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.writer import WriterSettings


def make_repository(settings: Settings) -> tuple[str, str]:
    """Make the configured repository; return its id and its recovery key, to be shown once. Raises ConflictError."""
    repository, recovery_key = create_repository(
        *_place(settings), around=settings.around.store, access=s3_access(settings.repository)
    )
    return repository.config.id, recovery_key


def opened_repository(settings: Settings, errand: Errand | None = None) -> Repository:
    """Open the configured repository; raises ConfigError, WrongPassphraseError, NotARepositoryError.

    Each job has an errand: without one nobody can stop what the store waits for, or counts it.
    """
    limits = None if errand is None else errand.limits
    place, access = _place(settings), s3_access(settings.repository)
    try:
        return open_repository(*place, limits, around=settings.around.store, access=access)
    except BackupError:
        if errand is not None:
            errand.note_queued()
        raise


def writing_as_set(settings: RepositorySettings, part: BackupType | None = None) -> WriterSettings:
    """Return how blobs are stored in a repository, as it is configured; `part`: of what they are."""
    auto = AUTO_DATABASE if part in (BackupType.DATABASE, BackupType.CLUSTER) else AUTO
    return WriterSettings(compression=parse_compression(settings.compression, auto=auto), check=settings.check_blobs)


def repository_place(settings: Settings) -> str:
    """Return where the configured repository is; raises ConfigError."""
    if not settings.repository.location:
        raise ConfigError(
            "no repository is configured",
            hint="name one in [repository] of the configuration, or set EDURISE_REPOSITORY",
        )
    return settings.repository.location


def _place(settings: Settings) -> tuple[str, str]:
    location = repository_place(settings)
    place = settings.repository.password("repository")
    if not place:
        raise ConfigError(
            "no password file is configured, nor another place of the repository's passphrase",
            hint="name one in [repository] of the configuration, or set EDURISE_PASSWORD_FILE",
        )
    return location, read_secret(place).reveal()
