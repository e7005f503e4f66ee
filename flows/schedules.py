"""Keep Prefect's schedules what the rows of `backup_schedules` say: look, compare, put right; again and again.

A row that Prefect can express (cron or an interval, nothing else) is a schedule
of the deployment `scheduled/edurise`, found by its slug. Jitter, blackouts and
cron of a finer kind are beyond Prefect's schedules, and around a change of the
clock its cron differs from ours. So the ledger of expected runs has the last
word: a run that is due soon, or is to be made up for, and that Prefect does not
have, is asked for one by one, under a key of its own. Runs too many are no
harm: the gate lets one through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from edurise_backup.errors import BackupError
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.schedules import ExpectedRun, RunOutcome, Schedule
from edurise_backup.model.timing import anchor
from edurise_backup.operations import Catalog
from edurise_backup.operations.planning import paused_at, rule_of
from edurise_backup.operations.schedules import ALARM_SUBJECT
from flows.prefect_api import PrefectApi, PrefectSchedule, ScheduledRun

DEPLOYMENT = "scheduled/edurise"
PREFIX = "sched-"
EXACT = "edurise-exact"
"""The tag of a run that was asked for one by one."""
SOON = timedelta(seconds=45)
"""A run that is due within it must be with Prefect: longer than the time from one look to the next."""
SHOWN_AHEAD = timedelta(hours=24)
_EXACT_AHEAD = 3
_PATIENCE = timedelta(seconds=15)
"""How long after its time a run that Prefect took up may need until it passes the gate."""
DRIFT_SHOWN = timedelta(hours=1)
"""So long a drift that was repaired stays an open alarm, for somebody to look who changes schedules."""
_SIMPLE_CRON = re.compile(r"[0-9*,/\-]+(?: [0-9*,/\-]+){4}\Z")


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a look put right, a sentence each."""

    changes: tuple[str, ...]
    drifts: tuple[str, ...]
    """Differences that no edit of a row explains."""
    faults: tuple[str, ...]
    """What could not be put right; the next look tries again."""


def slug_of(schedule_id: UUID) -> str:
    """Return the name under which Prefect keeps the schedule of a row."""
    return f"{PREFIX}{schedule_id}"


def body_of(schedule: Schedule) -> dict[str, object] | None:
    """Return the whole schedule as Prefect takes it, or None when Prefect cannot express it; pure."""
    timing = rule_of(schedule).timing
    if schedule.jitter or schedule.blackout or not (timing.interval or plain_cron(timing.cron)):
        return None
    rule: dict[str, object] = {"cron": timing.cron, "timezone": schedule.zone, "day_or": True}
    if timing.interval:
        begin = anchor(schedule.zone).isoformat()
        rule = {"interval": timing.interval.total_seconds(), "anchor_date": begin, "timezone": "UTC"}
    return {
        "schedule": rule,
        "active": True,
        "parameters": {"schedule_id": str(schedule.id)},
        "slug": slug_of(schedule.id),
    }


def plain_cron(cron: str) -> bool:
    """Whether Prefect reads a cron expression as we do: no names or marks, and not both kinds of day; pure."""
    fields = cron.split()
    return bool(_SIMPLE_CRON.match(cron)) and (fields[2] == "*" or fields[4] == "*") and "7" not in fields[4]


def differs(there: PrefectSchedule, body: Mapping[str, object]) -> bool:
    """Whether Prefect's schedule is not what the body says; pure."""
    mine = (_comparable(body["schedule"]), body["active"], body["parameters"])
    return (_comparable(there.schedule), there.active, dict(there.parameters)) != mine


def reconcile(catalog: Catalog, api: PrefectApi, now: datetime) -> Reconciled:
    """Make Prefect's schedules and waiting runs those that the rows ask for, and report drift as an alarm.

    Raises UnreachableError, NotFoundError when Prefect or the deployment is not there.
    """
    look = _Look(catalog, api, api.deployment_id(DEPLOYMENT), now)
    rows = catalog.schedules.all()
    there = {one.slug: one for one in api.schedules(look.deployment)}
    for row in rows:
        with look.told(row.name):
            look.keep_schedule(row, there.get(slug_of(row.id)))
    wanted = {slug_of(row.id) for row in rows}
    for slug, stray in there.items():
        if slug.startswith(PREFIX) and slug not in wanted:
            with look.told(slug):
                api.delete_schedule(look.deployment, stray.id)
                look.changes.append(f"{slug}: no row asks for it, so it was removed")
    with look.told("runs"):
        look.keep_runs(rows)
    look.report()
    return Reconciled(tuple(look.changes), tuple(f"{name}: {what}" for name, what in look.drifts), tuple(look.faults))


@dataclass(slots=True)
class _Look:
    """One look at everything."""

    catalog: Catalog
    api: PrefectApi
    deployment: UUID
    now: datetime
    changes: list[str] = field(default_factory=list)
    drifts: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @contextmanager
    def told(self, name: str) -> Iterator[None]:
        """Let one fault not keep the rest from being put right."""
        try:
            yield
        except BackupError as error:
            self.faults.append(f"{name}: {error.message}")

    def keep_schedule(self, row: Schedule, there: PrefectSchedule | None) -> None:
        """Make the schedule of one row what the row says."""
        body = None if paused_at(row, self.now) else body_of(row)
        if body is None:
            if there is not None:
                self.api.delete_schedule(self.deployment, there.id)
                self.changes.append(f"{row.name}: removed from Prefect")
            self.catalog.schedules.note_prefect(row.id, None)
            return
        if there is None:
            if row.prefect_schedule_id is not None:
                self.drifts.append((row.name, "its schedule was gone from Prefect; it was made again"))
            made = self.api.create_schedule(self.deployment, body)
            self.changes.append(f"{row.name}: made in Prefect")
            self.catalog.schedules.note_prefect(row.id, made)
            return
        if differs(there, body):
            if row.updated_at is not None and there.updated > row.updated_at and row.prefect_schedule_id == there.id:
                self.drifts.append((row.name, f"somebody changed its schedule in Prefect {_change(there, body)}"))
            self.api.replace_schedule(self.deployment, there.id, body)
            self.changes.append(f"{row.name}: written to Prefect anew")
        self.catalog.schedules.note_prefect(row.id, there.id)

    def keep_runs(self, rows: Sequence[Schedule]) -> None:
        """Ask for the runs that are due soon or to be made up for and that Prefect lacks; drop those nobody wants."""
        wanted = list(self._wanted(rows))
        times = {(str(run.schedule_id), run.due_at) for run in wanted}
        here = self.api.open_runs(self.deployment, until=self.now + SHOWN_AHEAD)
        known = {(str(run.parameters.get("schedule_id")), run.expected_start) for run in here}
        for run in wanted:
            if (str(run.schedule_id), run.due_at) not in known:
                self.api.create_run_at(
                    self.deployment,
                    run.due_at,
                    {"schedule_id": str(run.schedule_id)},
                    idempotency_key=_key(run),
                    tags=["edurise", EXACT],
                )
        for one in here:
            key = (str(one.parameters.get("schedule_id")), one.expected_start)
            if _waits_in_vain(one, self.now) and key not in times:
                self.api.delete_run(one.id)

    def _wanted(self, rows: Sequence[Schedule]) -> Iterator[ExpectedRun]:
        for row in rows:
            if paused_at(row, self.now):
                continue
            until = self.now + (SOON if body_of(row) is not None else SHOWN_AHEAD)
            ahead = self.catalog.expected_runs.ahead(row.id, after=self.now - _PATIENCE, until=until)
            yield from ahead[: None if body_of(row) is not None else _EXACT_AHEAD]
            newest = self.catalog.expected_runs.newest(row.id, before=self.now - _PATIENCE, limit=1)
            if newest and _to_be_made_up(newest[0], row, self.now):
                yield newest[0]

    def report(self) -> None:
        """Raise an alarm about each drift; one that was seen no more for a while is settled."""
        for name, what in self.drifts:
            self.catalog.alarms.raise_alarm(
                Alarm(
                    AlarmKind.SCHEDULE_DRIFT,
                    ALARM_SUBJECT.format(name),
                    Severity.WARNING,
                    f"{name}: {what}",
                    "change schedules with `edurise-backup schedule edit` or on the page, never in Prefect",
                )
            )
        for alarm in self.catalog.alarms.open():
            if alarm.kind is AlarmKind.SCHEDULE_DRIFT and alarm.last_seen_at < self.now - DRIFT_SHOWN:
                self.catalog.alarms.settle(alarm.kind, alarm.subject)


def _key(run: ExpectedRun) -> str:
    """Return the key under which Prefect makes one run for an expected run, and one more to make up for it."""
    again = "-again" if run.outcome is RunOutcome.MISSED else ""
    return f"{slug_of(run.schedule_id)}-{run.due_at:%Y%m%dT%H%M%SZ}{again}"


def _to_be_made_up(run: ExpectedRun, row: Schedule, now: datetime) -> bool:
    """Whether a run whose time has passed, and that nobody took up, still has somebody waiting for it; pure."""
    if run.begun_at is not None:
        return False
    return (run.outcome is None and (now <= run.grace_until or row.catch_up)) or (
        run.outcome is RunOutcome.MISSED and row.catch_up
    )


def _waits_in_vain(run: ScheduledRun, now: datetime) -> bool:
    """Whether a run that was asked for one by one waits for a time at which none is expected any more; pure."""
    return EXACT in run.tags and run.state_type == "SCHEDULED" and run.expected_start > now


def _comparable(schedule: object) -> dict[str, object]:
    """Return a rule in one form: numbers as such, moments in UTC, what is not said left out; pure."""
    assert isinstance(schedule, Mapping)
    rule = {str(name): value for name, value in schedule.items() if value is not None}
    if "anchor_date" in rule:
        rule["anchor_date"] = datetime.fromisoformat(str(rule["anchor_date"])).astimezone(UTC)
    if "interval" in rule:
        rule["interval"] = float(str(rule["interval"]))
    return rule


def _change(there: PrefectSchedule, body: Mapping[str, object]) -> str:
    """Return in a few words what was changed; pure."""
    if not there.active:
        return "(switched off)"
    if dict(there.parameters) != body["parameters"]:
        return "(its parameters)"
    return "(its times)"
