"""Between the tables and the records of `model.jobs`: a column for each field, under the field's name.

`usage` is spread over columns of its own; parts and phases are tables of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Generic, TypeVar, cast
from uuid import UUID

import msgspec
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from edurise_backup.catalog.records import JobKind, JobRecord, builtins_of
from edurise_backup.catalog.sessions import Connection
from edurise_backup.errors import DamageError
from edurise_backup.model.jobs import BackupJob, PartResult, Phase, RecoveryJob, Usage, Verification
from edurise_backup.model.maintenance import MaintenanceJob

RecordT = TypeVar("RecordT", bound=JobRecord)

_USAGE = tuple(field.name for field in fields(Usage))
_PART = tuple(field.name for field in fields(PartResult))
_PHASE = tuple(field.name for field in fields(Phase))
_SPREAD = ("usage", "parts", "phases")
# written by the steps of a job's life, never by its result
_LIFE = (
    *("id", "backup_id", "type", "started_at", "created_at", "host", "pid", "flow_run_id"),
    *("heartbeat_at", "phase", "progress", "verified_at"),
    *("kind", "store", "asked", "dry_run", "forgotten_at", "forgotten_until", "missing_since"),
)
_DOCUMENTS = ("target", "figures")


@dataclass(frozen=True, slots=True)
class Table(Generic[RecordT]):
    """Where one kind of job lies."""

    kind: JobKind
    name: str
    record: type[RecordT]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that hold the record's own fields."""
        own = [field.name for field in fields(self.record) if field.name not in _SPREAD]
        return (*own, *_USAGE)

    @property
    def result_columns(self) -> tuple[str, ...]:
        """The columns that the end of a job sets; a backup's verdict comes from its verifications.

        A recovery to a moment may have begun with another base backup than the newest one when it was asked for.
        """
        verdict = ("verification_status",) if self.kind is JobKind.BACKUP else ()
        found = ("backup_id",) if self.kind is JobKind.RECOVERY else ()
        others = {*_LIFE, *verdict, "completed_at", *_USAGE} - {*found}
        return tuple(column for column in self.columns if column not in others)

    @property
    def identifier(self) -> sql.Identifier:
        """The table's quoted name."""
        return sql.Identifier(self.name)

    @property
    def phase_owner(self) -> sql.Identifier:
        """The column of `job_phases` that refers to this table."""
        return sql.Identifier(f"{self.kind}_id")


BACKUPS = Table(JobKind.BACKUP, "backup_jobs", BackupJob)
VERIFICATIONS = Table(JobKind.VERIFICATION, "verification_jobs", Verification)
RECOVERIES = Table(JobKind.RECOVERY, "recovery_jobs", RecoveryJob)
MAINTENANCE = Table(JobKind.MAINTENANCE, "maintenance_jobs", MaintenanceJob)


def values_of(record: JobRecord) -> dict[str, object]:
    """Return the record's columns and values, without parts and phases."""
    values = cast(dict[str, object], builtins_of(record))
    usage = cast(dict[str, object], values["usage"])
    values = {name: value for name, value in values.items() if name not in _SPREAD} | usage
    for name in _DOCUMENTS:
        if values.get(name) is not None:
            values[name] = Jsonb(values[name], dumps=msgspec.json.encode)
    return values


def result_assignments(table: Table[RecordT]) -> sql.Composed:
    """Return the SET list of a job's result; usage never falls below what the signs of life told."""
    results = [
        sql.SQL("{} = {}").format(sql.Identifier(column), sql.Placeholder(column)) for column in table.result_columns
    ]
    results += [sql.SQL("{0} = greatest({0}, {1})").format(sql.Identifier(c), sql.Placeholder(c)) for c in _USAGE]
    return sql.SQL(", ").join(results)


def insert(
    connection: Connection, table: Table[RecordT], record: RecordT, *, created_at: datetime, replace: bool
) -> bool:
    """Write the record with its parts and phases, over the row of the same id only if `replace`.

    Returns whether it was written.
    """
    values = {name: value for name, value in values_of(record).items() if (name, value) != ("created_at", None)}
    own = tuple(values)
    values.setdefault("created_at", created_at)
    conflict: sql.Composable = sql.SQL("DO NOTHING")
    if replace:
        conflict = sql.SQL("(id) DO UPDATE SET {}").format(
            sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in own)
        )
    done = connection.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT {}").format(
            table.identifier, _names(tuple(values)), _places(tuple(values)), conflict
        ),
        values,
    )
    if done.rowcount == 0:
        return False
    if isinstance(record, BackupJob):
        write_parts(connection, record.id, record.parts)
    connection.execute("DELETE FROM job_phases WHERE job_id = %s", (record.id,))
    write_phases(connection, table, record.id, enumerate(record.phases))
    return True


def write_parts(connection: Connection, backup_id: UUID, parts: Sequence[PartResult]) -> None:
    """Write a backup's parts in place of those that are there."""
    connection.execute("DELETE FROM backup_parts WHERE backup_id = %s", (backup_id,))
    statement = sql.SQL("INSERT INTO backup_parts (backup_id, ordinal, {}) VALUES (%(id)s, %(at)s, {})").format(
        _names(_PART), _places(_PART)
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            statement,
            [cast(dict[str, object], builtins_of(part)) | {"id": backup_id, "at": at} for at, part in enumerate(parts)],
        )


def write_phases(
    connection: Connection, table: Table[RecordT], job_id: UUID, phases: Iterable[tuple[int, Phase]]
) -> None:
    """Write phases under their place in the job, over what is there at that place."""
    statement = sql.SQL(
        """INSERT INTO job_phases ({}, ordinal, {}) VALUES (%(id)s, %(at)s, {})
           ON CONFLICT (job_id, ordinal) DO UPDATE SET completed_at = excluded.completed_at,
               bytes_done = excluded.bytes_done, bytes_total = excluded.bytes_total,
               files_done = excluded.files_done"""
    ).format(table.phase_owner, _names(_PHASE), _places(_PHASE))
    with connection.cursor() as cursor:
        cursor.executemany(
            statement,
            [cast(dict[str, object], builtins_of(phase)) | {"id": job_id, "at": at} for at, phase in phases],
        )


def fetch(
    connection: Connection,
    table: Table[RecordT],
    rest: sql.Composable,
    parameters: Mapping[str, object] | None = None,
) -> tuple[RecordT, ...]:
    """Return the records that `rest` (WHERE, ORDER BY, LIMIT) selects, with their parts and phases."""
    query = sql.SQL("SELECT {} FROM {} ").format(_names(table.columns), table.identifier) + rest
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query, parameters).fetchall()
    ids = [row["id"] for row in rows]
    phases = _children(connection, sql.SQL("job_phases"), "job_id", _PHASE, ids)
    parts = _children(connection, sql.SQL("backup_parts"), "backup_id", _PART, ids) if table is BACKUPS else {}
    return tuple(_record(table, row, phases.get(row["id"], []), parts.get(row["id"], [])) for row in rows)


def _children(
    connection: Connection, table: sql.SQL, owner: str, columns: Sequence[str], ids: Sequence[UUID]
) -> dict[UUID, list[dict[str, object]]]:
    found: dict[UUID, list[dict[str, object]]] = {}
    if not ids:
        return found
    query = sql.SQL("SELECT {0}, {1} FROM {2} WHERE {0} = ANY(%s) ORDER BY {0}, ordinal").format(
        sql.Identifier(owner), _names(columns), table
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(query, (list(ids),)):
            found.setdefault(cast(UUID, row[owner]), []).append(row)
    return found


def _record(
    table: Table[RecordT],
    row: dict[str, object],
    phases: list[dict[str, object]],
    parts: list[dict[str, object]],
) -> RecordT:
    content = row | {"usage": {name: row[name] for name in _USAGE}, "phases": phases, "parts": parts}
    try:
        return msgspec.convert(content, table.record)
    except msgspec.ValidationError as error:
        raise DamageError(f"a row of {table.name} is not readable: {error}") from error


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(column) for column in columns)


def _places(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Placeholder(column) for column in columns)
