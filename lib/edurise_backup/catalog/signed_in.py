"""The rows of `dashboard_sessions`: who is signed in, asked anew for every act.

The browser's session holds a random token, the row its SHA-256: whoever reads
the catalog cannot sign in with it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.accounts import Accounts
from edurise_backup.catalog.audit import add_row
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.accounts import Account
from edurise_backup.model.people import Actor, Via
from edurise_backup.ports import Clock, utc_now

SIGNED_OUT = "signed out"
IDLE = "idle for too long"
KEPT = timedelta(days=90)
"""Older sessions are removed at the next sign-in; the audit trail keeps theirs."""
TOO_LONG = "its longest time was over"


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A row of `dashboard_sessions` with the name of its account."""

    id: UUID
    name: str
    started_at: datetime
    last_used_at: datetime
    ended_at: datetime | None
    end_reason: str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """A session that lets nobody act any more, and why."""

    reason: str


class SignedIn:
    """Sessions of the dashboard with local accounts."""

    def __init__(self, sessions: Sessions, *, clock: Clock = utc_now) -> None:
        self._sessions = sessions
        self._clock = clock

    def begin(self, account: Account, session_id: UUID, token: str) -> None:
        """Write the session of somebody whose password was proved."""
        now = self._clock()

        def work(connection: Connection) -> None:
            connection.execute(
                """INSERT INTO dashboard_sessions (id, token, account_id, started_at, last_used_at)
                   VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING""",
                (session_id, hashed(token), account.id, now, now),
            )
            connection.execute("DELETE FROM dashboard_sessions WHERE started_at < %s", (now - KEPT,))
            add_row(connection, Actor(account.name, Via.DASHBOARD), "user.sign_in", account.name, at=now)

        self._sessions.run(work)

    def account(self, token: str, *, idle: timedelta, longest: timedelta, touch: bool) -> Account | Ended:
        """Return whose session it is, as the catalog says now; `touch` notes that it is used."""
        now = self._clock()

        def find(connection: Connection) -> SessionRow | Ended:
            row = _find(connection, hashed(token))
            if row is None:
                return Ended("it is not known")
            if row.ended_at is not None:
                return Ended(row.end_reason or SIGNED_OUT)
            if reason := _over(row, now, idle, longest):
                _end(connection, row.id, now, reason)
                return Ended(reason)
            if touch:
                query = "UPDATE dashboard_sessions SET last_used_at = greatest(last_used_at, %s) WHERE id = %s"
                connection.execute(query, (now, row.id))
            return row

        found = self._sessions.run(find)
        if isinstance(found, Ended):
            return found
        account = Accounts(self._sessions).get(found.name)
        return account if account.enabled else Ended("the account is disabled")

    def identity(self, token: str) -> UUID | None:
        """Return the id of the session, whether it has ended or not."""
        row = self._sessions.run(lambda connection: _find(connection, hashed(token)))
        return row.id if row else None

    def end(self, token: str) -> None:
        """Sign out; a session that has ended already is left as it is."""
        now = self._clock()

        def work(connection: Connection) -> None:
            row = _find(connection, hashed(token))
            if row is not None and row.ended_at is None:
                _end(connection, row.id, now, SIGNED_OUT)
                add_row(connection, Actor(row.name, Via.DASHBOARD), "user.sign_out", row.name, at=now)

        self._sessions.run(work)


def hashed(token: str) -> str:
    """Return a token as the catalog knows it."""
    return hashlib.sha256(token.encode()).hexdigest()


def _over(row: SessionRow, now: datetime, idle: timedelta, longest: timedelta) -> str:
    if now - row.last_used_at > idle:
        return IDLE
    return TOO_LONG if now - row.started_at > longest else ""


def _find(connection: Connection, digest: str) -> SessionRow | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            """SELECT s.id, a.name, s.started_at, s.last_used_at, s.ended_at, s.end_reason
               FROM dashboard_sessions s JOIN accounts a ON a.id = s.account_id WHERE s.token = %s""",
            (digest,),
        ).fetchone()
    return msgspec.convert(row, SessionRow) if row else None


def _end(connection: Connection, session_id: UUID, now: datetime, reason: str) -> None:
    connection.execute(
        "UPDATE dashboard_sessions SET ended_at = greatest(%s, started_at), end_reason = %s WHERE id = %s",
        (now, reason, session_id),
    )
