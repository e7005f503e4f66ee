"""The shards of jobs: planned by the job, told by whoever works on one, shown to people.

A worker that tells how far it is learns whether the job is still wanted: so it
stops by itself when the job was cancelled, has failed, or died.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.records import JobKind
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.ports import Clock, utc_now

_COLUMNS = {
    JobKind.BACKUP: "backup_id",
    JobKind.VERIFICATION: "verification_id",
    JobKind.RECOVERY: "recovery_id",
}
_WANTED = """
    SELECT EXISTS (SELECT FROM job_shards s WHERE s.job_id = %(job)s AND s.number = %(number)s
                   AND s.status = 'running' AND s.host = %(host)s AND s.pid = %(pid)s)
       AND (EXISTS (SELECT FROM backup_jobs j WHERE j.id = %(job)s
                   AND j.status = 'running' AND j.cancel_requested_at IS NULL)
        OR EXISTS (SELECT FROM verification_jobs j WHERE j.id = %(job)s
                   AND j.status = 'running' AND j.cancel_requested_at IS NULL)
        OR EXISTS (SELECT FROM recovery_jobs j WHERE j.id = %(job)s
                   AND j.status = 'running' AND j.cancel_requested_at IS NULL))"""


class ShardStatus(StrEnum):
    """Where a shard is in its life."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    """Not wanted any more, whoever works on it."""


@dataclass(frozen=True, slots=True)
class ShardRow:
    """A row of `job_shards`."""

    number: int
    what: str
    status: ShardStatus
    tries: int
    host: str | None
    pid: int | None
    started_at: datetime | None
    heartbeat_at: datetime | None
    completed_at: datetime | None
    bytes_done: int
    files_done: int


class Shards:
    """The rows of `job_shards`."""

    def __init__(self, sessions: Sessions, *, clock: Clock = utc_now) -> None:
        self._sessions = sessions
        self._clock = clock

    def plan(self, kind: JobKind, job_id: UUID, what: Sequence[str]) -> int:
        """Write a row for each further shard of a job; return the number of the first one."""
        column = _COLUMNS[kind]
        first = len(self.of(job_id))

        def work(connection: Connection) -> None:  # may be done once more, when nobody heard that it was
            for number, text in enumerate(what, first):
                connection.execute(
                    f"""INSERT INTO job_shards ({column}, number, what) VALUES (%s, %s, %s)
                        ON CONFLICT (job_id, number) DO NOTHING""",  # noqa: S608  our own word
                    (job_id, number, text),
                )

        self._sessions.run(work)
        return first

    def begin(self, job_id: UUID, number: int) -> bool:
        """Note that this process works on a shard now; return whether the job is wanted."""
        return self._tell(
            """UPDATE job_shards SET status = 'running', tries = tries + 1, host = %(host)s, pid = %(pid)s,
                   started_at = coalesce(started_at, %(now)s), heartbeat_at = %(now)s, completed_at = NULL,
                   bytes_done = 0, files_done = 0
               WHERE job_id = %(job)s AND number = %(number)s AND status <> 'stopped'""",
            job_id,
            number,
        )

    def beat(self, job_id: UUID, number: int, *, bytes_done: int, files_done: int) -> bool:
        """Tell how far this process is with its shard; return whether the job is still wanted."""
        return self._tell(
            """UPDATE job_shards SET heartbeat_at = %(now)s, bytes_done = %(bytes)s, files_done = %(files)s
               WHERE job_id = %(job)s AND number = %(number)s AND status = 'running'
                   AND host = %(host)s AND pid = %(pid)s""",
            job_id,
            number,
            bytes_done,
            files_done,
        )

    def end(self, job_id: UUID, number: int, status: ShardStatus, *, bytes_done: int, files_done: int) -> None:
        """Note how a shard ended."""
        self._tell(
            f"""UPDATE job_shards SET status = '{status.value}', completed_at = greatest(%(now)s, started_at),
                   heartbeat_at = %(now)s, bytes_done = %(bytes)s, files_done = %(files)s
               WHERE job_id = %(job)s AND number = %(number)s AND status = 'running'
                   AND host = %(host)s AND pid = %(pid)s""",  # noqa: S608  our own word
            job_id,
            number,
            bytes_done,
            files_done,
        )

    def stop(self, job_id: UUID) -> None:
        """Have whoever works on a shard of the job, or begins to, stop: at his next sign of life."""
        query = """UPDATE job_shards SET status = 'stopped', completed_at = greatest(%s, started_at)
                   WHERE job_id = %s AND status IN ('waiting', 'running', 'failed')"""
        self._sessions.run(lambda connection: connection.execute(query, (self._clock(), job_id)))

    def of(self, job_id: UUID) -> tuple[ShardRow, ...]:
        """Return the shards of a job, by number; none for a job that one process does."""

        def read(connection: Connection) -> tuple[ShardRow, ...]:
            with connection.cursor(row_factory=dict_row) as cursor:
                rows = cursor.execute(
                    """SELECT number, what, status, tries, host, pid, started_at, heartbeat_at, completed_at,
                              bytes_done, files_done
                       FROM job_shards WHERE job_id = %s ORDER BY number""",
                    (job_id,),
                ).fetchall()
            return msgspec.convert(rows, tuple[ShardRow, ...])

        return self._sessions.run(read)

    def _tell(self, query: str, job_id: UUID, number: int, bytes_done: int = 0, files_done: int = 0) -> bool:
        values = {
            "job": job_id,
            "number": number,
            "now": self._clock(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "bytes": bytes_done,
            "files": files_done,
        }

        def work(connection: Connection) -> bool:
            connection.execute(query.encode(), values)
            row = connection.execute(_WANTED, values).fetchone()
            return bool(row and row[0])

        return self._sessions.run(work)
