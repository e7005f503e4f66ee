"""Schedules on a real catalog: added, edited, paused, expected, let through the gate, judged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from edurise_backup import operations
from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, ConflictError, ForbiddenError, InputError, NotFoundError
from edurise_backup.model.alarms import AlarmKind, AlarmRow
from edurise_backup.model.jobs import BackupJob, BackupType, JobId, JobStatus
from edurise_backup.model.people import Actor, Role, Via
from edurise_backup.model.schedules import ExpectedRun, KeepRules, RunOutcome, Schedule, Work
from edurise_backup.operations.schedule_config import ScheduleConfig
from edurise_backup.operations.schedule_runs import Admission, attach_job, begin_run, end_run
from edurise_backup.ports import Surroundings
from tests.support.catalog import Product

NOW = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
OPERATOR = Actor("olga", Via.DASHBOARD, frozenset({Role.OPERATOR}))
HOURLY: dict[str, object] = {"name": "hourly files", "type": "files", "frequency": "every hour", "grace": "10m"}


@dataclass(slots=True)
class Clock:
    """A clock that stands where it was put."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_to(self, hour: int, minute: int = 0, *, days: int = 0) -> datetime:
        self.now = NOW.replace(hour=hour, minute=minute) + timedelta(days=days)
        return self.now


@dataclass(slots=True)
class Place:
    """A product, its catalog, and a clock."""

    settings: Settings
    catalog: operations.Catalog
    clock: Clock

    def add(self, **changes: object) -> Schedule:
        return operations.schedule_backup(HOURLY | changes, settings=self.settings)

    def begin(self, schedule: Schedule, expected: datetime | None = None, run: UUID | None = None) -> Admission:
        return begin_run(
            self.catalog,
            schedule.id,
            flow_run_id=run or uuid4(),
            expected=expected or self.clock.now,
            now=self.clock.now,
        )

    def job(self, *, good: bool | None = True) -> JobId:
        """Write a backup job that ended well, or badly, or (None) runs."""
        jobs = self.catalog.jobs
        queued = BackupJob(JobId(uuid4()), BackupType.FILES, JobStatus.QUEUED)
        jobs.create(queued)
        jobs.start(queued.id)
        if good is not None:
            done = replace(queued, status=JobStatus.COMPLETED, size=1, location="here", checksum="a" * 64)
            failed = replace(queued, status=JobStatus.FAILED, error="the disk is full")
            jobs.finish(done if good else failed)
        return queued.id

    def keep(self, admission: Admission) -> None:
        """Let the admitted run end well."""
        attach_job(self.catalog, admission, self.job())
        end_run(self.catalog, admission, good=True, now=self.clock.now)

    def judge(self) -> list[tuple[int, str]]:
        """Let the watchdog look; returns hour and outcome of what it judged."""
        return [
            (due.hour, outcome.value)
            for _, due, outcome in operations.judge_runs(self.catalog, self.clock.now).outcomes
        ]

    def runs(self, schedule: Schedule, *, before: datetime | None = None) -> list[ExpectedRun]:
        return list(self.catalog.expected_runs.newest(schedule.id, before=before or self.clock.now, limit=1000))

    def alarms(self) -> dict[AlarmKind, AlarmRow]:
        return {alarm.kind: alarm for alarm in self.catalog.alarms.open()}


@pytest.fixture
def place(files_product: Product) -> Iterator[Place]:
    settings = files_product.settings
    with operations.open_catalog(settings) as catalog:
        clock = Clock()
        yield Place(replace(settings, around=Surroundings(clock)), catalog, clock)


def outcomes(runs: list[ExpectedRun]) -> list[tuple[int, str | None]]:
    return [(run.due_at.hour, run.outcome.value if run.outcome else None) for run in runs]


# People


def test_a_schedule_is_added_with_its_next_run_its_expected_runs_and_a_row_of_the_audit_trail(place: Place) -> None:
    schedule = place.add(zone="Europe/Berlin", keep=KeepRules(daily=14), tags=["nightly"], jitter="5m", options={})
    assert (schedule.type, schedule.retention, schedule.is_active, schedule.zone) == (
        Work.FILES,
        30,
        True,
        "Europe/Berlin",
    )
    assert schedule.next_run is not None
    assert NOW < schedule.next_run <= NOW + HOUR + timedelta(minutes=5)
    assert place.catalog.schedules.get(schedule.id) == schedule
    expected = place.catalog.expected_runs.between(NOW, NOW + timedelta(days=9))
    assert len(expected) == 48
    assert all(run.frozen_at <= NOW and run.outcome is None for run in expected)
    assert expected[0].due_at == schedule.next_run
    row = next(iter(place.catalog.audit.newest()))
    assert (row.action, row.subject) == ("schedule.add", "hourly files")
    assert '"frequency":"every hour"' in row.detail


@pytest.mark.parametrize(
    ("changes", "said", "to_do"),
    [
        ({"frequency": "0 0 30 2 *"}, "no cron expression that ever comes due", "day of month"),
        ({"frequency": "0 0 29 2 */7", "blackout": ["00:00-24:00"]}, "lies in a blackout", "shorten the blackout"),
        ({"frequency": "every day"}, "not readable", "at 02:00"),
        ({"frequency": "every 0 minutes"}, "makes no sense", "every 15 minutes"),
        ({"zone": "Asia/Kolkatta"}, "no time zone", "Asia/Kolkata"),
        ({"frequency": "every day at 02:00 UTC", "zone": "Asia/Kolkata"}, "names the time zone", "one of the two"),
        ({"type": "everything"}, "no kind of schedule", "full"),
        ({"type": "retain", "options": {"grace": "soon"}}, "is no time", "7d"),
        ({"source": "downloads"}, "no source named 'downloads'", "uploads"),
        ({"type": "full", "source": "uploads"}, "takes every source", "part"),
        ({"type": "prune", "source": "uploads"}, "not on the source", "leave the source out"),
        ({"type": "check", "options": {"budget": "much"}}, "no budget", "5%"),
        ({"type": "check", "options": {"speed": "high"}}, "no option 'speed'", "budget"),
        ({"type": "prune", "options": {"dry_run": "yes"}}, "dry_run", "true or false"),
        ({"retention": 0}, "days of retention", "from 1"),
        ({"keep": {"daily": -2}}, "keep daily -2", "-1 is all"),
        ({"jitter": "2h"}, "reaches the next due time", "shorter"),
        ({"grace": "0"}, "grace of 0", "1s"),
        ({"blackout": ["all day"]}, "blackout 'all day'", "mon-fri"),
        ({"name": " "}, "no name", "printable"),
        ({"name": "--help"}, "no name", "printable"),
        ({"colour": "red"}, "no field 'colour'", "frequency"),
        ({"retention": "long"}, "not readable", "docs"),
        ({"retention": object()}, "not readable", "docs"),
        ({"tags": ["a,b"]}, "no tag", "comma"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_do_and_changes_nothing(
    place: Place, changes: dict[str, object], said: str, to_do: str
) -> None:
    with pytest.raises(InputError) as refused:
        place.add(**changes)
    assert said in refused.value.message
    assert to_do in refused.value.hint
    assert place.catalog.schedules.all() == ()
    assert place.catalog.audit.newest() == ()


def test_a_name_is_taken_once_and_schedules_are_found_by_name_and_id(place: Place) -> None:
    schedule = place.add()
    with pytest.raises(ConflictError, match="already"):
        place.add(frequency="6h")
    assert place.catalog.schedules.find(str(schedule.id)[:8]) == place.catalog.schedules.find("hourly files")
    with pytest.raises(NotFoundError):
        place.catalog.schedules.find("nightly")
    with pytest.raises(NotFoundError):
        place.catalog.schedules.find("' OR true --")


def test_two_processes_cannot_add_the_same_name(place: Place) -> None:
    refused: list[BackupError] = []

    def add() -> None:
        try:
            place.add()
        except BackupError as error:
            refused.append(error)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(error) for error in refused] == [ConflictError] * 3
    (schedule,) = place.catalog.schedules.all()
    assert {run.schedule_id for run in place.catalog.expected_runs.between(NOW, NOW + 99 * HOUR)} == {schedule.id}


def test_an_edit_withdraws_what_is_not_due_yet_and_leaves_what_was_due(place: Place) -> None:
    schedule = place.add()
    place.clock.pass_to(14, 5)
    edited = operations.edit_schedule(
        "hourly files",
        {"frequency": "every day at 20:00", "name": "evening"},
        settings=place.settings,
    )
    assert (edited.id, edited.version, edited.name) == (schedule.id, 2, "evening")
    assert edited.next_run == NOW.replace(hour=20, minute=0)
    rows = place.catalog.expected_runs.between(NOW, NOW + 40 * HOUR)
    counted = [run for run in rows if run.outcome is not RunOutcome.WITHDRAWN]
    assert [(run.due_at.hour, run.name) for run in counted] == [
        (13, "hourly files"),
        (14, "hourly files"),
        (20, "evening"),
        (20, "evening"),
    ]
    row = next(iter(place.catalog.audit.newest()))
    assert row.action == "schedule.edit"
    assert '"after":{' in row.detail and '"before":{' in row.detail


def test_an_edit_does_not_hide_what_was_due_while_nobody_wrote_it_down(place: Place) -> None:
    schedule = place.add()
    place.clock.pass_to(12, 40, days=5)
    operations.edit_schedule("hourly files", {"frequency": "every day at 02:00"}, settings=place.settings)
    assert len(place.judge()) == 5 * 24
    place.clock.pass_to(12, 50, days=6)
    assert place.judge() == [(2, "missed")]
    operations.remove_schedule("hourly files", settings=place.settings)
    assert len(place.runs(schedule)) == 5 * 24 + 1


def test_a_row_that_nobody_can_read_can_be_mended_by_an_edit(place: Place) -> None:
    place.add()
    with place.catalog.sessions.transaction() as connection:
        connection.execute("UPDATE backup_schedules SET frequency = 'whenever'")
    edited = operations.edit_schedule("hourly files", {"frequency": "6h"}, settings=place.settings)
    assert edited.next_run is not None


def test_an_edit_that_changes_nothing_writes_nothing(place: Place) -> None:
    schedule = place.add()
    same = operations.edit_schedule("hourly files", {"grace": "10m"}, settings=place.settings)
    assert same == schedule
    assert len(place.catalog.audit.newest()) == 1
    with pytest.raises(InputError, match="nothing is to be changed"):
        operations.edit_schedule("hourly files", {}, settings=place.settings)


def test_a_new_zone_takes_the_place_of_the_one_in_the_words(place: Place) -> None:
    place.add(frequency="every day at 02:00 Asia/Kolkata")
    edited = operations.edit_schedule("hourly files", {"zone": "UTC"}, settings=place.settings)
    assert (edited.frequency, edited.zone) == ("every day at 02:00", "UTC")
    again = operations.edit_schedule(
        "hourly files", {"frequency": "every day at 03:00 Europe/Paris"}, settings=place.settings
    )
    assert again.zone == "Europe/Paris"


def test_a_pause_skips_what_falls_into_it_and_ends_by_itself(place: Place) -> None:
    schedule = place.add()
    end = NOW.replace(hour=15, minute=30)
    paused = operations.pause_schedule("hourly files", until=end, settings=place.settings)
    assert (paused.is_active, paused.next_run) == (False, NOW.replace(hour=16, minute=0))
    place.clock.pass_to(15, 1)
    assert not place.begin(schedule).admitted
    place.clock.pass_to(15, 31)
    judged = operations.judge_runs(place.catalog, place.clock.now)
    assert judged.resumed == ("hourly files",)
    assert place.catalog.schedules.get(schedule.id).is_active
    place.clock.pass_to(16, 1)
    assert place.begin(schedule).admitted
    assert outcomes(place.runs(schedule)) == [(16, None), (15, "skipped"), (14, "skipped"), (13, "skipped")]
    assert [row.action for row in place.catalog.audit.newest()] == ["schedule.resume", "schedule.pause", "schedule.add"]


def test_a_pause_without_an_end_lasts_until_it_is_resumed(place: Place) -> None:
    schedule = place.add()
    assert operations.pause_schedule("hourly files", settings=place.settings).next_run is None
    place.clock.pass_to(12, 0, days=9)
    assert place.judge() == []
    assert {run.outcome for run in place.runs(schedule)} == {RunOutcome.SKIPPED}
    assert len(place.runs(schedule)) == 9 * 24 - 1
    resumed = operations.resume_schedule("hourly files", settings=place.settings)
    assert resumed.next_run == place.clock.now + HOUR
    place.clock.pass_to(13, 1, days=9)
    assert place.begin(schedule).admitted
    with pytest.raises(ConflictError, match="not paused"):
        operations.resume_schedule("hourly files", settings=place.settings)
    with pytest.raises(InputError, match="a pause cannot end"):
        operations.pause_schedule("hourly files", until=NOW, settings=place.settings)


def test_a_removed_schedule_leaves_the_record_of_its_runs(place: Place) -> None:
    schedule = place.add()
    place.clock.pass_to(14, 5)
    operations.remove_schedule("hourly files", settings=place.settings)
    assert place.catalog.schedules.all() == ()
    place.clock.pass_to(15, 0)
    assert place.judge() == [(13, "missed"), (14, "missed")]
    assert not place.begin(schedule).admitted
    assert place.alarms() == {}
    rows = place.catalog.expected_runs.between(NOW, NOW + 99 * HOUR)
    assert {run.outcome for run in rows} == {RunOutcome.MISSED, RunOutcome.WITHDRAWN}


def test_who_may_only_operate_pauses_and_resumes_and_nothing_more(place: Place) -> None:
    place.add()
    operations.pause_schedule("hourly files", settings=place.settings, actor=OPERATOR)
    operations.resume_schedule("hourly files", settings=place.settings, actor=OPERATOR)
    with pytest.raises(ForbiddenError):
        operations.schedule_backup(HOURLY | {"name": "x"}, settings=place.settings, actor=OPERATOR)
    with pytest.raises(ForbiddenError):
        operations.edit_schedule("hourly files", {"retention": 1}, settings=place.settings, actor=OPERATOR)
    with pytest.raises(ForbiddenError):
        operations.remove_schedule("hourly files", settings=place.settings, actor=OPERATOR)
    assert len(place.catalog.schedules.all()) == 1


def test_a_preview_says_why_runs_fall_out(place: Place) -> None:
    place.add(frequency="every 6 hours", blackout=["mon 17:00-19:00"], zone="UTC")
    operations.pause_schedule("hourly files", until=NOW.replace(day=3, hour=3), settings=place.settings)
    runs = operations.preview_schedule("hourly files", 4, settings=place.settings)
    assert [run.at.hour for run in runs] == [18, 0, 6, 12]
    assert [bool(run.left_out) for run in runs] == [True, True, False, False]
    assert "paused until" in runs[1].left_out
    config = ScheduleConfig("new", "files", "0 2 * * *", zone="Asia/Kolkata", blackout=("tue 01:00-03:00",))
    (first, second) = operations.preview_schedule(config, 2, settings=place.settings)
    assert "02:00:00 IST" in first.local
    assert first.left_out == "blackout tue 01:00-03:00"
    assert second.left_out == ""
    with pytest.raises(InputError):
        operations.preview_schedule(config, 0, settings=place.settings)


# The gate


def test_a_run_on_time_is_let_through_once_and_writes_last_and_next_run(place: Place) -> None:
    schedule = place.add()
    now = place.clock.pass_to(13, 0)
    run = uuid4()
    admission = place.begin(schedule, run=run)
    assert admission.admitted
    assert place.begin(schedule, run=run).admitted  # the same run asks again
    assert not place.begin(schedule).admitted  # another one does not get it, too
    after = place.catalog.schedules.get(schedule.id)
    assert (after.last_run, after.next_run) == (now, now + HOUR)
    place.keep(admission)
    (kept,) = place.runs(schedule, before=now + timedelta(seconds=1))
    assert (kept.outcome, kept.flow_run_id) == (RunOutcome.KEPT, run)
    assert kept.job_id is not None


def test_a_run_that_prefect_begins_early_takes_up_the_run_it_was_meant_for(place: Place) -> None:
    schedule = place.add()
    place.clock.now = NOW.replace(hour=12, minute=59, second=52)
    assert place.begin(schedule, expected=NOW.replace(hour=13, minute=0)).admitted
    place.clock.pass_to(13, 0)
    assert not place.begin(schedule).admitted


def test_of_two_processes_one_run_is_let_through(place: Place) -> None:
    schedule = place.add()
    place.clock.pass_to(13, 1)
    admitted: list[bool] = []
    threads = [threading.Thread(target=lambda: admitted.append(place.begin(schedule).admitted)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(admitted) == [False, False, False, True]


def test_after_a_downtime_the_newest_run_is_made_up_for_once_and_all_of_them_count_as_missed(place: Place) -> None:
    schedule = place.add()
    place.clock.pass_to(16, 30)
    late = [place.begin(schedule, expected=NOW.replace(hour=hour, minute=0)) for hour in (13, 14, 15, 16)]
    assert [one.admitted for one in late] == [True, False, False, False]
    assert "makes up for the run of 2026-03-02 16:00" in late[0].reason
    assert outcomes(place.runs(schedule)) == [(hour, "missed") for hour in (16, 15, 14, 13)]
    place.judge()
    assert place.alarms()[AlarmKind.RUN_MISSED].message.startswith("hourly files: 4 runs were missed")
    place.keep(late[0])
    newest = place.runs(schedule)[0]
    assert (newest.outcome, newest.made_up_at) == (RunOutcome.MISSED, place.clock.now)
    assert place.alarms() == {}


def test_without_catch_up_a_late_run_is_refused_and_missed(place: Place) -> None:
    schedule = place.add(catch_up=False)
    place.clock.pass_to(13, 11)
    refused = place.begin(schedule, expected=NOW.replace(hour=13, minute=0))
    assert not refused.admitted
    assert "not made up for" in refused.reason
    assert outcomes(place.runs(schedule)) == [(13, "missed")]


def test_a_late_run_within_its_grace_counts_and_takes_the_place_of_older_ones(place: Place) -> None:
    schedule = place.add(frequency="every 5 minutes")
    place.clock.pass_to(12, 44)
    admission = place.begin(schedule, expected=NOW.replace(minute=35))
    assert admission.admitted
    place.keep(admission)
    runs = [(run.due_at.minute, run.outcome) for run in place.runs(schedule)]
    assert runs == [(40, RunOutcome.KEPT), (35, RunOutcome.SKIPPED)]


def test_nothing_begins_while_an_earlier_run_goes_on(place: Place) -> None:
    schedule = place.add()
    place.clock.pass_to(13)
    first = place.begin(schedule)
    place.clock.pass_to(13, 10)
    assert place.judge() == []
    attach_job(place.catalog, first, place.job(good=None))
    place.clock.pass_to(14)
    assert "still under way" in place.begin(schedule).reason
    assert outcomes(place.runs(schedule, before=place.clock.now + HOUR))[0] == (14, "skipped")
    assert place.catalog.schedules.get(schedule.id).last_run == NOW.replace(hour=13, minute=0)


def test_nothing_begins_beside_another_job_on_its_source(place: Place) -> None:
    place.clock.now = datetime.now(UTC)  # leases live by the real clock
    schedule = place.add(source="uploads", frequency="every 10 seconds")
    other = place.job(good=None)
    tokens = place.catalog.leases.acquire(["files/uploads"], other)
    place.clock.now += timedelta(seconds=11)
    assert "files/uploads is being backed up" in place.begin(schedule).reason
    place.catalog.leases.release(tokens)
    place.clock.now += timedelta(seconds=10)
    assert place.begin(schedule).admitted


def test_a_copy_does_not_begin_beside_another_into_the_same_store(place: Place) -> None:
    place.clock.now = datetime.now(UTC)
    schedule = place.add(type="copy", frequency="every 10 seconds", options={"store": "offsite"})
    for store, told in (("offsite", "copying into offsite"), ("elsewhere", "")):
        tokens = place.catalog.leases.acquire([f"copy/{store}"], uuid4())
        place.clock.now += timedelta(seconds=11)
        admission = place.begin(schedule)
        assert (admission.admitted, told in admission.reason) == (not told, True)
        place.catalog.leases.release(tokens)


def test_nothing_begins_in_a_blackout(place: Place) -> None:
    schedule = place.add(blackout=["13:05-13:30"])
    place.clock.pass_to(13, 6)
    assert "blackout" in place.begin(schedule, expected=NOW.replace(hour=13, minute=0)).reason
    assert outcomes(place.runs(schedule)) == [(13, "skipped")]


# The watchdog


def test_late_then_missed_then_failed_then_good_each_alarm_is_raised_once_and_settled(place: Place) -> None:
    schedule = place.add()
    place.clock.pass_to(13, 6)
    assert place.judge() == []
    assert set(place.alarms()) == {AlarmKind.RUN_LATE}
    place.clock.pass_to(13, 11)
    assert place.judge() == [(13, "missed")]
    assert place.judge() == []
    assert {kind: alarm.severity.value for kind, alarm in place.alarms().items()} == {AlarmKind.RUN_MISSED: "warning"}
    place.clock.pass_to(14, 1)
    failing = place.begin(schedule)
    attach_job(place.catalog, failing, place.job(good=False))
    end_run(place.catalog, failing, good=False, reason="the disk is full", now=place.clock.now)
    alarms = place.alarms()
    assert set(alarms) == {AlarmKind.RUN_MISSED, AlarmKind.JOB_FAILED}
    assert "the disk is full" in alarms[AlarmKind.JOB_FAILED].message
    assert alarms[AlarmKind.JOB_FAILED].severity.value == "critical"
    place.clock.pass_to(15, 1)
    place.keep(place.begin(schedule))
    assert place.alarms() == {}
    assert len(place.catalog.alarms.newest()) == 3
    assert outcomes(place.runs(schedule)) == [(15, "kept"), (14, "failed"), (13, "missed")]


def test_runs_that_nobody_wrote_down_count_all_the_same_when_everything_was_down(place: Place) -> None:
    schedule = place.add()
    place.clock.pass_to(12, 40, days=5)
    assert len(place.judge()) == 5 * 24
    assert {run.outcome for run in place.runs(schedule)} == {RunOutcome.MISSED}
    assert place.catalog.schedules.get(schedule.id).next_run == place.clock.now.replace(minute=0) + HOUR


def test_the_job_decides_when_a_run_could_not_tell_its_end(place: Place) -> None:
    schedule = place.add()
    place.clock.pass_to(13)
    attach_job(place.catalog, place.begin(schedule), place.job())
    place.clock.pass_to(13, 5)
    assert place.judge() == [(13, "kept")]
    place.clock.pass_to(14)
    assert place.begin(schedule).admitted  # and its process dies before there is a job
    place.clock.pass_to(14, 10)
    assert place.judge() == []
    place.clock.pass_to(14, 16)
    assert place.judge() == [(14, "failed")]


def test_what_the_run_says_of_its_end_counts_more_than_what_it_was_taken_for(place: Place) -> None:
    schedule = place.add()
    place.clock.pass_to(13)
    admission = place.begin(schedule)
    place.clock.pass_to(13, 20)
    assert place.judge() == [(13, "failed")]
    assert set(place.alarms()) == {AlarmKind.JOB_FAILED}
    place.keep(admission)  # it had only stood still
    assert outcomes(place.runs(schedule)) == [(13, "kept")]
    assert place.alarms() == {}


def test_two_watchdogs_at_once_judge_each_run_once(place: Place) -> None:
    place.add()
    place.clock.pass_to(18, 30)
    found: list[tuple[int, str]] = []
    threads = [threading.Thread(target=lambda: found.extend(place.judge())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(hour, "missed") for hour in range(13, 19)]
    assert len(place.catalog.alarms.newest()) == 1


def test_a_row_that_nobody_can_read_is_told_and_does_not_stop_the_others(place: Place) -> None:
    place.add()
    place.add(name="other")
    with place.catalog.sessions.transaction() as connection:
        connection.execute("UPDATE backup_schedules SET frequency = 'whenever' WHERE name = 'other'")
    place.clock.pass_to(13, 30)
    judged = operations.judge_runs(place.catalog, place.clock.now)
    assert "other: the frequency 'whenever' is not readable" in judged.unreadable[0]
    assert len(judged.outcomes) == 2
