"""Bring a database back under a name that is free, or leave nothing: START HERE for restoring dumps.

Nothing that exists is changed: the name must not be taken, existing roles stay
as they are, and a restore that fails drops what it made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg
from psycopg import sql

from edurise_backup.errors import (
    BackupError,
    ConfigError,
    ConflictError,
    ToolError,
    UnsupportedVersionError,
)
from edurise_backup.model.database import DatabaseProperties, DatabaseRecord, Globals
from edurise_backup.ports import Progress
from edurise_backup.postgres.connection import Address, client_environment, connect
from edurise_backup.postgres.names import quote_name
from edurise_backup.postgres.properties import property_statements
from edurise_backup.postgres.session import Connection, fetch
from edurise_backup.postgres.tools import Tools
from edurise_backup.recovery.database_archives import ArchiveLoader, ArchiveReader
from edurise_backup.recovery.database_roles import ensure_roles

_NAME_BYTES = 63


@dataclass(frozen=True, slots=True)
class RestoredDatabase:
    """A database that was brought back."""

    name: str
    roles_created: list[str]
    roles_kept: list[str]
    """Roles of the backup that the server had already; they were not changed."""
    notes: list[str]
    """What a person should know, a sentence each."""


def restore_database(
    reader: ArchiveReader,
    record: DatabaseRecord,
    *,
    address: Address,
    new_name: str,
    tools: Tools,
    server_globals: Globals,
    parallel: int = 2,
    progress: Progress | None = None,
) -> RestoredDatabase:
    """Create `new_name` on the server at `address` and fill it from the archives that `record` names.

    `parallel` bounds the pg_restore processes. Raises ConflictError when the
    name is taken, UnsupportedVersionError, UnreachableError, ConfigError (a
    locale that this server does not have), ToolError; after any error the
    database is not there.
    """
    with connect(address, autocommit=True) as admin:
        _check_target(admin, record, new_name, tools)
        roles = ensure_roles(admin, server_globals)
        notes = [f"The role {name} existed and was not changed." for name in roles.kept if name != address.user]
        missing = _missing_tablespaces(admin, server_globals)
        if missing:
            notes.append(f"The server has no tablespaces {', '.join(missing)}: everything went to the default one.")
        _create(admin, record.properties, new_name, default_tablespace=record.properties.tablespace in missing)
        with _dropped_on_failure(address, new_name), client_environment(address.with_database(new_name)) as environment:
            loader = ArchiveLoader(
                reader,
                record,
                tools=tools,
                environment=environment,
                database=new_name,
                tablespaces=not missing,
                parallel=parallel,
                keep_on=lambda count: _keep_on(progress, count),
            )
            loader.load()
            _analyze(address, new_name)
            _apply_properties(admin, record.properties, new_name)
    return RestoredDatabase(new_name, roles.created, roles.kept, notes + loader.notes)


def _check_target(admin: Connection, record: DatabaseRecord, new_name: str, tools: Tools) -> None:
    if not new_name or "\0" in new_name or len(new_name.encode()) > _NAME_BYTES:
        raise ConfigError(f"{new_name!r} cannot be a database's name", hint=f"use 1 to {_NAME_BYTES} bytes without NUL")
    major = admin.info.server_version // 10000
    if major < record.server_major:
        raise UnsupportedVersionError(
            f"the backup is of PostgreSQL {record.server_major}, the target runs {major}",
            safe="nothing was changed",
            hint="restore to a server of the same or a later major version",
        )
    if tools.version.major < max(major, record.dump_major):
        raise UnsupportedVersionError(
            f"pg_restore {tools.version} is older than the server ({major}) or the archive ({record.dump_major})",
            safe="nothing was changed",
            hint=f"install postgresql-client-{max(major, record.dump_major)}",
        )
    if fetch(admin, "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", [new_name]):
        raise _taken(new_name)


def _taken(name: str) -> ConflictError:
    return ConflictError(
        f"a database named {name} exists already",
        safe="it was not touched",
        hint="restore under another name, or drop it yourself first",
    )


def _missing_tablespaces(admin: Connection, wanted: Globals) -> list[str]:
    existing = {name for (name,) in fetch(admin, "SELECT spcname::text FROM pg_catalog.pg_tablespace")}
    return [space.name for space in wanted.tablespaces if space.name not in existing]


def _create(admin: Connection, properties: DatabaseProperties, name: str, *, default_tablespace: bool) -> None:
    words: list[sql.Composable] = [
        sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}").format(
            sql.Identifier(name), properties.encoding, properties.collate, properties.ctype
        )
    ]
    version = admin.info.server_version
    if version >= 150000:
        words.append(sql.SQL("LOCALE_PROVIDER {}").format(sql.Identifier(properties.locale_provider)))
    if properties.locale is not None and properties.locale_provider != "libc":
        key = sql.SQL("ICU_LOCALE {}" if properties.locale_provider == "icu" else "BUILTIN_LOCALE {}")
        words.append(key.format(properties.locale))
    if properties.icu_rules is not None:
        words.append(sql.SQL("ICU_RULES {}").format(properties.icu_rules))
    # naming the default one would need a right on it that nobody needs who does not name it
    if not default_tablespace and properties.tablespace != "pg_default":
        words.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(properties.tablespace)))
    try:
        admin.execute(sql.SQL(" ").join(words))
    except psycopg.errors.DuplicateDatabase as error:
        raise _taken(name) from error
    except psycopg.Error as error:
        raise ConfigError(
            f"the database {name} cannot be created: {error.diag.message_primary}",
            safe="nothing was changed but the roles that were missing",
            hint="the role needs CREATEDB: docs/operations/configuration.md, Who recovers"
            if isinstance(error, psycopg.errors.InsufficientPrivilege)
            else f"the server needs the locale {properties.locale or properties.collate}",
        ) from error


def _apply_properties(admin: Connection, properties: DatabaseProperties, name: str) -> None:
    try:
        with admin.transaction():
            for statement in property_statements(properties, quote_name(name)):
                admin.execute(statement.encode())
    except psycopg.Error as error:
        raise ToolError(f"owner, grants or settings of {name} cannot be set: {error.diag.message_primary}") from error


def _analyze(address: Address, name: str) -> None:
    with connect(address, database=name, autocommit=True) as connection:
        try:
            connection.execute("ANALYZE")
        except psycopg.Error as error:
            raise ToolError(f"ANALYZE failed in {name}: {error.diag.message_primary}") from error


@contextmanager
def _dropped_on_failure(address: Address, name: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        dropped = False
        # a new connection: the one that failed may be of no use
        with suppress(BackupError, psycopg.Error), connect(address, autocommit=True) as admin:
            admin.execute(sql.SQL("ALTER DATABASE {} WITH IS_TEMPLATE false").format(sql.Identifier(name)))
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            dropped = True
        if isinstance(error, BackupError):
            fate = "was dropped; nothing else was changed" if dropped else "could not be dropped: drop it by hand"
            error.safe = f"the half-made database {name} {fate}"
        raise


def _keep_on(progress: Progress | None, count: int) -> None:
    if progress is not None:
        progress.raise_if_cancelled()
        if count:
            progress.advance(bytes_done=count)
