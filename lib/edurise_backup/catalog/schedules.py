"""The rows of `backup_schedules`.

What changes a schedule changes its expected runs and the audit trail with it,
so these functions work in their caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.errors import AmbiguousError, DamageError, NotFoundError
from edurise_backup.model.schedules import Schedule

_SECONDS = {"jitter": "jitter_seconds", "grace": "grace_seconds"}
_DOCUMENTS = ("options", "keep")
_ARRAYS = ("tags", "blackout")
_SHORTEST_ID = 4
COLUMNS = tuple(_SECONDS.get(field.name, field.name) for field in fields(Schedule))


class Schedules:
    """What is run again and again."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def all(self) -> tuple[Schedule, ...]:
        """Return all schedules by name."""
        return self._sessions.run(lambda connection: read(connection, "ORDER BY name"))

    def get(self, schedule_id: UUID) -> Schedule:
        """Return a schedule; raises NotFoundError."""
        found = self._sessions.run(lambda connection: read(connection, "WHERE id = %(id)s", {"id": schedule_id}))
        if not found:
            raise unknown(str(schedule_id))
        return found[0]

    def find(self, word: str) -> Schedule:
        """Return the schedule of this name, id or beginning of an id; raises NotFoundError, AmbiguousError."""
        return self._sessions.run(lambda connection: find(connection, word))

    def changed_at(self) -> tuple[int, datetime | None]:
        """Return something that differs after any change by a person: cheap to ask every few seconds."""

        def look(connection: Connection) -> tuple[int, datetime | None]:
            row = connection.execute("SELECT count(*), max(updated_at) FROM backup_schedules").fetchone()
            return msgspec.convert(row, tuple[int, datetime | None])

        return self._sessions.run(look)

    def note_prefect(self, schedule_id: UUID, prefect_schedule_id: UUID | None) -> None:
        """Note which schedule of Prefect stands for this one; no edit."""
        query = """UPDATE backup_schedules SET prefect_schedule_id = %s
                   WHERE id = %s AND prefect_schedule_id IS DISTINCT FROM %s"""
        values = (prefect_schedule_id, schedule_id, prefect_schedule_id)
        self._sessions.run(lambda connection: connection.execute(query, values))


def read(connection: Connection, rest: str, parameters: Mapping[str, object] | None = None) -> tuple[Schedule, ...]:
    """Return the schedules that `rest` (WHERE, ORDER BY, FOR UPDATE; this package's own words) selects."""
    query = sql.SQL("SELECT {} FROM backup_schedules ").format(_names()).as_bytes(None) + rest.encode()
    with connection.cursor(row_factory=dict_row) as cursor:
        return tuple(schedule_of(row) for row in cursor.execute(query, parameters).fetchall())


def find(connection: Connection, word: str, *, lock: bool = False) -> Schedule:
    """Return the schedule that a person names; raises NotFoundError, AmbiguousError."""
    suffix = " FOR UPDATE" if lock else ""
    found = read(connection, f"WHERE name = %(word)s{suffix}", {"word": word})
    if not found and len(word) >= _SHORTEST_ID and not set(word.lower()) - set("0123456789abcdef-"):
        found = read(connection, f"WHERE id::text LIKE %(word)s{suffix}", {"word": word.lower() + "%"})
    if len(found) > 1:
        raise AmbiguousError(
            f"the id {word} is short for more than one schedule: {', '.join(one.name for one in found[:3])}",
            hint="write its name, or more of the id",
        )
    if not found:
        raise unknown(word)
    return found[0]


def lock(connection: Connection, schedule_id: UUID) -> Schedule | None:
    """Return the schedule, which nobody else changes until the end of the transaction, or None."""
    found = read(connection, "WHERE id = %(id)s FOR UPDATE", {"id": schedule_id})
    return found[0] if found else None


def insert(connection: Connection, schedule: Schedule) -> bool:
    """Write a new schedule; False when one of this id is there, which stays as it is."""
    values = values_of(schedule)
    query = sql.SQL("INSERT INTO backup_schedules ({}) VALUES ({}) ON CONFLICT (id) DO NOTHING").format(
        sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(map(sql.Placeholder, values))
    )
    return connection.execute(query, values).rowcount == 1


def update(connection: Connection, schedule: Schedule) -> None:
    """Write a schedule over its row."""
    values = values_of(schedule)
    query = sql.SQL("UPDATE backup_schedules SET {} WHERE id = %(id)s").format(
        sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in values)
    )
    connection.execute(query, values)


def values_of(schedule: Schedule) -> dict[str, object]:
    """Return the columns and values of a schedule; times that it does not know are left to the table."""
    values: dict[str, object] = {field.name: getattr(schedule, field.name) for field in fields(schedule)}
    for name, column in _SECONDS.items():
        values[column] = int(getattr(schedule, name).total_seconds())
        del values[name]
    for name in _DOCUMENTS:
        values[name] = Jsonb(msgspec.to_builtins(values[name]))
    for name in _ARRAYS:
        values[name] = list(getattr(schedule, name))
    return {
        name: value for name, value in values.items() if value is not None or name not in ("created_at", "updated_at")
    }


def schedule_of(row: Mapping[str, object]) -> Schedule:
    """Return the schedule that a row holds; raises DamageError."""
    content = {name: value for name, value in row.items() if name not in _SECONDS.values()}
    try:
        schedule = msgspec.convert(content, Schedule)
        jitter, grace = (timedelta(seconds=int(str(row[column]))) for column in _SECONDS.values())
    except (msgspec.ValidationError, ValueError) as error:
        raise DamageError(f"a row of backup_schedules is not readable: {error}") from error
    return replace(schedule, jitter=jitter, grace=grace)


def unknown(word: str) -> NotFoundError:
    """Return the error for a schedule that is not there."""
    return NotFoundError(
        f"there is no schedule {word!r}",
        safe="nothing was changed",
        hint="`edurise-backup schedule list` shows names and ids",
    )


def _names() -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
