"""What a server says of its cluster, beside its files: settings, databases, tablespaces."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

import psycopg

from edurise_backup.errors import BackupError, SourceError
from edurise_backup.model.cluster import RAISED_SETTINGS, ClusterDatabase, Tablespace
from edurise_backup.model.database import Extension
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.facts import read_extensions
from edurise_backup.postgres.session import Connection, fetch, translated

_WANTED = (
    *RAISED_SETTINGS,
    *("wal_level", "wal_segment_size", "block_size", "data_checksums", "server_encoding", "server_version"),
    *("full_page_writes", "wal_log_hints", "track_commit_timestamp", "shared_preload_libraries"),
    *("max_slot_wal_keep_size", "archive_mode", "ssl", "timezone", "lc_messages"),
    *("data_directory", "config_file", "hba_file", "ident_file"),
)
_SETTINGS = "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY (%s) ORDER BY name"
_STATE = """
    SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_postmaster_start_time(), pg_catalog.clock_timestamp(),
           pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')),
           (SELECT rolname::text FROM pg_catalog.pg_roles WHERE oid = 10)"""
_DATABASES = """
    SELECT oid::bigint, datname::text, pg_catalog.pg_encoding_to_char(encoding)::text, datcollate::text,
           datctype::text, {version}, datallowconn AND NOT datistemplate
    FROM pg_catalog.pg_database WHERE datconnlimit <> -2 ORDER BY datname"""
_TABLESPACES = """
    SELECT oid::bigint, spcname::text, pg_catalog.pg_tablespace_location(oid) FROM pg_catalog.pg_tablespace
    WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY oid"""
_RELATION_NAMES = """
    SELECT n.nspname || '.' || c.relname
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE pg_catalog.pg_relation_filenode(c.oid) = %s"""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """A running cluster, by its server's word."""

    server_version: int
    """As libpq gives it: 180004."""
    settings: dict[str, str]
    in_recovery: bool
    started: datetime
    now: datetime
    segment_size: int
    superuser: str
    """The role that initdb made."""
    tablespaces: tuple[Tablespace, ...]

    @property
    def major(self) -> int:
        """The server's major version."""
        return self.server_version // 10000

    @property
    def block_size(self) -> int:
        """Bytes of a page."""
        return int(self.settings["block_size"])

    @property
    def data_checksums(self) -> bool:
        """Whether pages have checksums."""
        return self.settings["data_checksums"] == "on"

    @property
    def data_directory(self) -> str | None:
        """Where the server says that its files are; None when the role may not see it."""
        return self.settings.get("data_directory")


def read_cluster(connection: Connection) -> ClusterFacts:
    """Ask a server; raises SourceError, UnreachableError."""
    try:
        rows = fetch(connection, _SETTINGS, [list(_WANTED)])
        ((recovery, started, now, size, superuser),) = fetch(connection, _STATE)
        spaces = fetch(connection, _TABLESPACES)
    except psycopg.Error as error:
        raise translated(error, "the settings of the server") from error
    assert isinstance(started, datetime)
    assert isinstance(now, datetime)
    assert isinstance(size, int)
    return ClusterFacts(
        server_version=connection.info.server_version,
        settings={str(name): str(value) for name, value in rows},
        in_recovery=bool(recovery),
        started=started,
        now=now,
        segment_size=size,
        superuser=str(superuser or ""),
        tablespaces=tuple(Tablespace(int(str(oid)), str(name), str(place)) for oid, name, place in spaces),
    )


def read_databases(address: Address, connection: Connection, *, skip: Sequence[str] = ()) -> list[ClusterDatabase]:
    """Return every database; of one that the role may not open the extensions are missing. Raises SourceError."""
    version = "datcollversion::text" if connection.info.server_version >= 150000 else "NULL::text"
    try:
        rows = fetch(connection, _DATABASES.format(version=version))
    except psycopg.Error as error:
        raise translated(error, "the list of databases") from error
    return [
        ClusterDatabase(
            oid=int(str(oid)),
            name=str(name),
            encoding=str(encoding),
            collate=str(collate),
            ctype=str(ctype),
            collation_version=None if collated is None else str(collated),
            extensions=_extensions(address, str(name)) if opened and name not in skip else [],
        )
        for oid, name, encoding, collate, ctype, collated, opened in rows
    ]


def _extensions(address: Address, database: str) -> list[Extension]:
    try:
        with closing(connect(address, database=database, autocommit=True)) as connection:
            return read_extensions(connection)
    except (BackupError, psycopg.Error):  # a note for people who restore: no backup fails for want of it
        return []


def relation_name(address: Address, database: str, filenode: int) -> str | None:
    """Return `schema.name` of the relation with that file; None where it cannot be told."""
    try:
        with closing(connect(address, database=database, autocommit=True)) as connection:
            rows = fetch(connection, _RELATION_NAMES, [filenode])
    except (BackupError, psycopg.Error):
        return None
    return str(rows[0][0]) if rows else None


def refuse_impossible(facts: ClusterFacts, source: str) -> None:
    """Raise SourceError for a server of which no base backup can be taken."""
    if facts.in_recovery:
        raise SourceError(
            f"{source} is a standby: it is in recovery",
            safe="nothing was read or changed",
            hint="name the primary in the url of the [[cluster]]",
        )
    if facts.settings.get("wal_level") == "minimal":
        raise SourceError(
            f"{source} writes too little into its WAL: wal_level is minimal",
            safe="nothing was read or changed",
            hint="set wal_level = replica in postgresql.conf and restart the server",
        )
    if facts.settings.get("full_page_writes") == "off":
        raise SourceError(
            f"{source} runs with full_page_writes off: pages that are torn while they are copied cannot be mended",
            safe="nothing was read or changed",
            hint="set full_page_writes = on and reload the server",
        )
