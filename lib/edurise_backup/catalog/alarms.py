"""The one door for alarms: raise one, settle it, look at those that are open.

Raising is idempotent: whoever sees the same thing again says so, and nobody is
told twice. Who is told, and when, is decided elsewhere (`operations.alarms`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID, uuid4

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.alarms import Alarm, AlarmKind, AlarmRow
from edurise_backup.ports import Clock, utc_now


class Alarms:
    """The rows of `alarms`."""

    def __init__(self, sessions: Sessions, *, clock: Clock = utc_now) -> None:
        self._sessions = sessions
        self._clock = clock

    def raise_alarm(self, alarm: Alarm) -> bool:
        """Open an alarm, or note that it goes on; True when it was not open before."""
        return self._sessions.run(lambda connection: _raise(connection, alarm, self._clock()))

    def settle(self, kind: AlarmKind, subject: str) -> bool:
        """Close an alarm whose reason is gone; False when it was not open."""
        query = """UPDATE alarms SET settled_at = greatest(%s, raised_at)
                   WHERE kind = %s AND subject = %s AND settled_at IS NULL"""
        values = (self._clock(), kind.value, subject)
        return bool(self._sessions.run(lambda connection: connection.execute(query, values).rowcount))

    def replace(self, kinds: Collection[AlarmKind], found: Iterable[Alarm], *, but: str = "") -> tuple[Alarm, ...]:
        """Make the open alarms of these kinds exactly those that were found now; return the new ones.

        For whoever looks at everything a kind is about, each time anew. Subjects
        that begin with `but` are somebody else's, and stay as they are.
        """
        now, wanted = self._clock(), {(alarm.kind, alarm.subject): alarm for alarm in found}
        return self._sessions.run(lambda connection: _replace(connection, kinds, wanted, now, but))

    def acknowledge(self, alarm_id: UUID, who: str) -> bool:
        """Note that somebody looks after an open alarm; False when it is not open."""
        query = """UPDATE alarms SET acknowledged_at = %s, acknowledged_by = %s
                   WHERE id = %s AND settled_at IS NULL AND acknowledged_at IS NULL"""
        values = (self._clock(), who, alarm_id)
        return bool(self._sessions.run(lambda connection: connection.execute(query, values).rowcount))

    def open(self) -> tuple[AlarmRow, ...]:
        """Return the open alarms, the newest first."""
        return self._sessions.run(lambda c: _read(c, "WHERE settled_at IS NULL ORDER BY raised_at DESC, id DESC", {}))

    def newest(self, *, limit: int = 100) -> tuple[AlarmRow, ...]:
        """Return the newest alarms first, settled ones too."""
        return self._sessions.run(lambda c: _read(c, "ORDER BY raised_at DESC, id DESC LIMIT %(n)s", {"n": limit}))


def settle(connection: Connection, subject: str, now: datetime) -> None:
    """Close every open alarm about a subject, in the caller's transaction: there is nothing left that it is about."""
    connection.execute(
        "UPDATE alarms SET settled_at = greatest(%s, raised_at) WHERE subject = %s AND settled_at IS NULL",
        (now, subject),
    )


def _raise(connection: Connection, alarm: Alarm, now: datetime) -> bool:
    row = connection.execute(
        """INSERT INTO alarms (id, kind, subject, severity, message, remedy, raised_at, last_seen_at)
           VALUES (%(id)s, %(kind)s, %(subject)s, %(severity)s, %(message)s, %(remedy)s, %(now)s, %(now)s)
           ON CONFLICT (kind, subject) WHERE settled_at IS NULL DO UPDATE
               SET severity = excluded.severity, message = excluded.message, remedy = excluded.remedy,
                   last_seen_at = greatest(alarms.last_seen_at, excluded.last_seen_at), seen = alarms.seen + 1
           RETURNING seen = 1""",
        {
            "id": uuid4(),
            "kind": alarm.kind.value,
            "subject": alarm.subject,
            "severity": alarm.severity.value,
            "message": alarm.message,
            "remedy": alarm.remedy,
            "now": now,
        },
    ).fetchone()
    return bool(row and row[0])


def _replace(
    connection: Connection,
    kinds: Collection[AlarmKind],
    wanted: dict[tuple[AlarmKind, str], Alarm],
    now: datetime,
    but: str,
) -> tuple[Alarm, ...]:
    new = tuple(alarm for alarm in wanted.values() if _raise(connection, alarm, now))
    rows = connection.execute(
        "SELECT id, kind, subject FROM alarms WHERE settled_at IS NULL AND kind = ANY(%s)",
        ([kind.value for kind in kinds],),
    ).fetchall()
    ours = [row for row in rows if not but or not str(row[2]).startswith(but)]
    gone = [row[0] for row in ours if (AlarmKind(str(row[1])), str(row[2])) not in wanted]
    connection.execute("UPDATE alarms SET settled_at = greatest(%s, raised_at) WHERE id = ANY(%s)", (now, gone))
    return new


def _read(connection: Connection, rest: str, parameters: dict[str, object]) -> tuple[AlarmRow, ...]:
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(f"SELECT * FROM alarms {rest}".encode(), parameters).fetchall()  # noqa: S608  ours
    return msgspec.convert(found, tuple[AlarmRow, ...])
