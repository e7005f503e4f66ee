"""The whole catalog as lines of JSON, and back.

An export holds what is worth keeping: jobs with their parts and phases, and
the rows of `kept_rows` (schedules, the audit trail, …). What only a live job
needs (which process runs it, whether it is asked to stop) is left out.
Exporting, importing into an empty catalog and exporting again gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeGuard
from uuid import UUID

import msgspec
import psycopg
from psycopg import sql

from edurise_backup.catalog import rows
from edurise_backup.catalog.kept_rows import AUDIT, KeptRow, RowImport, kept_row, read_rows
from edurise_backup.catalog.migrate import schema_version
from edurise_backup.catalog.records import (
    JobKind,
    JobRecord,
    envelope,
    kind_of,
    open_envelope,
    record_from_json,
    record_to_json,
    supersedes,
)
from edurise_backup.catalog.rows import BACKUPS, MAINTENANCE, RECOVERIES, VERIFICATIONS, RecordT, Table
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.errors import DamageError
from edurise_backup.model.jobs import BackupJob, RecoveryJob, Verification

_PAGE = 500
_HEADER = "catalog"
_ROW = "row"
_SCHEDULE = "schedule"
"""A row of `backup_schedules`, as releases before this one wrote it."""
# what others refer to comes first
_ORDER = (_ROW, JobKind.BACKUP, JobKind.VERIFICATION, JobKind.RECOVERY, JobKind.MAINTENANCE)


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did."""

    written: int
    kept: int
    """Records that tell nothing newer than the row that was there."""
    refused: tuple[str, ...]
    """Records that the catalog cannot hold, a sentence each: one whose backup is unknown, for instance."""


def export(connection: Connection) -> Iterator[bytes]:
    """Yield the catalog as lines, each with its newline; the first tells the schema's version.

    The lines show one moment: `connection` is inside a transaction, as
    `Sessions.transaction` lends it, in which nothing was asked yet.
    """
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    yield envelope(_HEADER, {"schema_version": schema_version(connection)}) + b"\n"
    for row in read_rows(connection):
        yield envelope(_ROW, row) + b"\n"
    yield from _lines(connection, BACKUPS)
    yield from _lines(connection, VERIFICATIONS)
    yield from _lines(connection, RECOVERIES)
    yield from _lines(connection, MAINTENANCE)


def read_export(lines: Iterable[bytes]) -> Iterator[JobRecord | KeptRow]:
    """Yield the records of an export; raises DamageError, UnsupportedVersionError."""
    for line in lines:
        kind, content = open_envelope(line)
        if kind == _ROW:
            yield kept_row(_object(content))
        elif kind == _SCHEDULE:
            yield KeptRow("backup_schedules", _object(content))
        elif kind != _HEADER:
            yield record_from_json(line)


def import_rows(sessions: Sessions, records: Iterable[JobRecord | KeptRow], *, now: datetime) -> ImportResult:
    """Write the records that tell more than the rows that are there; all of it, or nothing after an error.

    May be repeated. `now` is when a job was asked for that does not say so itself.
    """
    in_order = sorted(records, key=lambda record: _ORDER.index(_kind(record)))
    return sessions.run(partial(_import, records=in_order, now=now))


def _import(connection: Connection, records: list[JobRecord | KeptRow], now: datetime) -> ImportResult:
    written = 0
    refused = []
    kept = RowImport(connection, now)
    for record in records:
        try:
            with connection.transaction():
                written += _import_one(connection, kept, record, now)
        except (psycopg.IntegrityError, psycopg.DataError) as error:
            refused.append(f"{_name(record)}: {error.diag.message_primary}")
    strange = sum(_of_audit(record) and not kept.has_audited(record) for record in records)
    if strange:
        refused.append(f"{strange} rows of the export's audit trail are not taken over: another has begun here")
    return ImportResult(written, len(records) - written - len(refused), tuple(refused))


def _import_one(connection: Connection, kept: RowImport, record: JobRecord | KeptRow, now: datetime) -> bool:
    if isinstance(record, KeptRow):
        return kept.write(record)
    if isinstance(record, BackupJob):
        return _import_job(connection, BACKUPS, record, now)
    if isinstance(record, Verification):
        return _import_job(connection, VERIFICATIONS, record, now)
    if isinstance(record, RecoveryJob):
        return _import_job(connection, RECOVERIES, record, now)
    return _import_job(connection, MAINTENANCE, record, now)


def _import_job(connection: Connection, table: Table[RecordT], record: RecordT, now: datetime) -> bool:
    there = rows.fetch(connection, table, sql.SQL("WHERE id = %(id)s FOR UPDATE"), {"id": record.id})
    if there and not supersedes(record, there[0]):
        return False
    asked_for = record.started_at or record.completed_at or now
    return rows.insert(connection, table, record, created_at=asked_for, replace=True)


def _kind(record: JobRecord | KeptRow) -> str:
    return _ROW if isinstance(record, KeptRow) else kind_of(record)


def _name(record: JobRecord | KeptRow) -> str:
    return f"a row of {record.table}" if isinstance(record, KeptRow) else f"{kind_of(record)} {record.id}"


def _of_audit(record: JobRecord | KeptRow) -> TypeGuard[KeptRow]:
    return isinstance(record, KeptRow) and record.table == AUDIT


def _object(content: bytes) -> dict[str, object]:
    try:
        return msgspec.json.decode(content, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise DamageError(f"a row of an export is not readable: {error}") from error


def _lines(connection: Connection, table: Table[RecordT]) -> Iterator[bytes]:
    last = UUID(int=0)
    while page := rows.fetch(
        connection,
        table,
        sql.SQL("WHERE id > %(last)s ORDER BY id LIMIT %(page)s"),
        {"last": last, "page": _PAGE},
    ):
        for record in page:
            yield record_to_json(record) + b"\n"
        last = page[-1].id
