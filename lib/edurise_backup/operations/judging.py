"""The watchdog's step: what became of every expected run, and the alarms about it. It asks the catalog alone.

Prefect may be down, or may have forgotten a schedule: a run that did not happen
is seen here all the same. Everything may be done twice, and by two processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from edurise_backup.catalog import expected_runs, schedules
from edurise_backup.catalog.audit import add_row
from edurise_backup.catalog.expected_runs import OpenRun, Standing
from edurise_backup.catalog.sessions import Connection
from edurise_backup.errors import BackupError
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.jobs import Verdict
from edurise_backup.model.people import SYSTEM
from edurise_backup.model.schedules import RunOutcome
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.planning import ALARM_SUBJECT, freeze, next_run_of

END_SETTLES = timedelta(minutes=15)
"""A failed attempt may be repeated for so long; and a run whose process died without a job counts as such after it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a look brought."""

    outcomes: tuple[tuple[str, datetime, RunOutcome], ...]
    """Name, due time and outcome of the runs that were judged now."""
    resumed: tuple[str, ...]
    """Schedules whose pause has ended."""
    unreadable: tuple[str, ...]
    """Schedules that cannot be planned, a sentence each."""
    alarms: tuple[Alarm, ...]
    """Alarms that were not open before."""


def judge_runs(catalog: Catalog, now: datetime) -> Judged:
    """Write down what is expected, judge what is due, end pauses, recompute `next_run`, raise and settle alarms."""
    resumed, unreadable = [], []
    for schedule in catalog.schedules.all():
        try:
            if catalog.sessions.run(partial(_look_after, schedule_id=schedule.id, now=now)):
                resumed.append(schedule.name)
        except BackupError as error:
            unreadable.append(f"{schedule.name}: {error.message}")
    outcomes = catalog.sessions.run(lambda connection: _judge(connection, now))
    return Judged(outcomes, tuple(resumed), tuple(unreadable), tell_alarms(catalog, now))


def tell_alarms(catalog: Catalog, now: datetime) -> tuple[Alarm, ...]:
    """Make the open alarms about schedules those that hold now; return the new ones."""
    standings = catalog.sessions.run(lambda connection: expected_runs.standings(connection, now))
    found = [alarm for standing in standings for alarm in alarms_about(standing)]
    ours = (AlarmKind.RUN_MISSED, AlarmKind.RUN_LATE)
    new = [*catalog.alarms.replace(ours, [alarm for alarm in found if alarm.kind in ours])]
    for standing in standings:  # others raise JOB_FAILED about other things: only ours are settled
        if not standing.failed:
            catalog.alarms.settle(AlarmKind.JOB_FAILED, ALARM_SUBJECT.format(standing.name))
    new += [alarm for alarm in found if alarm.kind not in ours and catalog.alarms.raise_alarm(alarm)]
    return tuple(new)


def alarms_about(standing: Standing) -> Iterator[Alarm]:
    """Yield what is wrong with a schedule; pure."""
    subject, name = ALARM_SUBJECT.format(standing.name), standing.name
    severity = Severity.CRITICAL if standing.failed + standing.missed > 1 else Severity.WARNING
    remedy = f"`edurise-backup schedule status {name!r}` shows its runs; take a backup by hand meanwhile"
    if standing.failed:
        times = "a run" if standing.failed == 1 else f"{standing.failed} runs"
        yield Alarm(
            AlarmKind.JOB_FAILED,
            subject,
            severity,
            f"{name}: {times} failed since the last good one: {standing.last_reason}",
            remedy,
        )
    if standing.missed:
        times = "a run was" if standing.missed == 1 else f"{standing.missed} runs were"
        yield Alarm(
            AlarmKind.RUN_MISSED,
            subject,
            severity,
            f"{name}: {times} missed since the last good one, the newest due at {standing.last_due:%Y-%m-%d %H:%M} UTC",
            f"look whether Prefect and the flow runner are up (`make up`); {remedy}",
        )
    if standing.late_since:
        yield Alarm(
            AlarmKind.RUN_LATE,
            subject,
            Severity.WARNING,
            f"{name}: the run that was due at {standing.late_since:%Y-%m-%d %H:%M} UTC has not begun",
            "look whether Prefect and the flow runner are up (`make up`), and whether other runs hold the runner",
        )


def verdict_on(open_run: OpenRun, now: datetime) -> tuple[RunOutcome, str] | None:
    """Return what became of an expected run that is due, or None while that is not settled; pure."""
    run, job = open_run.run, open_run.job
    if run.begun_at is None:
        if now <= run.grace_until:
            return None
        return RunOutcome.MISSED, (
            f"no run began between {run.due_at:%Y-%m-%d %H:%M:%S} UTC and {run.grace_until:%Y-%m-%d %H:%M:%S} UTC"
        )
    if job is None:
        waited = now - run.begun_at > END_SETTLES
        return (RunOutcome.FAILED, "a run began, and its process ended without a job") if waited else None
    if not job.status.ended:
        return None
    if job.status.good and job.verdict is not Verdict.FAILED:
        return RunOutcome.KEPT, ""
    settled = now - (job.completed_at or now) > END_SETTLES
    return (RunOutcome.FAILED, job.error or f"the job ended as {job.status.value}") if settled else None


def _look_after(connection: Connection, schedule_id: UUID, now: datetime) -> bool:
    """Freeze and recompute one schedule; returns whether its pause has ended."""
    schedule = schedules.lock(connection, schedule_id)
    if schedule is None:
        return False
    freeze(connection, schedule, now)
    ended = not schedule.is_active and schedule.paused_until is not None and schedule.paused_until <= now
    planned = replace(schedule, is_active=True, paused_until=None) if ended else schedule
    planned = replace(planned, next_run=next_run_of(planned, now))
    if ended:
        add_row(connection, SYSTEM, "schedule.resume", schedule.name, detail={"because": "its pause ended"}, at=now)
    if planned != schedule:
        schedules.update(connection, planned)
    return ended


def _judge(connection: Connection, now: datetime) -> tuple[tuple[str, datetime, RunOutcome], ...]:
    found = []
    for open_run in expected_runs.open_runs(connection, now):
        verdict = verdict_on(open_run, now)
        if verdict is not None:
            expected_runs.judge(connection, open_run.run, *verdict, now=now)
            found.append((open_run.run.name, open_run.run.due_at, verdict[0]))
    return tuple(found)
