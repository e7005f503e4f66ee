"""The sources that several workers share: found by name, opened alike by the job and by each worker."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from edurise_backup.config import Settings
from edurise_backup.config.places import bucket_place
from edurise_backup.errors import ConfigError
from edurise_backup.model.jobs import BackupType
from edurise_backup.model.settings import BucketSettings, FilesSettings
from edurise_backup.operations.buckets import open_bucket_source
from edurise_backup.operations.collection import check_paths
from edurise_backup.ports import DividedSource, Progress
from edurise_backup.sources.bucket import READERS
from edurise_backup.sources.files import FilesSource

SharedSettings = FilesSettings | BucketSettings


def divisible_sources(settings: Settings) -> list[SharedSettings]:
    """Return the settings of all sources that several workers could share."""
    found: list[SharedSettings] = [*settings.files]
    return [*found, *settings.buckets]


def shared_sources(settings: Settings) -> list[SharedSettings]:
    """Return the settings of those that they do share."""
    return [source for source in divisible_sources(settings) if source.sharded]


def shared_source(settings: Settings, part: BackupType, name: str) -> SharedSettings | None:
    """Return the settings of a source that several workers share; None for any other."""
    if part is not BackupType.FILES:
        return None
    return next((source for source in shared_sources(settings) if source.name == name), None)


def likeness(source: SharedSettings) -> str:
    """Return what of a source's settings must be the same for all who share it; no secret."""
    if isinstance(source, FilesSettings):
        facts: list[object] = [source.paths, source.exclude, source.one_file_system]
    else:
        facts = [bucket_place(source).address, source.exclude, source.versions]
    return msgspec.json.encode(facts).decode()


def devices_of(source: SharedSettings) -> tuple[int, ...]:
    """Return the numbers that this machine gives the file systems of a source's paths."""
    return tuple(os.lstat(path).st_dev for path in source.paths) if isinstance(source, FilesSettings) else ()


def open_shared(source: SharedSettings, progress: Progress, devices: Sequence[int] = ()) -> DividedSource:
    """Open a source; `devices` are the numbers that its paths' file systems have where the job was started."""
    if isinstance(source, BucketSettings):
        return open_bucket_source(source, progress)
    numbers = {os.lstat(path).st_dev: device for path, device in zip(source.paths, devices, strict=False)}
    return FilesSource(source.paths, exclude=source.exclude, one_file_system=source.one_file_system, renumbered=numbers)


def open_ordered(
    settings: Settings, name: str, told: str, devices: Sequence[int], progress: Progress
) -> tuple[DividedSource, int]:
    """Open what an order names, by this worker's own configuration; return it, and how many files are read at once.

    Raises ConfigError when it is another source here.
    """
    found = next((source for source in divisible_sources(settings) if source.name == name), None)
    if found is None or likeness(found) != told:
        raise ConfigError(
            f"this worker's configuration has another source {name!r}, or none",
            safe="nothing was stored",
            hint="give all workers the same configuration, and start them again",
        )
    check_paths(settings, [(BackupType.FILES, found.name)])
    return open_shared(found, progress, devices), READERS if isinstance(found, BucketSettings) else 0
