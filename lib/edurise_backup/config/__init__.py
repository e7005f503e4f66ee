"""Read the configuration: a TOML file and a few environment variables become frozen settings.

The file is the one that is named, else EDURISE_CONFIG, else `edurise-backup.toml`
in the working directory, else none (then only the data directory is known).
Relative paths are relative to the file. A secret is named by where it is kept (a
file, a variable, a command, a key ring), never written into the configuration.
A mistake is told with its key and its line.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from edurise_backup.config.contents import Contents, parse
from edurise_backup.config.places import absolute, command_words, store_place, with_password
from edurise_backup.errors import ConfigError
from edurise_backup.model.alarm_targets import AlarmTargetSettings
from edurise_backup.model.location import S3Access
from edurise_backup.model.object_lock import NO_LOCK, make_lock, parse_lock
from edurise_backup.model.secrets import SecretPlace, split_command
from edurise_backup.model.settings import (
    NAME,
    ONE_MACHINE,
    BucketSettings,
    CatalogSettings,
    ClusterSettings,
    ConfigurationSettings,
    CopySettings,
    DaskSettings,
    DatabaseSettings,
    FilesSettings,
    ObjectivesSettings,
    RepositorySettings,
)
from edurise_backup.model.sign_in import ApprovalSettings, SignInSettings
from edurise_backup.monitoring.redaction import REDACTOR
from edurise_backup.ports import AROUND, Surroundings

_Reached = TypeVar("_Reached", RepositorySettings, CopySettings, BucketSettings)
FILE_NAME = "edurise-backup.toml"
DASHBOARD_PORT = 8501


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an operation needs to know; all paths are absolute."""

    path: Path | None
    data_directory: Path
    host: str
    """The host name of snapshots: stays the same when the machine's name changes, if it is set."""
    repository: RepositorySettings
    catalog: CatalogSettings
    prefect_api_url: str
    databases: tuple[DatabaseSettings, ...]
    files: tuple[FilesSettings, ...]
    configuration: tuple[ConfigurationSettings, ...]
    objectives: ObjectivesSettings
    prefect_auth: SecretPlace
    """Where the API's credential is kept; nowhere: what `make up` made."""
    sign_in: SignInSettings
    approvals: ApprovalSettings
    dashboard_port: int
    buckets: tuple[BucketSettings, ...] = ()
    alarm_targets: tuple[AlarmTargetSettings, ...] = ()
    clusters: tuple[ClusterSettings, ...] = ()
    copies: tuple[CopySettings, ...] = ()
    """Further repositories; the register in the catalog may name more."""
    dask: DaskSettings = ONE_MACHINE
    around: Surroundings = AROUND

    @property
    def secrets(self) -> tuple[SecretPlace, ...]:
        """Every place of a secret that the configuration names."""
        places = (
            self.repository.password("repository"),
            self.catalog.password("catalog"),
            self.prefect_auth,
            *_key_places("repository", self.repository),
            *(copy.password(f"copy {copy.name}") for copy in self.copies),
            *(place for copy in self.copies for place in _key_places(f"copy {copy.name}", copy)),
            *(source.password(f"database {source.name}") for source in self.databases),
            *(source.recovery.password(f"database {source.name}, recovery") for source in self.databases),
            *(source.password(f"cluster {source.name}") for source in self.clusters),
            *(source.recovery.password(f"cluster {source.name}, recovery") for source in self.clusters),
            *(SecretPlace(f"bucket {source.name}.access_key", file=source.access_key_file) for source in self.buckets),
            *(SecretPlace(f"bucket {source.name}.secret_key", file=source.secret_key_file) for source in self.buckets),
        )
        return tuple(place for place in places if place)


def _key_places(owner: str, found: RepositorySettings) -> tuple[SecretPlace, ...]:
    return (
        SecretPlace(f"{owner}.access_key", file=found.access_key_file),
        SecretPlace(f"{owner}.secret_key", file=found.secret_key_file),
    )


def is_name(text: str) -> bool:
    """Whether the text could be a source's name; one is safe as a folder's name, too."""
    return re.match(NAME, text) is not None


def load_settings(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the configuration; raises ConfigError that names the key and the line."""
    given = os.environ if environment is None else environment
    chosen = _choose(path, given)
    if chosen is None:
        return _learned(_settings(Contents(), None, Path.cwd(), given), given)
    try:
        text = chosen.read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"the configuration {chosen} cannot be read: {error.strerror}", hint="check --config or EDURISE_CONFIG"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{chosen}, line {line}: this is not UTF-8 text", hint="save the file as UTF-8") from None
    return _learned(_settings(parse(text, chosen), chosen, chosen.parent, given), given)


def _learned(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """Have what the named variables hold known as secrets now: before a command is started that would inherit them."""
    for place in settings.secrets:
        if text := environment.get(place.variable, "").strip():
            REDACTOR.learn(text)
    return settings


def _choose(path: Path | None, environment: Mapping[str, str]) -> Path | None:
    if path is None and environment.get("EDURISE_CONFIG"):
        path = Path(environment["EDURISE_CONFIG"])
    if path is None and Path(FILE_NAME).is_file():
        path = Path(FILE_NAME)
    return path.absolute() if path else None


def _settings(found: Contents, path: Path | None, base: Path, environment: Mapping[str, str]) -> Settings:
    whole = partial(absolute, base=base)
    location = store_place(environment.get("EDURISE_REPOSITORY", ""), Path.cwd()) or store_place(
        found.repository.location, base
    )
    data = whole(found.data_directory) or str(_default_data_directory(environment))
    return Settings(
        path=path,
        data_directory=Path(data),
        host=found.host or socket.gethostname(),
        repository=_repository(msgspec.structs.replace(found.repository, location=location), base, environment),
        catalog=with_password(found.catalog, base),
        prefect_api_url=environment.get("PREFECT_API_URL") or found.prefect.api_url,
        prefect_auth=replace(
            found.prefect.auth,
            file=whole(found.prefect.auth_file),
            command=command_words(found.prefect.auth_command, base),
        ),
        databases=tuple(
            msgspec.structs.replace(
                with_password(database, base),
                bindir=whole(database.bindir),
                recovery=with_password(database.recovery, base),
            )
            for database in found.database
        ),
        files=tuple(msgspec.structs.replace(files, paths=tuple(map(whole, files.paths))) for files in found.files),
        configuration=tuple(
            msgspec.structs.replace(source, paths=tuple(map(whole, source.paths))) for source in found.configuration
        ),
        clusters=tuple(
            msgspec.structs.replace(
                with_password(cluster, base),
                data_directory=whole(cluster.data_directory),
                bindir=whole(cluster.bindir),
                recovery=with_password(cluster.recovery, base),
                wal=msgspec.structs.replace(cluster.wal, socket=whole(cluster.wal.socket)),
            )
            for cluster in found.cluster
        ),
        buckets=tuple(_with_access(bucket, base, environment) for bucket in found.bucket),
        objectives=found.objectives,
        sign_in=found.sign_in,
        approvals=found.approvals,
        dashboard_port=_port(environment.get("EDURISE_DASHBOARD_PORT", "")),
        alarm_targets=tuple(
            msgspec.structs.replace(target, url_file=whole(target.url_file)) for target in found.alarm_target
        ),
        copies=tuple(_copy(copy, base, environment) for copy in found.copy),
        dask=found.dask,
    )


def _repository(found: RepositorySettings, base: Path, environment: Mapping[str, str]) -> RepositorySettings:
    """Return the repository with its passphrase's place: the environment's in place of the file's."""
    file, command = environment.get("EDURISE_PASSWORD_FILE", ""), environment.get("EDURISE_PASSWORD_COMMAND", "")
    found = _with_access(found, base, environment)
    if file and command:
        raise ConfigError(
            "EDURISE_PASSWORD_FILE and EDURISE_PASSWORD_COMMAND are both set",
            safe="nothing was done",
            hint="set one of the two",
        )
    if not file and not command:
        return with_password(found, base)
    return msgspec.structs.replace(
        found,
        password_file=absolute(file, Path.cwd()),
        password_command=split_command(command, "EDURISE_PASSWORD_COMMAND"),
        password_env="",
        password_keyring="",
    )


def _copy(found: CopySettings, base: Path, environment: Mapping[str, str]) -> CopySettings:
    placed = msgspec.structs.replace(found, location=store_place(found.location, base))
    return with_password(_with_access(placed, base, environment), base)


def _with_access(found: _Reached, base: Path, environment: Mapping[str, str]) -> _Reached:
    """Return a table of a store or bucket whose files are found from anywhere."""
    return msgspec.structs.replace(
        found,
        access_key_file=absolute(found.access_key_file, base),
        secret_key_file=absolute(found.secret_key_file, base),
        ca_file=absolute(found.ca_file, base),
        allow_plaintext=found.allow_plaintext or _plaintext_allowed(environment),
    )


def _port(text: str) -> int:
    """Return the dashboard's port; what is none is told by `make up`, which would listen there."""
    return int(text) if text.isascii() and text.isdigit() else DASHBOARD_PORT


def s3_access(
    table: RepositorySettings | BucketSettings | None = None, environment: Mapping[str, str] | None = None
) -> S3Access:
    """Return how a bucket is reached by these settings; without settings, as the environment alone says."""
    if table is None:
        given = os.environ if environment is None else environment
        return S3Access(
            allow_plaintext=_plaintext_allowed(given), lock=parse_lock(given.get("EDURISE_OBJECT_LOCK", ""))
        )
    return S3Access(
        access_key_file=table.access_key_file,
        secret_key_file=table.secret_key_file,
        profile=table.profile,
        region=table.region,
        ca_file=table.ca_file,
        allow_plaintext=table.allow_plaintext,
        lock=make_lock(table.lock_mode, table.lock_days) if isinstance(table, RepositorySettings) else NO_LOCK,
    )


def _plaintext_allowed(environment: Mapping[str, str]) -> bool:
    return environment.get("EDURISE_ALLOW_PLAINTEXT", "") == "1"


def _default_data_directory(environment: Mapping[str, str]) -> Path:
    data = environment.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "edurise-backup"
