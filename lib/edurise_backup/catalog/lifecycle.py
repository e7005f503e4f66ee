"""What all kinds of job have in common: asked for, started, alive, ended.

A job ends once. What the reconciler or a person has ended stays ended: a late
`finish` is refused, and says so by returning False. Each call is one
transaction and may be repeated after a fault without harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Generic
from uuid import UUID

from psycopg import sql

from edurise_backup.catalog import rows
from edurise_backup.catalog.clocks import brought
from edurise_backup.catalog.processes import Process, this_process
from edurise_backup.catalog.rows import RecordT, Table
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.errors import AmbiguousError, ConflictError, InputError, NotFoundError
from edurise_backup.model.jobs import BackupJob, JobId, JobStatus, Phase, Usage
from edurise_backup.ports import Clock, utc_now

_HEX_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life: how far the job is."""

    phase: str | None
    progress: float | None
    usage: Usage
    phases: Sequence[tuple[int, Phase]] = ()
    """The phases that changed since the last sign, each with its place in the job."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a job's row stands after a sign of life."""

    status: JobStatus
    cancel_requested: bool


class Jobs(Generic[RecordT]):
    """The rows of one kind of job; `clock` gives the times that are written, `host` is this machine's name in them.

    Signs of life are the catalog server's time: whoever judges them may be on another host.
    """

    def __init__(self, sessions: Sessions, table: Table[RecordT], *, clock: Clock = utc_now, host: str = "") -> None:
        self._sessions = sessions
        self._table = table
        self._clock = clock
        self._host = host

    @property
    def clock(self) -> Clock:
        """Where the times come from that are written."""
        return self._clock

    def create(self, job: RecordT) -> bool:
        """Write a new job; False when a job of this id exists, which is then left as it is."""
        return self._sessions.run(
            partial(rows.insert, table=self._table, record=job, created_at=self._clock(), replace=False)
        )

    def get(self, job_id: UUID) -> RecordT:
        """Return the job; raises NotFoundError."""
        return self._sessions.run(partial(self._get, job_id=job_id))

    def resolve(self, short: str) -> JobId:
        """Return the one id that begins with `short`; raises NotFoundError, AmbiguousError."""
        digits = short.strip().lower().replace("-", "")
        if not digits or len(digits) > _HEX_DIGITS or set(digits) - set("0123456789abcdef"):
            raise self._unknown(short)
        first, last = UUID(digits.ljust(_HEX_DIGITS, "0")), UUID(digits.ljust(_HEX_DIGITS, "f"))
        query = sql.SQL("SELECT id FROM {} WHERE id BETWEEN %s AND %s ORDER BY id LIMIT 3")
        found = self._sessions.run(
            lambda connection: connection.execute(query.format(self._table.identifier), (first, last)).fetchall()
        )
        if not found:
            raise self._unknown(short)
        if len(found) > 1:
            raise AmbiguousError(
                f"the id {short} is short for more than one {self._table.kind}: "
                + ", ".join(str(row[0]) for row in found[:2])
                + (" and more" if len(found) > 2 else ""),
                hint="write more of the id",
            )
        return JobId(UUID(str(found[0][0])))

    def newest(self, *, limit: int = 100, offset: int = 0) -> tuple[RecordT, ...]:
        """Return the newest jobs first."""
        check_page(limit, offset)
        return self._fetch(
            sql.SQL("ORDER BY coalesce(started_at, created_at) DESC, id DESC LIMIT %(limit)s OFFSET %(offset)s"),
            {"limit": limit, "offset": offset},
        )

    def running(self) -> tuple[RecordT, ...]:
        """Return the jobs that run, the one that started first at the front."""
        return self._fetch(sql.SQL("WHERE status = 'running' ORDER BY started_at, id"))

    def start(self, job_id: UUID, *, process: Process | None = None) -> RecordT:
        """Let this process (or `process`) run a queued job, and return it.

        Raises NotFoundError, and ConflictError when the job has ended or another process runs it.
        """
        runner = process or this_process(self._host)
        return self._sessions.run(partial(self._start, job_id=job_id, process=runner, now=self._clock()))

    def attach_flow_run(self, job_id: UUID, flow_run_id: UUID) -> None:
        """Note the flow run that runs the job; raises NotFoundError."""
        query = sql.SQL("UPDATE {} SET flow_run_id = %s WHERE id = %s").format(self._table.identifier)
        done = self._sessions.run(lambda connection: connection.execute(query, (flow_run_id, job_id)).rowcount)
        if not done:
            raise self._unknown(str(job_id))

    def request_cancel(self, job_id: UUID) -> bool:
        """Ask a running job to stop, end a queued one; False when it has ended. Raises NotFoundError."""
        return self._sessions.run(partial(self._request_cancel, job_id=job_id, now=self._clock()))

    def beat(self, job_id: UUID, beat: Beat, *, patience: timedelta | None = None) -> Standing:
        """Write a sign of life of a running job and return how its row stands; raises NotFoundError.

        A job that has ended is left as it is.
        """
        now = brought(self._clock)
        return self._sessions.run(partial(self._beat, job_id=job_id, beat=beat, now=now), patience=patience)

    def finish(self, job: RecordT) -> bool:
        """End the job with the result that the record holds, at its `completed_at` or now.

        Returns False, and changes nothing, when the job has ended otherwise
        already. Raises NotFoundError, and InputError for a record that is not
        an ended job, or that claims success without size, location, checksum.
        """
        if not job.status.ended:
            raise InputError(f"a job cannot end as {job.status}")
        return self._sessions.run(partial(self._finish, job=job, completed_at=job.completed_at or self._clock()))

    def _after_finish(self, connection: Connection, job: RecordT) -> None:
        """Write what the end of this kind of job means for other rows."""

    def _fetch(self, rest: sql.Composable, parameters: dict[str, object] | None = None) -> tuple[RecordT, ...]:
        return self._sessions.run(partial(rows.fetch, table=self._table, rest=rest, parameters=parameters))

    def _get(self, connection: Connection, job_id: UUID) -> RecordT:
        found = rows.fetch(connection, self._table, sql.SQL("WHERE id = %(id)s"), {"id": job_id})
        if not found:
            raise self._unknown(str(job_id))
        return found[0]

    def _start(self, connection: Connection, job_id: UUID, process: Process, now: datetime) -> RecordT:
        query = sql.SQL(
            """UPDATE {} SET status = 'running', started_at = coalesce(started_at, %(now)s),
                   heartbeat_at = coalesce(%(alive)s, clock_timestamp()), host = %(host)s, pid = %(pid)s,
                   boot_id = %(boot)s, pid_namespace = %(namespace)s, process_ticks = %(ticks)s,
                   machine_id = %(machine)s
               WHERE id = %(id)s AND (status = 'queued' OR status = 'running' AND host = %(host)s
                   AND pid = %(pid)s AND process_ticks IS NOT DISTINCT FROM %(ticks)s)"""
        ).format(self._table.identifier)
        done = connection.execute(
            query,
            {
                "id": job_id,
                "now": now,
                "alive": brought(self._clock),
                "host": process.host,
                "pid": process.pid,
                "boot": process.boot_id,
                "namespace": process.pid_namespace,
                "ticks": process.ticks,
                "machine": process.machine_id,
            },
        )
        job = self._get(connection, job_id)
        if not done.rowcount:
            raise ConflictError(
                f"the {self._table.kind} {job_id} is run by process {job.pid} on {job.host}"
                if job.status is JobStatus.RUNNING
                else f"the {self._table.kind} {job_id} has ended ({job.status})",
                safe="nothing was changed",
                hint=f"ask for a new {self._table.kind}",
            )
        return job

    def _request_cancel(self, connection: Connection, job_id: UUID, now: datetime) -> bool:
        query = sql.SQL(
            """UPDATE {} SET cancel_requested_at = coalesce(cancel_requested_at, %(now)s),
                   status = CASE status WHEN 'queued' THEN 'cancelled' ELSE status END,
                   error = CASE status WHEN 'queued' THEN 'cancelled before it started' ELSE error END,
                   completed_at = CASE status WHEN 'queued' THEN %(now)s END
               WHERE id = %(id)s AND status IN ('queued', 'running')"""
        ).format(self._table.identifier)
        if connection.execute(query, {"id": job_id, "now": now}).rowcount:
            return True
        self._get(connection, job_id)
        return False

    def _beat(self, connection: Connection, job_id: UUID, beat: Beat, now: datetime | None) -> Standing:
        query = sql.SQL(
            """UPDATE {} SET heartbeat_at = coalesce(%(now)s, clock_timestamp()), phase = %(phase)s,
                   progress = %(progress)s, cpu_seconds = %(cpu)s, peak_memory = %(memory)s, sent_bytes = %(sent)s
               WHERE id = %(id)s AND status = 'running' RETURNING cancel_requested_at"""
        ).format(self._table.identifier)
        row = connection.execute(
            query,
            {
                "id": job_id,
                "now": now,
                "phase": beat.phase,
                "progress": beat.progress,
                "cpu": beat.usage.cpu_seconds,
                "memory": beat.usage.peak_memory,
                "sent": beat.usage.sent_bytes,
            },
        ).fetchone()
        if row is None:
            return Standing(self._get(connection, job_id).status, cancel_requested=False)
        if beat.phases:
            rows.write_phases(connection, self._table, job_id, beat.phases)
        return Standing(JobStatus.RUNNING, cancel_requested=row[0] is not None)

    def _finish(self, connection: Connection, job: RecordT, completed_at: datetime) -> bool:
        values = rows.values_of(job) | {"completed_at": completed_at}
        query = sql.SQL(
            """UPDATE {} SET completed_at = greatest(%(completed_at)s, started_at),
                   heartbeat_at = greatest(heartbeat_at, %(completed_at)s), {}
               WHERE id = %(id)s AND status IN ('queued', 'running')"""
        ).format(self._table.identifier, rows.result_assignments(self._table))
        if not connection.execute(query, values).rowcount:
            # the answer to an earlier try may have been lost: the same end is the same
            there = self._get(connection, job.id)
            ended_at = max(completed_at, there.started_at or completed_at)
            return (there.status, there.completed_at) == (job.status, ended_at)
        close_phases(connection, job.id, completed_at)
        if isinstance(job, BackupJob):
            rows.write_parts(connection, job.id, job.parts)
        self._after_finish(connection, job)
        return True

    def _unknown(self, name: str) -> NotFoundError:
        return NotFoundError(f"no {self._table.kind} has the id {name}", hint="`edurise-backup list` shows the ids")


def close_phases(connection: Connection, job_id: UUID, now: datetime) -> None:
    """End the phases that are still open."""
    connection.execute(
        """UPDATE job_phases SET completed_at = greatest(%s, started_at)
           WHERE job_id = %s AND completed_at IS NULL""",
        (now, job_id),
    )


def check_page(limit: int, offset: int) -> None:
    """Raise InputError for a page that cannot be."""
    if limit < 1 or offset < 0:
        raise InputError(f"a page of {limit} rows from row {offset} cannot be listed")
