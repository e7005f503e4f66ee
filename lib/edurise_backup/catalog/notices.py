"""The outbox of messages: written first, then sent, then noted. A crash between may repeat one, and loses none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID, uuid4

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.alarms import AlarmRow, Severity
from edurise_backup.model.notices import GIVEN_UP_AFTER, Event, Ledger, Notice, Wanted, wait_before_try

T = TypeVar("T")

CLAIM = timedelta(minutes=5)
"""Whoever sends a message has so long; afterwards somebody else may."""
_SETTLED_SINCE = timedelta(days=7)


class Notices:
    """The rows of `notifications`."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def to_tell(self, now: datetime) -> tuple[tuple[AlarmRow, ...], Ledger]:
        """Return the alarms that somebody may have to be told of, and what everybody was told of them."""

        def read(connection: Connection) -> tuple[tuple[AlarmRow, ...], Ledger]:
            since: dict[str, object] = {"since": now - _SETTLED_SINCE}
            found = "SELECT * FROM alarms WHERE settled_at IS NULL OR settled_at > %(since)s"
            alarms = _read(connection, f"{found} ORDER BY raised_at, id", since, AlarmRow)
            told = "SELECT * FROM notifications WHERE alarm_id = ANY(%(ids)s)"
            notices = _read(connection, told, {"ids": [alarm.id for alarm in alarms]}, Notice)
            return alarms, Ledger.of(notices)

        return self._sessions.run(read)

    def queue(self, wanted: Iterable[Wanted], now: datetime) -> None:
        """Write what is to be sent; what is there already stays as it is."""
        rows = [(uuid4(), one.alarm_id, one.target, one.event.value, one.severity.value, now, now) for one in wanted]

        def write(connection: Connection) -> None:
            with connection.cursor() as cursor:
                cursor.executemany(f"{_INSERT} ON CONFLICT DO NOTHING".encode(), rows)

        if rows:
            self._sessions.run(write)

    def queue_test(self, target: str, now: datetime) -> UUID:
        """Write a test message; return its row's id."""
        row_id = uuid4()
        values = (row_id, None, target, Event.TEST.value, Severity.INFO.value, now, now)
        self._sessions.run(lambda c: c.execute(f"{_INSERT} ON CONFLICT (id) DO NOTHING".encode(), values))
        return row_id

    def add_sent_test(self, target: str, now: datetime) -> None:
        """Write down a test message that was sent."""
        values = (uuid4(), None, target, Event.TEST.value, Severity.INFO.value, now, now, now)
        self._sessions.run(lambda c: c.execute(_INSERT_SENT.encode(), values) and None)

    def claim(self, targets: Collection[str], now: datetime, *, limit: int = 50) -> tuple[Notice, ...]:
        """Take messages that are due, oldest first; nobody else takes them for `CLAIM`."""
        query = """UPDATE notifications SET next_try_at = %(end)s, tries = tries + 1 WHERE id IN (
                       SELECT id FROM notifications
                       WHERE sent_at IS NULL AND given_up_at IS NULL AND next_try_at <= %(now)s
                         AND target = ANY(%(targets)s)
                       ORDER BY created_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
                   RETURNING *"""
        given: dict[str, object] = {"now": now, "end": now + CLAIM, "targets": list(targets), "limit": limit}
        claimed = self._sessions.run(lambda connection: _read(connection, query, given, Notice))
        return tuple(sorted(claimed, key=lambda notice: (notice.created_at, notice.event is Event.SETTLED)))

    def note_sent(self, notice: Notice, now: datetime) -> None:
        """Note that the message has arrived."""
        query = "UPDATE notifications SET sent_at = %s, error = '' WHERE id = %s AND given_up_at IS NULL"
        self._sessions.run(lambda connection: connection.execute(query, (now, notice.id)))

    def note_failure(self, notice: Notice, error: str, now: datetime) -> None:
        """Note why the message did not arrive; it is tried again later, for some days."""
        over = now - notice.created_at > GIVEN_UP_AFTER or notice.event is Event.TEST
        query = """UPDATE notifications SET error = %s, next_try_at = %s, given_up_at = %s
                   WHERE id = %s AND sent_at IS NULL"""
        values = (error, now + wait_before_try(notice.tries), now if over else None, notice.id)
        self._sessions.run(lambda connection: connection.execute(query, values))

    def give_up(self, targets: Collection[str], now: datetime) -> None:
        """End the messages to targets that are not configured any more."""
        query = """UPDATE notifications SET given_up_at = %s, error = 'the target is not configured any more'
                   WHERE sent_at IS NULL AND given_up_at IS NULL AND target <> ALL(%s)"""
        self._sessions.run(lambda connection: connection.execute(query, (now, list(targets))))

    def alarms(self, ids: Sequence[UUID]) -> dict[UUID, AlarmRow]:
        """Return alarms by their ids."""
        query = "SELECT * FROM alarms WHERE id = ANY(%(ids)s)"
        found = self._sessions.run(lambda connection: _read(connection, query, {"ids": list(ids)}, AlarmRow))
        return {alarm.id: alarm for alarm in found}

    def newest(self) -> tuple[Notice, ...]:
        """Return the newest message to each target that was tried, or waits."""
        query = "SELECT DISTINCT ON (target) * FROM notifications ORDER BY target, created_at DESC, id"
        return self._sessions.run(lambda connection: _read(connection, query, {}, Notice))

    def get(self, notice_id: UUID) -> Notice | None:
        """Return one message as it stands."""
        query = "SELECT * FROM notifications WHERE id = %(id)s"
        found = self._sessions.run(lambda connection: _read(connection, query, {"id": notice_id}, Notice))
        return found[0] if found else None

    def waiting(self) -> int:
        """Return how many messages wait to be sent."""
        query = "SELECT count(*) FROM notifications WHERE sent_at IS NULL AND given_up_at IS NULL"
        row = self._sessions.run(lambda connection: connection.execute(query).fetchone())
        return int(str(row[0])) if row else 0


_INSERT = """INSERT INTO notifications (id, alarm_id, target, event, severity, created_at, next_try_at)
             VALUES (%s, %s, %s, %s, %s, %s, %s)"""
_INSERT_SENT = """INSERT INTO notifications (id, alarm_id, target, event, severity, created_at, next_try_at, sent_at)
                  VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"""


def _read(connection: Connection, query: str, parameters: dict[str, object], kind: type[T]) -> tuple[T, ...]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query.encode(), parameters).fetchall()
    return msgspec.convert(rows, tuple[kind, ...])  # type: ignore[valid-type]
