"""What a policy will keep and drop: day by day, with the objectives that it would miss."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from edurise_backup.model.policy import RetentionPolicy
from edurise_backup.model.retention import RestorePoint, Series
from edurise_backup.model.simulation import Objectives, Simulation, Wish, simulate

NOW = datetime(2026, 11, 27, tzinfo=UTC)
UPLOADS = Series("files", "uploads")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OBJECTIVES = Objectives(26 * HOUR, 30 * DAY)


def history(count: int, *, every: timedelta = HOUR, verified: bool = True) -> list[RestorePoint]:
    return [
        RestorePoint(
            UUID(int=number),
            UPLOADS,
            NOW - number * every,
            verified=verified,
            complete=True,
            sources=("files/uploads",),
            stored_bytes=1000,
        )
        for number in range(count)
    ]


def runs(count: int, *, every: timedelta = HOUR) -> list[datetime]:
    return [NOW + number * every for number in range(1, count + 1)]


def simulated(
    points: list[RestorePoint], policy: RetentionPolicy, moments: list[datetime], *, days: int = 90
) -> Simulation:
    return simulate(points, Wish(UPLOADS, policy, moments, 500, OBJECTIVES, days), now=NOW)


def controls(found: Simulation) -> list[str]:
    return [one.control for one in found.broken]


def test_each_day_says_what_is_kept_dropped_and_freed() -> None:
    found = simulated(history(48), RetentionPolicy(within=DAY, daily=40), runs(90 * 24))
    assert len(found.days) == 90
    assert found.days[0].dropped == sum(day.dropped for day in found.days[:1]) > 0
    assert found.days[-1].kept == len([one for one in found.left if one.keep])
    assert found.days[-1].newest == NOW + 90 * DAY
    assert found.days[-1].oldest
    assert NOW + 90 * DAY - found.days[-1].oldest >= 39 * DAY
    assert sum(day.freed_bytes for day in found.days) == found.freed_bytes
    assert found.freed_bytes + found.days[-1].kept_bytes == 48 * 1000 + 2160 * 500
    assert found.dropped + found.days[-1].kept == 48 + 2160
    assert controls(found) == []


def test_a_policy_that_reaches_less_far_than_is_asked_for_is_told() -> None:
    found = simulated(history(3), RetentionPolicy(within=7 * DAY), runs(2160))
    assert controls(found) == ["retention"]
    assert "the last 7 days, 30 days are asked for" in found.broken[0].message


def test_a_gap_between_runs_that_is_longer_than_the_objective_is_told_with_its_beginning() -> None:
    moments = [moment for moment in runs(2160) if not NOW + 10 * DAY < moment < NOW + 13 * DAY]
    found = simulated(history(3), RetentionPolicy(daily=-1), moments)
    assert controls(found) == ["rpo"]
    assert found.broken[0].since == NOW + 10 * DAY + 26 * HOUR


def test_no_runs_to_come_and_nothing_verified_are_told() -> None:
    found = simulated(history(3, verified=False), RetentionPolicy(daily=-1), [])
    assert controls(found) == ["rpo", "verified"]
    assert found.days[-1].kept == 2  # of midnight, and of the evening before


def test_a_series_without_history_begins_with_its_first_run() -> None:
    found = simulated([], RetentionPolicy(last=5, daily=-1), runs(10, every=DAY), days=10)
    assert [day.kept for day in found.days] == list(range(1, 11))
    assert controls(found) == ["verified"]


def test_hourly_backups_over_ninety_days_take_less_than_two_seconds() -> None:
    points = history(2160)
    policy = RetentionPolicy(within=7 * DAY, hourly=48, daily=30, weekly=12, monthly=12)
    began = time.process_time()
    found = simulated(points, policy, runs(2160))
    assert time.process_time() - began < 2.0
    assert found.most < 300
