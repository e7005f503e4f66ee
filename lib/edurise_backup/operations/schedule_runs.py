"""The gate that every scheduled run passes, and what it notes afterwards.

Whoever starts runs (Prefect, a timer, a person) may start too many, too late or
twice: here is decided which of them works. A run takes up the newest expected
run whose time has come; each is taken up once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from edurise_backup.catalog import expected_runs, schedules
from edurise_backup.catalog.leases import COPIES, Lease
from edurise_backup.catalog.sessions import Connection
from edurise_backup.model.blackouts import blackout_at
from edurise_backup.model.jobs import JobId
from edurise_backup.model.schedules import ExpectedRun, RunOutcome, Schedule, Work
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.judging import END_SETTLES, tell_alarms
from edurise_backup.operations.planning import freeze, next_run_of, paused_at, rule_of

EARLY = timedelta(seconds=30)
"""A runner takes up a run so much before its time at most."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What the gate decided."""

    admitted: bool
    reason: str
    """Why not; or, of a run that makes up for a missed one, that it does."""
    schedule: Schedule | None = None
    run: ExpectedRun | None = None
    """The expected run that is taken up."""


def begin_run(
    catalog: Catalog, schedule_id: UUID, *, flow_run_id: UUID, expected: datetime | None, now: datetime
) -> Admission:
    """Decide whether a run may work now, and note that it does: `last_run`, and the expected run that it takes up.

    `expected` is when the run was meant to start. A run later than the grace is
    skipped and counts as missed, unless the schedule makes up for the newest
    missed one. Nothing runs in a pause or a blackout, beside an earlier run of
    the schedule, or beside another job on its sources. The same flow run asks
    as often as it likes and hears the same.
    """
    in_use = catalog.leases.held()

    def work(connection: Connection) -> Admission:
        schedule = schedules.lock(connection, schedule_id)
        if schedule is None:
            return Admission(False, f"the schedule {schedule_id} was removed")
        freeze(connection, schedule, now)
        run = _due(connection, schedule, expected, now)
        if run is None:
            return Admission(False, "no run of this schedule is due", schedule)
        if run.flow_run_id == flow_run_id:  # the answer to its first question was lost, or it is run again
            return Admission(True, run.reason, schedule, run)
        if run.begun_at or run.outcome not in (None, RunOutcome.MISSED):
            return Admission(False, f"the run of {_text(run.due_at)} was taken up or settled already", schedule, run)
        return _decide(connection, schedule, run, flow_run_id, in_use, now)

    return catalog.sessions.run(work)


def attach_job(catalog: Catalog, admission: Admission, job_id: JobId) -> None:
    """Note the job that works for an admitted run."""
    run = admission.run
    if run is not None:
        catalog.sessions.run(lambda connection: expected_runs.attach_job(connection, run, job_id))


def end_run(catalog: Catalog, admission: Admission, *, good: bool, reason: str = "", now: datetime) -> None:
    """Note how an admitted run ended, and settle or raise the alarms about its schedule. A good one has its job."""
    run = admission.run
    if run is not None:
        catalog.sessions.run(lambda connection: expected_runs.end(connection, run, good=good, reason=reason, now=now))
        tell_alarms(catalog, now)


def _due(connection: Connection, schedule: Schedule, expected: datetime | None, now: datetime) -> ExpectedRun | None:
    """Return the newest expected run whose time has come, or the one that the run was meant for a little early."""
    latest = max(now, min(expected, now + EARLY)) if expected is not None else now
    found = expected_runs.read(
        connection,
        """WHERE e.schedule_id = %(id)s AND e.due_at <= %(latest)s AND e.outcome IS DISTINCT FROM 'withdrawn'
           ORDER BY e.due_at DESC LIMIT 1 FOR UPDATE""",
        {"id": schedule.id, "latest": latest},
    )
    return found[0] if found else None


def _decide(
    connection: Connection,
    schedule: Schedule,
    run: ExpectedRun,
    flow_run_id: UUID,
    in_use: tuple[Lease, ...],
    now: datetime,
) -> Admission:
    why = _obstacle(connection, schedule, in_use, now)
    late = now > run.grace_until
    if late:
        expected_runs.judge(connection, run, RunOutcome.MISSED, _missed(run), now=now)
    if why:
        expected_runs.judge(connection, run, RunOutcome.SKIPPED, why, now=now)
        return Admission(False, why, schedule, run)
    if late and not schedule.catch_up:
        return Admission(False, f"{_missed(run)}: its grace is over, and it is not made up for", schedule, run)
    _pass_over(connection, run, now)
    expected_runs.begin(connection, run, flow_run_id, now=now)
    begun = replace(schedule, last_run=now, next_run=next_run_of(schedule, max(now, run.due_at)))
    schedules.update(connection, begun)
    return Admission(True, f"makes up for the run of {_text(run.due_at)}" if late else "", begun, run)


def _obstacle(connection: Connection, schedule: Schedule, in_use: tuple[Lease, ...], now: datetime) -> str:
    if paused_at(schedule, now):
        return "paused"
    covered = blackout_at(rule_of(schedule).blackouts, now.astimezone(ZoneInfo(schedule.zone)).replace(tzinfo=None))
    if covered:
        return f"it would have begun in the blackout {covered[0].text}"
    busy = expected_runs.under_way(connection, schedule.id, since=now - END_SETTLES)
    if busy is not None:
        return f"the run of {_text(busy.due_at)} is still under way"
    for lease in in_use:
        part, _, source = lease.name.partition("/")
        ours = schedule.type.backup is not None and part in [one.value for one in schedule.type.backup.parts]
        if schedule.type is Work.COPY and lease.name.startswith(COPIES):
            store = lease.name.removeprefix(COPIES)
            if schedule.options.get("store") == store and lease.expires_at > now:
                return f"the job {lease.holder} is copying into {store}, which brings the same"
        if ours and schedule.source in ("", source) and lease.expires_at > now and _is_open(connection, lease.holder):
            return f"{lease.name} is being backed up by the job {lease.holder}"
    return ""


def _is_open(connection: Connection, job_id: UUID) -> bool:
    query = "SELECT 1 FROM backup_jobs WHERE id = %s AND status IN ('queued', 'running')"
    return connection.execute(query, (job_id,)).fetchone() is not None


def _pass_over(connection: Connection, run: ExpectedRun, now: datetime) -> None:
    """Settle the runs before this one that nobody took up: they do not happen any more."""
    for older in expected_runs.read(
        connection,
        """WHERE e.schedule_id = %(id)s AND e.due_at < %(due)s AND e.outcome IS NULL AND e.begun_at IS NULL
           ORDER BY e.due_at FOR UPDATE""",
        {"id": run.schedule_id, "due": run.due_at},
    ):
        if now > older.grace_until:
            expected_runs.judge(connection, older, RunOutcome.MISSED, _missed(older), now=now)
        else:
            reason = f"the run of {_text(run.due_at)} took its place"
            expected_runs.judge(connection, older, RunOutcome.SKIPPED, reason, now=now)


def _missed(run: ExpectedRun) -> str:
    return f"no run began between {_text(run.due_at)} and {_text(run.grace_until)}"


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
