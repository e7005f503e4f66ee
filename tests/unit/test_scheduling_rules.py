"""The pure rules of schedules: what Prefect can express, what became of a run, which alarms that means."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from edurise_backup.catalog.expected_runs import JobState, OpenRun, Standing
from edurise_backup.model.jobs import JobStatus, Verdict
from edurise_backup.model.schedules import ExpectedRun, RunOutcome, Schedule, Work
from edurise_backup.model.timing import next_times
from edurise_backup.operations.judging import alarms_about, verdict_on
from edurise_backup.operations.planning import rule_of
from edurise_backup.operations.pruning import parse_duration
from edurise_backup.operations.schedule_config import config_from, length_text
from flows.prefect_api import PrefectSchedule
from flows.schedules import body_of, differs, plain_cron

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
ID = UUID(int=5)
RUN = ExpectedRun(ID, NOW, "nightly", Work.FULL, "", NOW + timedelta(hours=1), NOW - timedelta(days=1))


def schedule(frequency: str, **fields: object) -> Schedule:
    return Schedule(ID, "nightly", Work.FULL, frequency, 30, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cron", "plain"),
    [
        ("0 2 * * *", True),
        ("*/15 8-18 * * 1-5", True),
        ("0 4 1,15 * *", True),
        ("0 4 L * *", False),
        ("0 4 * * MON", False),
        ("0 4 * * 5#2", False),
        ("0 4 1 * 1", False),
        ("0 4 * * 7", False),
    ],
)
def test_prefect_gets_the_cron_that_it_reads_as_we_do(cron: str, plain: bool) -> None:
    assert plain_cron(cron) is plain
    assert (body_of(schedule(cron)) is not None) is plain


def test_jitter_and_blackouts_are_beyond_prefects_schedules() -> None:
    assert body_of(schedule("6h", jitter=timedelta(minutes=5))) is None
    assert body_of(schedule("6h", blackout=("08:00-18:00",))) is None


@pytest.mark.parametrize(
    ("frequency", "zone"),
    [
        ("0 2 * * *", "Asia/Kolkata"),
        ("*/15 8-18 * * 1-5", "Europe/Berlin"),
        ("30 3 1,15 */2 *", "America/New_York"),
        ("0 12 * * 0", "UTC"),
        ("every 6 hours", "Asia/Kolkata"),
        ("every 90 minutes", "Europe/Berlin"),
        ("every 10 seconds", "UTC"),
    ],
)
def test_prefect_computes_the_due_times_that_we_do(frequency: str, zone: str) -> None:
    from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule

    row = schedule(frequency, zone=zone)
    body = body_of(row)
    assert body is not None
    rule = body["schedule"]
    assert isinstance(rule, dict)
    theirs = CronSchedule(**rule) if "cron" in rule else IntervalSchedule.model_validate(rule)
    dates = asyncio.run(theirs.get_dates(n=30, start=NOW + timedelta(seconds=1)))
    assert [date.astimezone(UTC) for date in dates] == next_times(rule_of(row), NOW, 30)


def test_every_change_in_prefect_is_seen_and_another_way_to_write_the_same_is_none() -> None:
    body = body_of(schedule("6h", zone="Asia/Kolkata"))
    assert body is not None
    rule = {"interval": 21600, "anchor_date": "1999-12-31T18:30:00Z", "timezone": "UTC", "day_or": None}
    there = PrefectSchedule(ID, str(body["slug"]), True, rule, {"schedule_id": str(ID)}, NOW)
    assert not differs(there, body)
    changes: list[dict[str, object]] = [
        {"active": False},
        {"parameters": {}},
        {"schedule": rule | {"interval": 3600}},
        {"schedule": rule | {"anchor_date": "2000-01-01T00:00:00Z"}},
        {"schedule": {"cron": "0 * * * *", "timezone": "UTC", "day_or": True}},
    ]
    fields = ("id", "slug", "active", "schedule", "parameters", "updated")
    for change in changes:
        values = {name: getattr(there, name) for name in fields} | change
        assert differs(PrefectSchedule(**values), body), change


@pytest.mark.parametrize(
    ("begun", "job", "after", "outcome"),
    [
        (False, None, timedelta(minutes=60), None),
        (False, None, timedelta(minutes=61), RunOutcome.MISSED),
        (True, None, timedelta(minutes=15), None),
        (True, None, timedelta(minutes=16), RunOutcome.FAILED),
        (True, JobState(JobStatus.RUNNING, None, None, None), timedelta(days=2), None),
        (True, JobState(JobStatus.COMPLETED, NOW, None, None), timedelta(minutes=1), RunOutcome.KEPT),
        (True, JobState(JobStatus.COMPLETED_WITH_WARNINGS, NOW, None, None), timedelta(minutes=1), RunOutcome.KEPT),
        (True, JobState(JobStatus.COMPLETED, NOW, Verdict.PASSED, None), timedelta(minutes=1), RunOutcome.KEPT),
        (True, JobState(JobStatus.COMPLETED, NOW, Verdict.FAILED, None), timedelta(minutes=16), RunOutcome.FAILED),
        # an attempt that failed may be repeated
        (True, JobState(JobStatus.FAILED, NOW, None, "no space"), timedelta(minutes=15), None),
        (True, JobState(JobStatus.FAILED, NOW, None, "no space"), timedelta(minutes=16), RunOutcome.FAILED),
        (True, JobState(JobStatus.CANCELLED, NOW, None, None), timedelta(minutes=16), RunOutcome.FAILED),
    ],
)
def test_what_became_of_a_run(begun: bool, job: JobState | None, after: timedelta, outcome: RunOutcome | None) -> None:
    run = replace(RUN, begun_at=NOW if begun else None)
    verdict = verdict_on(OpenRun(run, job), NOW + after)
    assert (verdict[0] if verdict else None) is outcome


def test_a_second_miss_in_a_row_is_critical_and_a_schedule_in_order_has_no_alarm() -> None:
    def severities(failed: int, missed: int, late: datetime | None = None) -> dict[str, str]:
        standing = Standing(ID, "nightly", failed, missed, "why", NOW, late)
        return {alarm.kind.value: alarm.severity.value for alarm in alarms_about(standing)}

    assert severities(0, 0) == {}
    assert severities(0, 1) == {"run_missed": "warning"}
    assert severities(0, 2) == {"run_missed": "critical"}
    assert severities(1, 1) == {"job_failed": "critical", "run_missed": "critical"}
    assert severities(0, 0, NOW) == {"run_late": "warning"}


@pytest.mark.parametrize("text", ["0", "1s", "90s", "1h30m", "2d", "1d1h1m1s"])
def test_lengths_are_written_as_they_are_read(text: str) -> None:
    assert parse_duration(length_text(parse_duration(text))) == parse_duration(text)


def test_a_config_says_all_that_a_person_can_say_of_a_schedule() -> None:
    row = schedule("6h", zone="Asia/Kolkata", blackout=("08:00-18:00",), grace=timedelta(hours=2), tags=("a",))
    config = config_from(row)
    assert (config.frequency, config.zone, config.grace, config.jitter) == ("6h", "Asia/Kolkata", "2h", "0")
    assert (config.blackout, config.tags) == (("08:00-18:00",), ("a",))
