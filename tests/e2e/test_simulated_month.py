"""A month of operation in virtual time: schedules, retention, prunes, proofs, a watch; and what goes wrong in a month.

The real operations, catalog, repository and rules; only the clock is moved by
the test. March 2026: Europe's clocks go forward on the 29th.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest

from edurise_backup import operations
from edurise_backup.catalog.signs import write_sign
from edurise_backup.config import Settings
from edurise_backup.errors import BackupError
from edurise_backup.model.alarms import AlarmKind
from edurise_backup.model.jobs import BackupFilters, BackupJob, BackupType, JobId, Verdict
from edurise_backup.model.maintenance import MaintenanceKind
from edurise_backup.model.people import SYSTEM
from edurise_backup.model.schedules import RunOutcome, Schedule, Work
from edurise_backup.operations.audit import verify_audit
from edurise_backup.operations.configured import opened_repository
from edurise_backup.operations.schedule_runs import attach_job, begin_run, end_run
from edurise_backup.operations.verifications import newest_unverified
from edurise_backup.operations.watching import SERVICE, watch_catalog
from edurise_backup.ports import Surroundings, utc_now
from edurise_backup.postgres.connection import Address
from edurise_backup.recovery.streaming import SnapshotFiles
from reports import make_report
from tests.integration.test_operations_rebuild import lose_catalog
from tests.support.calendar import SetClock
from tests.support.calendar_store import ClockedStore
from tests.support.catalog import Product

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
END = datetime(2026, 4, 1, tzinfo=UTC)
STEP, HOUR, DAY = timedelta(minutes=30), timedelta(hours=1), timedelta(days=1)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return BEGIN + timedelta(days=day - 1, hours=hour, minutes=minute)


AWAY = (at(6, 10), at(6, 13))
"""The files cannot be read: three hourly backups fail."""
DOWN = (at(10, 3, 10), at(10, 10, 10))
"""The host is off."""
SKEWED = (at(12, 4, 20), at(12, 9, 20))
"""The host's clock is two hours ahead."""
LOST = at(17, 12, 10)
"""The catalog is lost."""


@dataclass(slots=True)
class Month:
    """What runs, and what each backup held."""

    product: Product
    catalog_at: Address
    clock: SetClock = field(default_factory=lambda: SetClock(BEGIN))
    held: dict[JobId, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    dark: set[datetime] = field(default_factory=set)
    """When nothing ran."""
    _catalog: operations.Catalog | None = None

    def within(self, span: tuple[datetime, datetime]) -> bool:
        return span[0] <= self.clock.now < span[1]

    def host_clock(self) -> datetime:
        """Return what the host takes the time for."""
        return self.clock.now + (2 * HOUR if self.within(SKEWED) else timedelta(0))

    @property
    def settings(self) -> Settings:
        found = self.product.settings
        around = Surroundings(self.host_clock, lambda store: ClockedStore(store, self.clock))
        objectives = msgspec.structs.replace(found.objectives, verified_days=8)  # a weekly proof, of last night's set
        return replace(found, around=around, objectives=objectives)

    def live(self) -> None:
        """Let the month pass, half an hour at a time."""
        while self.clock.now < END:
            self.clock.forward(STEP)
            self._happen()
            if self.within(DOWN):
                self.dark.add(self.clock.now)
            else:
                if not self.within(AWAY):
                    self.product.put("essays/diary.txt", f"{self.clock.now}".encode())
                for schedule in self._due():
                    self._run(schedule)
                self._watch()

    def _happen(self) -> None:
        storage, away = self.product.storage, self.product.home / "away"
        if self.within(AWAY) and storage.exists():
            storage.rename(away)
        elif not self.within(AWAY) and away.exists():
            away.rename(storage)
        if LOST <= self.clock.now < LOST + STEP:
            self.close()
            lose_catalog(self.catalog_at)
            rebuilt = operations.rebuild_catalog(settings=self.settings)
            assert not [remark for remark in rebuilt.remarks if "forgotten" not in remark], rebuilt.remarks

    @property
    def catalog(self) -> operations.Catalog:
        """The catalog, open from step to step; operations open it for themselves."""
        if self._catalog is None:
            self._catalog = operations.open_catalog(self.settings)
        return self._catalog

    def close(self) -> None:
        """Let go of the catalog."""
        if self._catalog is not None:
            self._catalog.close()
        self._catalog = None

    def _due(self) -> list[Schedule]:
        now = self.host_clock()
        found = [one for one in self.catalog.schedules.all() if one.next_run and one.next_run <= now]
        return sorted(found, key=lambda one: (one.next_run or now, one.name))

    def _run(self, schedule: Schedule) -> None:
        settings, catalog, now = self.settings, self.catalog, self.host_clock()
        admitted = begin_run(catalog, schedule.id, flow_run_id=uuid4(), expected=schedule.next_run, now=now)
        if not admitted.admitted:
            return
        try:
            job_id = self._work(schedule, settings, lambda job: attach_job(catalog, admitted, job))
        except BackupError as error:
            self.failures.append(f"{schedule.name} {now:%d %H:%M}: {error.message}")
            end_run(catalog, admitted, good=False, reason=error.message, now=now)
            return
        attach_job(catalog, admitted, job_id)
        end_run(catalog, admitted, good=True, now=now)

    def _work(self, schedule: Schedule, settings: Settings, note: Callable[[JobId], None]) -> JobId:
        if kind := schedule.type.backup:
            tags, source = (f"schedule={schedule.id}",), schedule.source or None
            queued = operations.queue_backup(kind, settings=settings, source=source, tags=tags)
            note(queued)
            job = operations.create_backup(kind, settings=settings, source=source, tags=tags, job_id=queued)
            self.held[job.id] = (self.product.storage / "essays/diary.txt").read_text()
            return job.id
        match schedule.type:
            case Work.VERIFY:
                verified = operations.verify_backup(newest_unverified(settings=settings), settings=settings)
                assert verified.verification_status is Verdict.PASSED
                return verified.id
            case Work.CHECK:
                checked = operations.check_repository(settings=settings, budget="10%")
                assert checked.verification_status is Verdict.PASSED, checked.findings
                return checked.id
            case Work.RETAIN:
                queued = operations.queue_retention(settings=settings)
                note(queued)
                return operations.apply_retention(settings=settings, actor=SYSTEM, job_id=queued).id
            case Work.PRUNE:
                queued = operations.queue_prune(settings=settings)
                note(queued)
                return operations.prune_repository(settings=settings, job_id=queued, actor=SYSTEM).id
            case _:
                operations.anchor_audit(settings=settings, actor=SYSTEM)
                return JobId(uuid4())

    def _watch(self) -> None:
        """Do the last of the rounds of this half hour; the others would find the same, and leave a sign of life."""
        offset = self.host_clock() - self.clock.now
        if self.clock.now - STEP not in self.dark:
            write_sign(self.catalog.sessions, SERVICE, self.host_clock() - timedelta(minutes=1))
        watch_catalog(self.settings, self.catalog, host_clock=lambda: utc_now() + offset)


SCHEDULES: tuple[dict[str, object], ...] = (
    {"name": "hourly", "type": "files", "source": "uploads", "frequency": "every hour", "grace": "10m", "retention": 3},
    {"name": "nightly", "type": "full", "frequency": "every day at 02:30 Europe/Berlin", "retention": 14},
    {"name": "retain", "type": "retain", "frequency": "every day at 04:00"},
    {"name": "prune", "type": "prune", "frequency": "every day at 05:00"},
    {"name": "check", "type": "check", "frequency": "every day at 06:00"},
    {"name": "anchor", "type": "anchor", "frequency": "every day at 06:30"},
    {"name": "proof", "type": "verify", "frequency": "every sunday at 07:00"},
)


@pytest.fixture
def month(files_product: Product, catalog_database: Address) -> Iterator[Month]:
    """Yield a month that has passed."""
    month = Month(files_product, catalog_database)
    settings = month.settings
    files_product.put("essays/diary.txt", b"the beginning")
    first = operations.create_backup(settings=settings)
    operations.verify_backup(first.id, settings=settings)
    for config in SCHEDULES:
        operations.schedule_backup({"retention": 30, **config}, settings=settings, actor=SYSTEM)
    month.live()
    yield month
    month.close()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_month_ends_with_every_state_right_every_alarm_raised_once_and_nothing_lost(month: Month) -> None:
    settings = month.settings
    with operations.open_catalog(settings) as catalog:
        there = catalog.jobs.find(BackupFilters(restorable=True, limit=100_000))
        _nothing_is_lost(month, there)
        _what_is_kept_is_what_the_policies_mean(there)
        _every_alarm_was_raised_once(catalog, month)
        open_now = [(row.kind.value, row.subject, row.message) for row in catalog.alarms.open()]
        assert open_now == []
        _every_run_is_accounted_for(catalog, month)
        audited = verify_audit(catalog, opened_repository(settings))
        assert audited.findings == ()
        assert any("went with an earlier catalog" in remark for remark in audited.remarks)
        pruned = catalog.maintenance.last(MaintenanceKind.PRUNE, good=True)
        assert pruned and pruned.figures and pruned.figures.pruned
    _the_report_tells_of_it(settings)


def _nothing_is_lost(month: Month, there: tuple[BackupJob, ...]) -> None:
    repository = opened_repository(month.settings)
    repository.load_index()
    known = 0
    for job in there:
        for part in job.parts:
            snapshot = repository.load_snapshot(part.snapshot_id)  # type: ignore[arg-type]
            if part.part is BackupType.FILES and job.id in month.held:
                path = f"{month.product.storage}/essays/diary.txt"
                assert SnapshotFiles(repository, snapshot.tree).read(path).decode() == month.held[job.id]
                known += 1
    assert known > 80
    done = operations.check_repository(settings=month.settings, read_data=True)
    assert (done.verification_status, done.findings) == (Verdict.PASSED, ())


def _what_is_kept_is_what_the_policies_mean(there: tuple[BackupJob, ...]) -> None:
    last_retention = END - DAY + 4 * HOUR
    hourly = [job for job in there if job.type is BackupType.FILES]
    nightly = [job for job in there if job.type is BackupType.FULL]
    for jobs, kept in ((hourly, 3 * DAY), (nightly, 14 * DAY)):
        moments = sorted(
            job.started_at for job in jobs if job.started_at and any("schedule=" in tag for tag in job.tags)
        )
        newest = max(moment for moment in moments if moment <= last_retention)
        assert newest - kept <= moments[0] <= newest - kept + DAY, (moments[0], newest)
    assert len(nightly) in (15, 16, 17)  # and the first one of all, which was taken by hand


def _every_alarm_was_raised_once(catalog: operations.Catalog, month: Month) -> None:
    raised = Counter((row.kind, row.subject) for row in catalog.alarms.newest(limit=10_000))
    assert raised == {
        (AlarmKind.JOB_FAILED, "schedule hourly"): 1,  # while the files were away
        (AlarmKind.SERVICE_DOWN, "watch"): 1,  # while the host was off
        (AlarmKind.CLOCK_OFF, "host"): 1,
        (AlarmKind.CLOCK_OFF, "catalog"): 1,  # rows of the two hours to come, after the clock was set back
        (AlarmKind.JOB_FAILED, "maintenance prune"): 1,  # which refuses beside a clock that disagrees with the store's
        (AlarmKind.RUN_MISSED, "schedule prune"): 1,  # that run was an hour and a half late by the host's clock,
        (AlarmKind.RUN_LATE, "schedule check"): 1,  # and the check half an hour
    }, (dict(raised), month.failures)


def _every_run_is_accounted_for(catalog: operations.Catalog, month: Month) -> None:
    runs = catalog.expected_runs.between(BEGIN, END)
    assert not [run for run in runs if run.outcome is None and run.due_at < END - HOUR]
    by_name = {name: Counter(run.outcome for run in runs if run.name == name) for name in {run.name for run in runs}}
    assert by_name["nightly"][RunOutcome.KEPT] == by_name["nightly"].total(), by_name["nightly"]
    assert by_name["hourly"][RunOutcome.FAILED] == 3
    assert by_name["hourly"][RunOutcome.MISSED] >= 6
    assert all(counted[RunOutcome.KEPT] for counted in by_name.values())


def _the_report_tells_of_it(settings: Settings) -> None:
    report = make_report(settings, "2026-03", "", now=END, actor=SYSTEM)
    assert report.files
    judged = {control.id: control.status.value for control in report.controls}
    assert judged
