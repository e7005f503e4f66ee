"""What a base backup of a PostgreSQL cluster says of itself: `cluster.json` beside its data directory."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeVar

import msgspec

from edurise_backup.errors import DamageError, UnsupportedVersionError
from edurise_backup.model.database import Extension

RECORD_VERSION = 1
FOLDER = "/.edurise/clusters"
"""Where base backups lie in a snapshot: FOLDER/SOURCE/…"""
DATA, TABLESPACES, RECORD = "data", "tablespaces", "cluster.json"
RAISED_SETTINGS = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
)
"""A recovery needs at least what the cluster had (the manual, "Hot Standby", administrator's overview)."""

_T = TypeVar("_T")


class Tablespace(msgspec.Struct, frozen=True):
    """A tablespace outside of the data directory."""

    oid: int
    name: str
    location: str


class ClusterDatabase(msgspec.Struct, frozen=True):
    """A database of the cluster, as far as another machine must know it before it serves it."""

    oid: int
    name: str
    encoding: str
    collate: str
    ctype: str
    collation_version: str | None
    """Of the machine's C or ICU library: another one may sort differently, and indexes are wrong then."""
    extensions: list[Extension]
    """Empty where the role may not connect."""


class DamagedFile(msgspec.Struct, frozen=True):
    """Pages of one file whose checksums are wrong on the disk of the server."""

    path: str
    relation: str
    """`schema.name` in its database, or the path when the name is not known."""
    pages: list[int]


class ClusterRecord(msgspec.Struct, kw_only=True, frozen=True):
    """Where a base backup begins and ends in the log, and what a server needs to run it; times are aware UTC."""

    version: int = RECORD_VERSION
    name: str
    method: Literal["local", "protocol"]
    system_identifier: str
    server_version: str
    server_major: int
    catalog_version: int
    timeline: int
    start_lsn: str
    start_time: datetime
    stop_lsn: str
    stop_time: datetime
    segment_size: int
    block_size: int
    data_checksums: bool
    data_directory: str
    settings: dict[str, str]
    """What a recovery must not fall below, and what it must know: the five of RAISED_SETTINGS, wal_level and others."""
    superuser: str
    """The role that initdb made: it can always log in where nobody asks for a password."""
    databases: list[ClusterDatabase]
    tablespaces: list[Tablespace]
    wal: list[str]
    """The segments from the start to the end, which lie in the backup's own pg_wal."""
    damaged: list[DamagedFile]
    next_xid: int = 0
    """Transactions from this number on began after the backup's checkpoint; 0: not recorded."""
    boot: str = ""
    """Of the machine, when the files were read on it; and since when the server ran there."""
    server_started: datetime | None = None


def encode_record(record: ClusterRecord) -> bytes:
    """Return the record as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def decode_record(content: bytes) -> ClusterRecord:
    """Return the record; raises DamageError, UnsupportedVersionError."""
    try:
        version = msgspec.json.decode(content, type=_Version).version
        if version > RECORD_VERSION:
            raise UnsupportedVersionError(
                f"this base backup was made by a newer release (record version {version})", hint="upgrade this program"
            )
        return msgspec.json.decode(content, type=ClusterRecord)
    except msgspec.DecodeError as error:
        raise DamageError(f"{RECORD} of a base backup cannot be read: {error}") from error


class _Version(msgspec.Struct):
    version: int


def folder_of(source: str) -> str:
    """Return where a source's base backup lies in a snapshot."""
    return f"{FOLDER}/{source}"
