"""Open what the configuration names as sources: the one place that knows every kind of source."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeVar

from edurise_backup import __version__
from edurise_backup.catalog.export import export
from edurise_backup.config import Settings
from edurise_backup.errors import ConfigError, InputError, NotFoundError, SourceError
from edurise_backup.model.cluster import folder_of
from edurise_backup.model.jobs import BackupType
from edurise_backup.model.settings import (
    BucketSettings,
    ClusterSettings,
    ConfigurationSettings,
    DatabaseSettings,
    FilesSettings,
)
from edurise_backup.operations.buckets import look_at_bucket, open_bucket_source, refuse_repository
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.cluster_sources import open_cluster
from edurise_backup.operations.engine import refuse_nested
from edurise_backup.operations.hooks import hooked
from edurise_backup.operations.secrets import child_environment
from edurise_backup.operations.servers import database_address, database_tools, list_databases
from edurise_backup.ports import Progress, Source
from edurise_backup.sources.bucket import READERS
from edurise_backup.sources.cluster.source import ClusterSource
from edurise_backup.sources.database import FOLDER, DatabaseSource
from edurise_backup.sources.files import FilesSource
from edurise_backup.sources.generated import GeneratedSource, JoinedSource, Produce
from edurise_backup.sources.server_facts import read_configuration, read_inventory, to_json
from edurise_backup.sources.stored_objects import StoredObject, read_stored_objects

NamedT = TypeVar("NamedT", DatabaseSettings, ClusterSettings, FilesSettings, BucketSettings)
VAULT_KEYS = ("/etc/postgresql-custom/pgsodium_root.key",)
"""Without this key nothing in a Supabase vault can be read again."""
SERVERS = "/.edurise/servers"
INVENTORY = "/.edurise/inventory"
CATALOG_EXPORT = f"{INVENTORY}/catalog.jsonl"


@dataclass(frozen=True, slots=True)
class Collected:
    """An opened source, and how its snapshot is labelled."""

    part: BackupType
    name: str
    source: Source
    paths: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    database: DatabaseSource | None = None
    cluster: ClusterSource | None = None
    readers: int = 0
    """Files that are read at once; 0: as many as this machine can work on."""


@dataclass(slots=True)
class Platform:
    """What was learnt while collecting, for the parts that are collected later."""

    objects: dict[str, list[StoredObject]]
    """Rows of `storage.objects` by database source, read in the snapshot that is dumped."""
    files: dict[str, dict[str, int]]
    """By files source: how many files and bytes the backup holds."""


def choose_sources(settings: Settings, kind: BackupType, wanted: str | None) -> list[tuple[BackupType, str]]:
    """Return (part, source) of all that a backup takes, in the order in which it must be read.

    `wanted` limits a part to one source. Raises InputError, NotFoundError, and
    ConfigError when nothing is configured.
    """
    if wanted is not None and kind is BackupType.FULL:
        raise InputError(
            "a full backup takes every source", hint=f"name a part (database, files, …) to back up {wanted!r} alone"
        )
    found = [(part, name) for part in kind.parts for name in _names(settings, part)]
    if kind is not BackupType.METADATA and all(part is BackupType.METADATA for part, _ in found):
        raise ConfigError(
            f"nothing is configured to back up as {kind.value}",
            hint="name sources in it: [[database]], [[cluster]], [[files]], [[bucket]], [[configuration]]",
        )
    chosen = [(part, name) for part, name in found if wanted in (None, name)]
    if not chosen:
        raise NotFoundError(
            f"there is no source named {wanted!r} to back up as {kind.value}",
            safe="nothing was backed up or changed",
            hint=f"choose {', '.join(name for _, name in found)}",
        )
    return chosen


def check_paths(settings: Settings, chosen: Sequence[tuple[BackupType, str]]) -> None:
    """Raise InputError for a path that is missing, unreadable or holds the repository, before anything is done.

    A bucket is asked once: a wrong credential or name is told at once, too.
    What a pre_hook makes is there only after it has run, so those paths are looked at then.
    """
    for files in settings.files:
        if (BackupType.FILES, files.name) in chosen and not files.pre_hook:
            _files_source(settings, files)
    for bucket in settings.buckets:
        if (BackupType.FILES, bucket.name) in chosen:
            refuse_repository(settings, bucket)
            look_at_bucket(bucket)
    for listed in settings.configuration:
        if (BackupType.CONFIGURATION, listed.name) in chosen:
            _configuration_source(settings, listed)


def host_of(settings: Settings, part: BackupType, name: str) -> str:
    """Return the one host that can read a source; empty: every host that lists it."""
    kinds: dict[BackupType, Sequence[DatabaseSettings | ClusterSettings | FilesSettings | ConfigurationSettings]] = {
        BackupType.DATABASE: settings.databases,
        BackupType.CLUSTER: settings.clusters,
        BackupType.FILES: settings.files,
        BackupType.CONFIGURATION: settings.configuration,
    }
    return next((source.host for source in kinds.get(part, ()) if source.name == name), "")


def database_folder(source: str) -> str:
    """Return the folder of a snapshot's tree that holds what was dumped from a database source."""
    return f"{FOLDER}/{source}"


def _names(settings: Settings, part: BackupType) -> list[str]:
    match part:
        case BackupType.DATABASE:
            return [source.name for source in settings.databases]
        case BackupType.CLUSTER:
            return [source.name for source in settings.clusters]
        case BackupType.FILES:
            return [source.name for source in settings.files] + [source.name for source in settings.buckets]
        case BackupType.CONFIGURATION:
            return [source.name for source in settings.configuration] or (["servers"] if settings.databases else [])
        case _:
            return ["platform"]


class Collector:
    """Opens the sources of a backup, in the order in which they must be read."""

    def __init__(self, settings: Settings, catalog: Catalog, progress: Progress) -> None:
        self._settings = settings
        self._catalog = catalog
        self._progress = progress
        self.platform = Platform({}, {})
        self.warnings: list[str] = []
        """What went wrong beside the sources, a sentence each: hooks that failed after the snapshot was published."""

    @contextmanager
    def open(self, part: BackupType, name: str) -> Iterator[Collected]:
        """Open one source; leaving the block lets go of it."""
        match part:
            case BackupType.DATABASE:
                with self._database(_named(self._settings.databases, name)) as collected:
                    yield collected
            case BackupType.CLUSTER:
                with open_cluster(_named(self._settings.clusters, name), self._progress) as cluster:
                    yield Collected(BackupType.CLUSTER, name, cluster, (folder_of(name),), cluster=cluster)
            case BackupType.FILES if name in {source.name for source in self._settings.buckets}:
                yield self._bucket(_named(self._settings.buckets, name))
            case BackupType.FILES:
                with self._files(_named(self._settings.files, name)) as collected:
                    yield collected
            case BackupType.CONFIGURATION:
                yield self._configuration(name)
            case _:
                yield self._metadata()

    @contextmanager
    def _database(self, source: DatabaseSettings) -> Iterator[Collected]:
        address = database_address(source)
        folder = database_folder(source.name)
        with DatabaseSource(
            address,
            name=source.name,
            folder=folder,
            tools=database_tools(source, address),
            exclude_databases=source.exclude,
            large_table_bytes=source.large_table_mib * 1024 * 1024,
            parallel=source.parallel,
            lock_timeout=timedelta(seconds=source.lock_timeout_seconds),
            progress=self._progress,
        ) as opened:
            if source.name in _owners_of_objects(self._settings):
                self.platform.objects[source.name] = self._object_rows(opened)
            yield Collected(BackupType.DATABASE, source.name, opened, (folder,), database=opened)

    def _object_rows(self, opened: DatabaseSource) -> list[StoredObject]:
        rows: list[StoredObject] = []
        for name in opened.databases:
            try:
                rows += read_stored_objects(opened, name)
            except ConfigError as error:  # the dump is whole without it
                self.warnings.append(f"{error.message}: {error.hint}")
        return rows

    @contextmanager
    def _files(self, source: FilesSettings) -> Iterator[Collected]:
        with hooked(
            source.pre_hook,
            source.post_hook,
            source=source.name,
            progress=self._progress,
            warn=self.warnings.append,
            environment=child_environment(self._settings),
        ):
            with _under_way():
                files = _files_source(self._settings, source)
            yield Collected(BackupType.FILES, source.name, files, tuple(files.paths), source.exclude)

    def _bucket(self, source: BucketSettings) -> Collected:
        with _under_way():
            bucket = open_bucket_source(source, self._progress)
        return Collected(BackupType.FILES, source.name, bucket, (bucket.path,), source.exclude, readers=READERS)

    def _configuration(self, name: str) -> Collected:
        listed = next((source for source in self._settings.configuration if source.name == name), None)
        if listed is None:
            return Collected(BackupType.CONFIGURATION, name, self._servers(), (SERVERS,))
        with _under_way():
            files = _configuration_source(self._settings, listed)
        first = listed is self._settings.configuration[0]  # the servers' settings go with the first set of files
        source: Source = JoinedSource(files, self._servers()) if first and self._settings.databases else files
        return Collected(BackupType.CONFIGURATION, name, source, tuple(files.paths), listed.exclude)

    def _servers(self) -> GeneratedSource:
        """Offer what is read from each server: its settings, access rules and extensions."""
        files: dict[str, Produce] = {}
        problems: list[str] = []
        for source in self._settings.databases:
            address = database_address(source)
            found = read_configuration(address, list_databases(address, source.exclude))
            files[f"{SERVERS}/{source.name}.json"] = partial(_once, found.to_json())
            problems += [f"{source.name}: {problem}" for problem in found.problems]
        return GeneratedSource(files, moment=self._now(), problems=problems)

    def _metadata(self) -> Collected:
        servers: dict[str, object] = {}
        problems: list[str] = []
        for source in self._settings.databases:
            address = database_address(source)
            found = read_inventory(address, list_databases(address, source.exclude))
            servers[source.name] = found.facts
            problems += [f"{source.name}: {problem}" for problem in found.problems]

        def versions() -> Iterator[bytes]:
            yield to_json(
                {
                    "edurise_backup": __version__,
                    "python": platform.python_version(),
                    "system": platform.platform(),
                    "tools": {source.name: self._tool_version(source) for source in self._settings.databases},
                }
            )

        def catalog() -> Iterator[bytes]:
            with self._catalog.sessions.transaction() as connection:
                yield from export(connection)

        files: dict[str, Produce] = {
            f"{INVENTORY}/inventory.json": partial(_once, to_json({"servers": servers, "files": self.platform.files})),
            f"{INVENTORY}/versions.json": versions,
            CATALOG_EXPORT: catalog,
        }
        generated = GeneratedSource(files, moment=self._now(), problems=problems)
        return Collected(BackupType.METADATA, "platform", generated, (INVENTORY,))

    def _now(self) -> int:
        return int(self._settings.around.clock().timestamp()) * 1_000_000_000

    def _tool_version(self, source: DatabaseSettings) -> str:
        return str(database_tools(source, database_address(source)).version)


def _owners_of_objects(settings: Settings) -> set[str]:
    """Return the database sources whose rows of `storage.objects` are compared with what is backed up."""
    return {source.objects_of for source in settings.files} | {source.objects_of for source in settings.buckets}


def _named(sources: Sequence[NamedT], name: str) -> NamedT:
    for source in sources:
        if source.name == name:
            return source
    raise NotFoundError(f"no source is named {name!r}", hint="the configuration lists the sources")


def _vault_keys(listed: Sequence[str]) -> list[str]:
    """Return the vault's root keys at the places that Supabase gives them, unless they are listed anyway."""
    return [key for key in VAULT_KEYS if os.access(key, os.R_OK) and key not in listed]


def _files_source(settings: Settings, source: FilesSettings) -> FilesSource:
    files = FilesSource(source.paths, exclude=source.exclude, one_file_system=source.one_file_system)
    _refuse_own(settings, files, source.exclude)
    return files


def _configuration_source(settings: Settings, source: ConfigurationSettings) -> FilesSource:
    files = FilesSource([*source.paths, *_vault_keys(source.paths)], exclude=source.exclude)
    _refuse_own(settings, files, source.exclude)
    return files


def _refuse_own(settings: Settings, files: FilesSource, exclude: Sequence[str]) -> None:
    for place in (settings.repository.location, *(copy.location for copy in settings.copies)):
        refuse_nested(files.paths, place, exclude)
    refuse_nested(files.paths, str(settings.data_directory), exclude)


@contextmanager
def _under_way() -> Iterator[None]:
    """Have what is refused here end the job as a failure: others of its snapshots may be published."""
    try:
        yield
    except InputError as error:
        safe = "what was published before it stays whole"
        raise SourceError(error.message, safe=safe, hint=error.hint) from error


def _once(content: bytes) -> Iterator[bytes]:
    yield content
