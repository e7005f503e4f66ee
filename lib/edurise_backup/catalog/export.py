"""The whole catalog as lines of JSON, and back.

An export holds what is worth keeping: jobs with their parts and phases, and
schedules. What only a live job needs (which process runs it, whether it is
asked to stop) is left out. Exporting, importing into an empty catalog and
exporting again gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from uuid import UUID

import psycopg
from psycopg import sql

from edurise_backup.catalog import rows, schedules
from edurise_backup.catalog.migrate import schema_version
from edurise_backup.catalog.records import (
    JobKind,
    JobRecord,
    envelope,
    kind_of,
    open_envelope,
    record_from_json,
    record_to_json,
    schedule_from_json,
    supersedes,
)
from edurise_backup.catalog.rows import BACKUPS, MAINTENANCE, RECOVERIES, VERIFICATIONS, RecordT, Table
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.jobs import BackupJob, RecoveryJob, Verification
from edurise_backup.model.schedules import Schedule

_PAGE = 500
_HEADER = "catalog"
_SCHEDULE = "schedule"
# what others refer to comes first
_ORDER = (_SCHEDULE, JobKind.BACKUP, JobKind.VERIFICATION, JobKind.RECOVERY, JobKind.MAINTENANCE)


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
    for schedule in _schedules(connection):
        yield envelope(_SCHEDULE, schedule) + b"\n"
    yield from _lines(connection, BACKUPS)
    yield from _lines(connection, VERIFICATIONS)
    yield from _lines(connection, RECOVERIES)
    yield from _lines(connection, MAINTENANCE)


def read_export(lines: Iterable[bytes]) -> Iterator[JobRecord | Schedule]:
    """Yield the records of an export; raises DamageError, UnsupportedVersionError."""
    for line in lines:
        kind, content = open_envelope(line)
        if kind == _SCHEDULE:
            yield schedule_from_json(content)
        elif kind != _HEADER:
            yield record_from_json(line)


def import_rows(sessions: Sessions, records: Iterable[JobRecord | Schedule], *, now: datetime) -> ImportResult:
    """Write the records that tell more than the rows that are there; all of it, or nothing after an error.

    May be repeated. `now` is when a job was asked for that does not say so itself.
    """
    in_order = sorted(records, key=lambda record: _ORDER.index(_kind(record)))
    return sessions.run(partial(_import, records=in_order, now=now))


def _import(connection: Connection, records: list[JobRecord | Schedule], now: datetime) -> ImportResult:
    written = 0
    refused = []
    for record in records:
        try:
            with connection.transaction():
                written += _import_one(connection, record, now)
        except (psycopg.IntegrityError, psycopg.DataError) as error:
            refused.append(f"{_kind(record)} {record.id}: {error.diag.message_primary}")
    return ImportResult(written, len(records) - written - len(refused), tuple(refused))


def _import_one(connection: Connection, record: JobRecord | Schedule, now: datetime) -> bool:
    if isinstance(record, Schedule):
        return _import_schedule(connection, record)
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


def _import_schedule(connection: Connection, schedule: Schedule) -> bool:
    if schedules.read(connection, "WHERE id = %(id)s OR name = %(name)s", {"id": schedule.id, "name": schedule.name}):
        return False
    return schedules.insert(connection, schedule)


def _kind(record: JobRecord | Schedule) -> str:
    return _SCHEDULE if isinstance(record, Schedule) else kind_of(record)


def _schedules(connection: Connection) -> list[Schedule]:
    # a schedule that is brought back is a new one to Prefect, and nothing was expected of it meanwhile
    return [
        replace(schedule, prefect_schedule_id=None, updated_at=None)
        for schedule in schedules.read(connection, "ORDER BY id")
    ]


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
