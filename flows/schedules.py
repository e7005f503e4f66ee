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
from edurise_backup.operations.places import Places
from edurise_backup.operations.planning import ALARM_SUBJECT, paused_at, rule_of
from flows.prefect_api import PrefectApi, PrefectSchedule, ScheduledRun, not_registered

DEPLOYMENT = "scheduled/edurise"
DEFAULT_QUEUE = "default"
"""Of every work pool."""
PREFIX = "sched-"
EXACT = "edurise-exact"
"""The tag of a run that was asked for one by one."""
SOON = timedelta(seconds=45)
"""A run that is due within it must be with Prefect: longer than the time from one look to the next."""
SHOWN_AHEAD = timedelta(hours=24)
_EXACT_AHEAD = 3
_PATIENCE = timedelta(seconds=15)
"""How long after its time a run that Prefect took up may need until it passes the gate."""
SCHEDULER_PATIENCE = timedelta(seconds=20)
"""Prefect's scheduler looks every 10 s at what was changed."""
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


def body_of(schedule: Schedule, place: str = "") -> dict[str, object] | None:
    """Return the whole schedule as Prefect takes it, or None when Prefect cannot express it; pure.

    A schedule of Prefect's has no queue: what one host alone can do is asked for run by run.
    """
    timing = rule_of(schedule).timing
    if place or schedule.jitter or schedule.blackout or not (timing.interval or plain_cron(timing.cron)):
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
    there_now = api.deployment(DEPLOYMENT)
    if there_now is None:
        raise not_registered(api.url)
    look = _Look(catalog, api, there_now.id, now)
    rows = catalog.schedules.all()
    if there_now.pool:
        places = Places.of(catalog)
        look.places = {row.id: place_of(row, places) for row in rows}
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
    places: dict[UUID, str] = field(default_factory=dict)
    """The host that the runs of a row go to, by the row's id; without an entry any will do."""
    fresh: set[UUID] = field(default_factory=set)
    """Rows whose schedule was written a moment ago: Prefect's own scheduler makes their runs yet."""

    @contextmanager
    def told(self, name: str) -> Iterator[None]:
        """Let one fault not keep the rest from being put right."""
        try:
            yield
        except BackupError as error:
            self.faults.append(f"{name}: {error.message}")

    def keep_schedule(self, row: Schedule, there: PrefectSchedule | None) -> None:
        """Make the schedule of one row what the row says."""
        body = None if paused_at(row, self.now) else body_of(row, self.place(row.id))
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
            self.fresh.add(row.id)
            self.changes.append(f"{row.name}: made in Prefect")
            self.catalog.schedules.note_prefect(row.id, made)
            return
        if differs(there, body):
            if row.updated_at is not None and there.updated > row.updated_at and row.prefect_schedule_id == there.id:
                self.drifts.append((row.name, f"somebody changed its schedule in Prefect {_change(there, body)}"))
            self.api.replace_schedule(self.deployment, there.id, body)
            self.fresh.add(row.id)
            self.changes.append(f"{row.name}: written to Prefect anew")
        elif there.updated > self.now - SCHEDULER_PATIENCE:
            self.fresh.add(row.id)
        self.catalog.schedules.note_prefect(row.id, there.id)

    def keep_runs(self, rows: Sequence[Schedule]) -> None:
        """Ask for the runs that are due soon or to be made up for and that Prefect lacks; drop those nobody wants."""
        wanted: list[ExpectedRun] = []
        newest: dict[str, datetime] = {}
        for row in rows:
            with self.told(row.name):
                if not paused_at(row, self.now):
                    wanted += self._wanted(row, newest)
        here = {run.id: run for run in self.api.open_runs(self.deployment, until=self.now + SOON)}
        exact = self.api.open_runs(self.deployment, until=self.now + SHOWN_AHEAD, tags=[EXACT])
        here |= {run.id: run for run in exact}
        known = {(_row_of(run), run.expected_start) for run in here.values()}
        for run in wanted:
            if (str(run.schedule_id), run.due_at) not in known:
                self._ask_for(run)
        times = {(str(run.schedule_id), run.due_at) for run in wanted}
        for one in here.values():
            if one.state_type == "SCHEDULED":
                self._drop(one, times, newest.get(_row_of(one)))

    def _wanted(self, row: Schedule, newest: dict[str, datetime]) -> list[ExpectedRun]:
        exact = body_of(row, self.place(row.id)) is None
        found: list[ExpectedRun] = []
        if row.id not in self.fresh:
            until = self.now + (SHOWN_AHEAD if exact else SOON)
            ahead = self.catalog.expected_runs.ahead(row.id, after=self.now - _PATIENCE, until=until)
            found += ahead[: _EXACT_AHEAD if exact else None]
        last = self.catalog.expected_runs.newest(row.id, before=self.now - _PATIENCE, limit=1)
        if last and _to_be_made_up(last[0], row, self.now):
            found.append(last[0])
        newest[str(row.id)] = last[0].due_at if last else self.now - SHOWN_AHEAD
        return found

    def _ask_for(self, run: ExpectedRun) -> None:
        self.api.create_run_at(
            self.deployment,
            run.due_at,
            {"schedule_id": str(run.schedule_id)},
            idempotency_key=_key(run),
            tags=["edurise", EXACT],
            queue=self.place(run.schedule_id),
        )

    def place(self, schedule_id: UUID) -> str:
        """Return the host that the runs of a row go to; empty: any will do."""
        return self.places.get(schedule_id, "")

    def _drop(self, run: ScheduledRun, wanted: set[tuple[str, datetime]], newest: datetime | None) -> None:
        """End a run that only costs a process: one for a time that is withdrawn, one that a newer run replaces."""
        if self._misplaced(run):
            self.api.delete_run(run.id)  # the next look asks for it anew, where it can be done now
        elif run.expected_start > self.now:
            if EXACT in run.tags and (_row_of(run), run.expected_start) not in wanted:
                self.api.delete_run(run.id)
        elif run.expected_start < self.now - _PATIENCE and (newest is None or run.expected_start < newest):
            self.api.set_state(run.id, "CANCELLED", message="its time has passed: a newer run took its place")
            self.changes.append(f"a run of {run.expected_start:%Y-%m-%d %H:%M} UTC was late and is not needed any more")

    def _misplaced(self, run: ScheduledRun) -> bool:
        """Whether a run waits where nobody takes it, or for a host that cannot do it any more."""
        wanted = next((place for row, place in self.places.items() if str(row) == _row_of(run)), None)
        if wanted is None:  # one machine does everything
            return False
        return not run.queue or (EXACT in run.tags and run.queue != (wanted or DEFAULT_QUEUE))

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


def place_of(row: Schedule, places: Places) -> str:
    """Return the host that the runs of a schedule go to; empty: any will do."""
    return places.backup(row.type.backup, row.source or None) if row.type.backup else ""


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


def _row_of(run: ScheduledRun) -> str:
    return str(run.parameters.get("schedule_id"))


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
