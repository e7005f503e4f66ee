"""The audit trail: rows are added in one order, each chained to the one before it, and never changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.audit import NOTHING, AuditFilters, AuditRow, Outcome, chained_hash, detail_text
from edurise_backup.model.people import Actor
from edurise_backup.ports import Clock, utc_now

_LOCK = 0x456475617564
"""Whoever adds a row holds this advisory lock until the commit: the order of rows is the order of commits."""
_PAGE = 5000
_FILTERED = """
WHERE (%(before)s::bigint IS NULL OR seq < %(before)s)
  AND (%(actor)s = '' OR strpos(lower(actor), lower(%(actor)s)) > 0)
  AND (%(action)s = '' OR starts_with(action, %(action)s))
  AND (%(subject)s = '' OR strpos(lower(subject), lower(%(subject)s)) > 0)
  AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
  AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
ORDER BY seq DESC LIMIT %(limit)s
"""


class AuditTrail:
    """The rows of `audit_log`."""

    def __init__(self, sessions: Sessions, *, clock: Clock = utc_now) -> None:
        self._sessions = sessions
        self._clock = clock

    def add(
        self,
        actor: Actor,
        action: str,
        subject: str = "",
        *,
        outcome: Outcome = Outcome.DONE,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Write what somebody did; never a secret. Raises as `Sessions.run`: what cannot be recorded is not done."""
        self._sessions.run(
            lambda connection: add_row(
                connection, actor, action, subject, outcome=outcome, detail=detail, at=self._clock()
            )
        )

    def newest(
        self, *, limit: int = 100, before: int | None = None, filters: AuditFilters | None = None
    ) -> tuple[AuditRow, ...]:
        """Return the newest rows first; `before`: only those with a smaller number."""
        values = {"before": before, "limit": limit, **asdict(filters or AuditFilters())}
        return self._sessions.run(lambda connection: _read(connection, _FILTERED, values))

    def last(self, action: str, *, outcome: Outcome = Outcome.DONE) -> AuditRow | None:
        """Return the newest row of an action that ended so, or None."""
        found = self._sessions.run(
            lambda connection: _read(
                connection,
                "WHERE action = %(action)s AND outcome = %(outcome)s ORDER BY seq DESC LIMIT 1",
                {"action": action, "outcome": outcome.value},
            )
        )
        return found[0] if found else None

    def subjects_of(self, actions: Collection[str]) -> frozenset[str]:
        """Return what these actions were done to."""
        query = "SELECT DISTINCT subject FROM audit_log WHERE action = ANY(%s) AND outcome = 'done'"
        rows = self._sessions.run(lambda connection: connection.execute(query, (list(actions),)).fetchall())
        return frozenset(str(row[0]) for row in rows)

    def rows(self, *, after: int = 0) -> Iterator[AuditRow]:
        """Yield all rows whose number is greater than `after`, in their order."""
        while page := self._page(after):
            yield from page
            after = page[-1].seq

    def _page(self, after: int) -> tuple[AuditRow, ...]:
        return self._sessions.run(
            lambda connection: _read(
                connection, "WHERE seq > %(after)s ORDER BY seq LIMIT %(limit)s", {"after": after, "limit": _PAGE}
            )
        )


def add_row(
    connection: Connection,
    actor: Actor,
    action: str,
    subject: str = "",
    *,
    outcome: Outcome = Outcome.DONE,
    detail: Mapping[str, object] | None = None,
    at: datetime,
) -> None:
    """Add a row in the caller's transaction: what it tells of and the row are there together, or neither."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    last = connection.execute("SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1").fetchone()
    seq, previous = (int(str(last[0])) + 1, str(last[1])) if last else (1, NOTHING)
    moment = at.astimezone(UTC)
    words = (actor.name, actor.via.value, action, subject, outcome.value, detail_text(detail or {}))
    connection.execute(
        """INSERT INTO audit_log (seq, at, actor, via, action, subject, outcome, detail, previous, hash)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        (seq, moment, *words, previous, chained_hash(previous, seq, moment, words)),
    )


def _read(connection: Connection, rest: str, parameters: dict[str, object]) -> tuple[AuditRow, ...]:
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(f"SELECT * FROM audit_log {rest}".encode(), parameters).fetchall()  # noqa: S608  ours
    return msgspec.convert(found, tuple[AuditRow, ...])
