"""Open what the configuration names as sources: the one place that knows every kind of source."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from edurise_backup import __version__
from edurise_backup.catalog.export import export
from edurise_backup.config import DatabaseSettings, FilesSettings, Settings
from edurise_backup.errors import ConfigError, InputError, NotFoundError, ToolError
from edurise_backup.model.jobs import BackupType
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.engine import refuse_nested
from edurise_backup.ports import Progress, Source
from edurise_backup.postgres.connection import Address, connect, parse_address
from edurise_backup.postgres.tools import Tools, find_tools
from edurise_backup.sources.database import DatabaseSource
from edurise_backup.sources.files import FilesSource
from edurise_backup.sources.generated import GeneratedSource, JoinedSource, Produce
from edurise_backup.sources.server_facts import read_configuration, read_inventory, to_json
from edurise_backup.sources.stored_objects import StoredObject, read_stored_objects

NamedT = TypeVar("NamedT", DatabaseSettings, FilesSettings)
VAULT_KEYS = ("/etc/postgresql-custom/pgsodium_root.key",)
"""Without this key nothing in a Supabase vault can be read again."""
SERVERS = "/.edurise/servers"
INVENTORY = "/.edurise/inventory"


@dataclass(frozen=True, slots=True)
class Collected:
    """An opened source, and how its snapshot is labelled."""

    part: BackupType
    name: str
    source: Source
    paths: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    database: DatabaseSource | None = None


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
            hint="name sources in the configuration: [[database]], [[files]], [[configuration]]",
        )
    chosen = [(part, name) for part, name in found if wanted in (None, name)]
    if not chosen:
        raise NotFoundError(
            f"there is no source named {wanted!r} to back up as {kind.value}",
            safe="nothing was backed up or changed",
            hint=f"choose {', '.join(name for _, name in found)}",
        )
    return chosen


def _names(settings: Settings, part: BackupType) -> list[str]:
    match part:
        case BackupType.DATABASE:
            return [source.name for source in settings.databases]
        case BackupType.FILES:
            return [source.name for source in settings.files]
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

    @contextmanager
    def open(self, part: BackupType, name: str) -> Iterator[Collected]:
        """Open one source; leaving the block lets go of it."""
        match part:
            case BackupType.DATABASE:
                with self._database(_named(self._settings.databases, name)) as collected:
                    yield collected
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
        with DatabaseSource(
            address,
            name=source.name,
            tools=database_tools(source, address),
            exclude_databases=source.exclude,
            large_table_bytes=source.large_table_mib * 1024 * 1024,
            parallel=source.parallel,
            lock_timeout=timedelta(seconds=source.lock_timeout_seconds),
            progress=self._progress,
        ) as opened:
            if any(files.objects_of == source.name for files in self._settings.files):
                self.platform.objects[source.name] = [
                    row for name in opened.databases for row in read_stored_objects(opened, name)
                ]
            yield Collected(BackupType.DATABASE, source.name, opened, ("/databases",), database=opened)

    @contextmanager
    def _files(self, source: FilesSettings) -> Iterator[Collected]:
        try:
            _run_hook(source.pre_hook, f"pre_hook of {source.name}")
            files = FilesSource(source.paths, exclude=source.exclude, one_file_system=source.one_file_system)
            self._refuse_own(files)
            yield Collected(BackupType.FILES, source.name, files, tuple(files.paths), source.exclude)
        finally:
            _run_hook(source.post_hook, f"post_hook of {source.name}")

    def _configuration(self, name: str) -> Collected:
        listed = next((source for source in self._settings.configuration if source.name == name), None)
        if listed is None:
            return Collected(BackupType.CONFIGURATION, name, self._servers(), (SERVERS,))
        files = FilesSource([*listed.paths, *_vault_keys(listed.paths)], exclude=listed.exclude)
        self._refuse_own(files)
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
        return GeneratedSource(files, moment=_now(), problems=problems)

    def _metadata(self) -> Collected:
        def inventory() -> Iterator[bytes]:
            servers = {}
            for source in self._settings.databases:
                address = database_address(source)
                servers[source.name] = read_inventory(address, list_databases(address, source.exclude))
            yield to_json({"servers": servers, "files": self.platform.files})

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

        files = {
            f"{INVENTORY}/inventory.json": inventory,
            f"{INVENTORY}/versions.json": versions,
            f"{INVENTORY}/catalog.jsonl": catalog,
        }
        return Collected(BackupType.METADATA, "platform", GeneratedSource(files, moment=_now()), (INVENTORY,))

    def _tool_version(self, source: DatabaseSettings) -> str:
        return str(database_tools(source, database_address(source)).version)

    def _refuse_own(self, files: FilesSource) -> None:
        refuse_nested(files, self._settings.repository.location.removeprefix("local:"))
        refuse_nested(files, str(self._settings.data_directory))


def database_address(source: DatabaseSettings) -> Address:
    """Return where a configured server is; raises ConfigError."""
    password_file = Path(source.password_file) if source.password_file else None
    return parse_address(source.url, password_file=password_file, allow_plaintext=source.allow_plaintext)


def database_tools(source: DatabaseSettings, address: Address) -> Tools:
    """Return client tools that fit the server; raises UnreachableError, UnsupportedVersionError."""
    with connect(address, autocommit=True) as connection:
        major = connection.info.server_version // 10000
    return find_tools(major, bindir=Path(source.bindir) if source.bindir else None)


def list_databases(address: Address, exclude: Sequence[str]) -> list[str]:
    """Return the databases of a server that are backed up."""
    query = b"SELECT datname::text FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1"
    with connect(address, autocommit=True) as connection:
        names = [str(row[0]) for row in connection.execute(query)]
    return [name for name in names if name not in exclude]


def _named(sources: Sequence[NamedT], name: str) -> NamedT:
    for source in sources:
        if source.name == name:
            return source
    raise NotFoundError(f"no source is named {name!r}", hint="the configuration lists the sources")


def _vault_keys(listed: Sequence[str]) -> list[str]:
    """Return the vault's root keys at the places that Supabase gives them, unless they are listed anyway."""
    return [key for key in VAULT_KEYS if os.access(key, os.R_OK) and key not in listed]


def _once(content: bytes) -> Iterator[bytes]:
    yield content


def _run_hook(command: Sequence[str], name: str) -> None:
    if not command:
        return
    try:
        done = subprocess.run(list(command), capture_output=True, text=True, timeout=3600, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"the {name} did not run: {error}", hint="check the command in the configuration") from error
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise ToolError(
            f"the {name} ended with status {done.returncode}: {last[0]}",
            safe="nothing was published",
            hint="run the command by hand as this user",
        )


def _now() -> int:
    return int(datetime.now(UTC).timestamp()) * 1_000_000_000
