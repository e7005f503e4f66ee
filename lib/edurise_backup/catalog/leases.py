"""Leases: one worker on one thing at a time, for as long as it shows signs of life.

Each change of hands takes a greater token (a fencing token): a worker that was
paused, whose lease ran out and went to somebody else, finds out before it
publishes. Martin Kleppmann, "How to do distributed locking" (2016). Time is the
catalog server's: hosts with clocks of their own must agree when one ran out.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.clocks import present
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.errors import ConflictError, UnderWayError
from edurise_backup.model.words import span
from edurise_backup.ports import Clock, utc_now

COPIES = "copy/"
"""What the name of a lease on a copy begins with."""
SILENCE = timedelta(minutes=10)
"""Who gives no sign of life for so long counts as dead, and what he held may be taken; a setting may say otherwise."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A row of `leases`."""

    name: str
    token: int
    holder: UUID
    host: str
    pid: int
    acquired_at: datetime
    renewed_at: datetime
    expires_at: datetime


class Leases:
    """The rows of `leases`."""

    def __init__(
        self, sessions: Sessions, *, clock: Clock = utc_now, length: timedelta = SILENCE, host: str = ""
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._host = host or socket.gethostname()
        self.length = length
        """One that is not renewed for so long may be taken by somebody else."""

    def acquire(self, names: Sequence[str], holder: UUID) -> dict[str, int]:
        """Take all of the leases, or none; return the token of each. The same holder keeps his own.

        Raises ConflictError that names who holds one.
        """
        return self._sessions.run(lambda connection: self._acquire(connection, sorted(set(names)), holder))

    def renew(self, tokens: dict[str, int]) -> None:
        """Show a sign of life; raises ConflictError when a lease has gone to somebody else."""
        self._sessions.run(lambda connection: self._renew(connection, tokens))

    def confirm(self, tokens: dict[str, int]) -> None:
        """Prove, before something is published, that the leases are still held; raises ConflictError.

        A lease that ran out unnoticed and that nobody has taken is renewed.
        """
        self.renew(tokens)

    def release(self, tokens: dict[str, int]) -> None:
        """Let go; of what somebody else has by now, nothing is changed."""
        query = "DELETE FROM leases WHERE name = %s AND token = %s"

        def work(connection: Connection) -> None:
            for name, token in sorted(tokens.items()):
                connection.execute(query, (name, token))

        self._sessions.run(work)

    def held(self) -> tuple[Lease, ...]:
        """Return all leases, those that have run out, too."""

        def read(connection: Connection) -> tuple[Lease, ...]:
            with connection.cursor(row_factory=dict_row) as cursor:
                rows = cursor.execute("SELECT * FROM leases ORDER BY name").fetchall()
            return msgspec.convert(rows, tuple[Lease, ...])

        return self._sessions.run(read)

    def _acquire(self, connection: Connection, names: list[str], holder: UUID) -> dict[str, int]:
        now = present(connection, self._clock)
        tokens = {}
        for name in names:  # in the order of names: two who want the same ones cannot wait for each other
            row = connection.execute(
                """INSERT INTO leases AS held (name, token, holder, host, pid, acquired_at, renewed_at, expires_at)
                   VALUES (%(name)s, nextval('lease_tokens'), %(holder)s, %(host)s, %(pid)s, %(now)s, %(now)s, %(end)s)
                   ON CONFLICT (name) DO UPDATE SET
                       token = CASE WHEN held.holder = excluded.holder THEN held.token ELSE excluded.token END,
                       acquired_at =
                           CASE WHEN held.holder = excluded.holder THEN held.acquired_at ELSE excluded.acquired_at END,
                       holder = excluded.holder, host = excluded.host, pid = excluded.pid,
                       renewed_at = excluded.renewed_at, expires_at = excluded.expires_at
                   WHERE held.holder = excluded.holder OR held.expires_at <= %(now)s OR EXISTS (
                       SELECT FROM backup_jobs b WHERE b.id = held.holder AND b.status NOT IN ('queued', 'running'))
                     OR EXISTS (SELECT FROM maintenance_jobs m
                       WHERE m.id = held.holder AND m.status NOT IN ('queued', 'running'))
                   RETURNING token""",
                {
                    "name": name,
                    "holder": holder,
                    "host": self._host,
                    "pid": os.getpid(),
                    "now": now,
                    "end": now + self.length,
                },
            ).fetchone()
            if row is None:
                raise self._taken(connection, name)
            tokens[name] = int(str(row[0]))
        return tokens

    def _taken(self, connection: Connection, name: str) -> UnderWayError:
        row = connection.execute(
            "SELECT holder, host, pid, acquired_at FROM leases WHERE name = %s", (name,)
        ).fetchone()
        who = (
            f"the job {row[0]} (process {row[2]} on {row[1]}, since {row[3]:%Y-%m-%d %H:%M:%S} UTC)" if row else "a job"
        )
        work = "copied into" if name.startswith(COPIES) else "backed up"
        return UnderWayError(
            f"{name.removeprefix(COPIES)} is being {work} by {who}",
            safe="nothing was started; what is under way goes on",
            hint=f"wait for it; a process that died lets go after {span(self.length)}, "
            "or as soon as its job is known to be dead",
        )

    def _renew(self, connection: Connection, tokens: dict[str, int]) -> None:
        now = present(connection, self._clock)
        for name, token in sorted(tokens.items()):
            done = connection.execute(
                """UPDATE leases SET renewed_at = greatest(renewed_at, %s), expires_at = greatest(expires_at, %s)
                   WHERE name = %s AND token = %s""",
                (now, now + self.length, name, token),
            )
            if not done.rowcount:
                raise ConflictError(
                    f"the lease on {name} has gone to somebody else while this process stood still",
                    safe="nothing more is published by this job; what it published before is whole",
                    hint="look why this process stood still (a paused machine, a swapped-out host), then start again",
                )
