"""End the jobs that nobody runs any more, so that no row claims work that does not happen.

Called at the start of every operation. Whether a job is dead is decided by its
process, where that can be seen from here, and by its last sign of life. That is
the catalog server's time, and so must `now` be.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from psycopg import sql
from psycopg.rows import dict_row

from edurise_backup.catalog.leases import SILENCE
from edurise_backup.catalog.lifecycle import close_phases
from edurise_backup.catalog.processes import Life, Process, life, this_process
from edurise_backup.catalog.records import JobKind
from edurise_backup.catalog.rows import BACKUPS, MAINTENANCE, RECOVERIES, VERIFICATIONS
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.jobs import JobId, JobStatus

_START_TIMEOUT = timedelta(hours=6)
DIED = ("%ended without finishing the job%", "no sign of life for %", "was never started%")
"""How the errors below are told from others, in LIKE's words."""
_SAFE = {
    JobKind.BACKUP: ("Earlier backups are unharmed. What this one had stored already is used again: start a new one."),
    JobKind.VERIFICATION: "The backup was only read, nothing was changed: start the verification again.",
    JobKind.RECOVERY: ("The backup is unharmed. What was restored so far is not proved: remove it and start again."),
    JobKind.MAINTENANCE: "Every backup that is listed is unharmed: start the same again, it finishes what was left.",
}


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A job that was found dead."""

    kind: JobKind
    id: JobId
    error: str


@dataclass(frozen=True, slots=True)
class _OpenJob:
    id: UUID
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    host: str
    pid: int | None
    boot_id: str | None
    pid_namespace: int | None
    process_ticks: int | None
    machine_id: str | None


def reconcile_dead(
    sessions: Sessions,
    now: datetime,
    *,
    heartbeat_timeout: timedelta = SILENCE,
    start_timeout: timedelta = _START_TIMEOUT,
    seen_from: Process | None = None,
) -> tuple[EndedJob, ...]:
    """Mark dead jobs as failed, with what happened and what is safe, and return them.

    Dead is a running job whose process on this host has ended, or that gave no
    sign of life for `heartbeat_timeout`, and a queued one that nobody started
    within `start_timeout`.
    """
    here = seen_from or this_process()

    def reconcile(connection: Connection) -> tuple[EndedJob, ...]:
        found = []
        for table in (BACKUPS, VERIFICATIONS, RECOVERIES, MAINTENANCE):
            for job in _open_jobs(connection, table.identifier):
                reason = _cause_of_death(job, now, here, heartbeat_timeout, start_timeout)
                if reason:
                    found.append(EndedJob(table.kind, JobId(job.id), reason))
                    _end(connection, table.identifier, found[-1], now)
        return tuple(found)

    return sessions.run(reconcile)


def _open_jobs(connection: Connection, table: sql.Identifier) -> list[_OpenJob]:
    # rows that somebody is writing at this moment are alive
    query = sql.SQL(
        """SELECT id, status, created_at, started_at, heartbeat_at, host, pid, boot_id,
                  pid_namespace, process_ticks, machine_id
           FROM {} WHERE status IN ('queued', 'running') ORDER BY id FOR UPDATE SKIP LOCKED"""
    ).format(table)
    with connection.cursor(row_factory=dict_row) as cursor:
        return msgspec.convert(cursor.execute(query).fetchall(), list[_OpenJob])


def _cause_of_death(
    job: _OpenJob, now: datetime, here: Process, heartbeat_timeout: timedelta, start_timeout: timedelta
) -> str | None:
    if job.status is JobStatus.QUEUED:
        waited = now - job.created_at
        return f"was never started: it waited for {_span(waited)}" if waited > start_timeout else None
    last = job.heartbeat_at or job.started_at or job.created_at  # the first is the catalog's time, the others a host's
    if job.pid is not None:
        process = Process(job.host, job.pid, job.boot_id, job.pid_namespace, job.process_ticks, job.machine_id)
        if life(process, seen_from=here) is Life.DEAD:
            return (
                f"the process {job.pid} on {job.host} ended without finishing the job; "
                f"its last sign of life was at {last:%Y-%m-%d %H:%M:%S} UTC"
            )
    if now - last > heartbeat_timeout:
        return f"no sign of life for {_span(now - last)} from process {job.pid} on {job.host or 'an unknown host'}"
    return None


def _end(connection: Connection, table: sql.Identifier, ended: EndedJob, now: datetime) -> None:
    query = sql.SQL(
        """UPDATE {} SET status = 'failed', completed_at = greatest(%(now)s, started_at),
               error = %(error)s, hint = %(hint)s WHERE id = %(id)s"""
    ).format(table)
    connection.execute(query, {"id": ended.id, "now": now, "error": ended.error, "hint": _SAFE[ended.kind]})
    close_phases(connection, ended.id, now)


def _span(length: timedelta) -> str:
    minutes = int(length.total_seconds()) // 60
    if minutes < 1:
        return f"{int(length.total_seconds())} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
