"""The rows of `workers`: which hosts take runs from a pool, what they can read, when they last gave a sign of life.

All times are the catalog server's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.processes import Life, Process, life, this_process
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.errors import ConflictError, NotFoundError
from edurise_backup.model.workers import Worker

_ANNOUNCE = """
INSERT INTO workers (host, id, pool, slots, sources, repository, version, pid, boot_id, machine_id, started_at, seen_at)
VALUES (%(host)s, %(id)s, %(pool)s, %(slots)s, %(sources)s, %(repository)s, %(version)s, %(pid)s, %(boot)s,
        %(machine)s, %(now)s, %(now)s)
ON CONFLICT (host) DO UPDATE SET
    id = excluded.id, pool = excluded.pool, slots = excluded.slots, sources = excluded.sources,
    repository = excluded.repository, version = excluded.version, pid = excluded.pid, boot_id = excluded.boot_id,
    machine_id = excluded.machine_id, started_at = excluded.started_at, seen_at = excluded.seen_at, left_at = NULL
"""


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a worker says of itself when it starts."""

    host: str
    id: UUID
    pool: str
    slots: int
    sources: Sequence[str]
    repository: str
    version: str


@dataclass(frozen=True, slots=True)
class Seen:
    """All workers, at a moment of the catalog server's clock."""

    now: datetime
    workers: tuple[Worker, ...]


def announce(sessions: Sessions, said: Announcement) -> None:
    """Write that a worker begins on a host; raises ConflictError when another worker lives there under this name."""
    me = this_process(said.host)
    values = {
        "host": said.host,
        "id": said.id,
        "pool": said.pool,
        "slots": said.slots,
        "sources": sorted(said.sources),
        "repository": said.repository,
        "version": said.version,
        "pid": os.getpid(),
        "boot": me.boot_id,
        "machine": me.machine_id,
    }

    def write(connection: Connection) -> None:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('workers'))")  # two of one name at once: one is told
        seen = _read(connection)
        there = next((worker for worker in seen.workers if worker.host == said.host), None)
        if there is not None and there.id != said.id and _still_there(there, me, seen.now):
            raise ConflictError(
                f"a worker of the host {said.host} lives already (process {there.pid}, "
                f"last seen {there.seen_at:%Y-%m-%d %H:%M:%S} UTC)",
                safe="nothing was started; that worker goes on",
                hint="stop it first; on another machine give that one a `host` of its own in its configuration. "
                "After a crash this name is free within a minute",
            )
        connection.execute(_ANNOUNCE, {**values, "now": seen.now})

    sessions.run(write)


def beat(sessions: Sessions, host: str, worker_id: UUID, *, clock_offset: float) -> bool:
    """Write a sign of life; False when the row is another worker's by now, or was removed."""
    query = """UPDATE workers SET seen_at = greatest(seen_at, clock_timestamp()), clock_offset_seconds = %s,
                   left_at = NULL WHERE host = %s AND id = %s"""
    values = (clock_offset, host, worker_id)
    return sessions.run(lambda connection: connection.execute(query, values).rowcount == 1)


def leave(sessions: Sessions, host: str, worker_id: UUID) -> None:
    """Write that a worker was stopped in order."""
    query = "UPDATE workers SET left_at = greatest(started_at, clock_timestamp()) WHERE host = %s AND id = %s"
    sessions.run(lambda connection: connection.execute(query, (host, worker_id)))


def remove(sessions: Sessions, host: str) -> None:
    """Forget a host; raises NotFoundError, and ConflictError while its worker lives."""

    def work(connection: Connection) -> None:
        seen = _read(connection)
        there = next((worker for worker in seen.workers if worker.host == host), None)
        if there is None:
            known = ", ".join(worker.host for worker in seen.workers)
            raise NotFoundError(
                f"no worker of a host {host!r} is known",
                safe="nothing was changed",
                hint=f"choose of {known}" if known else "no worker was ever started",
            )
        if there.lives(seen.now):
            raise ConflictError(
                f"the worker on {host} lives (last seen {there.seen_at:%Y-%m-%d %H:%M:%S} UTC)",
                safe="nothing was changed",
                hint=f"stop it there first: `systemctl disable --now edurise-backup-worker` on {host}",
            )
        connection.execute("DELETE FROM workers WHERE host = %s AND id = %s", (host, there.id))

    sessions.run(work)


def read_workers(sessions: Sessions) -> Seen:
    """Return every known worker, by host."""
    return sessions.run(_read)


def _read(connection: Connection) -> Seen:
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("SELECT clock_timestamp() AS now").fetchone()
        rows = cursor.execute("SELECT * FROM workers ORDER BY host").fetchall()
    assert row is not None
    return Seen(row["now"], msgspec.convert(rows, tuple[Worker, ...]))


def _still_there(there: Worker, me: Process, now: datetime) -> bool:
    """Whether the worker of a row may live; one of this boot is looked for, so that a restart need not wait."""
    if not there.lives(now):
        return False
    if there.machine_id == me.machine_id and there.boot_id == me.boot_id and there.boot_id is not None:
        known = Process(there.host, there.pid, there.boot_id, me.pid_namespace, None, there.machine_id)
        return life(known, seen_from=me) is not Life.DEAD
    return True
