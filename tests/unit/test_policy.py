"""Which snapshots a policy keeps, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from edurise_backup.model.content import rfc3339
from edurise_backup.model.policy import RetentionPolicy, apply_policy, group_snapshots
from edurise_backup.model.snapshot import Snapshot, SnapshotId

START = datetime(2024, 1, 1, 0, 30, tzinfo=UTC)


def snapshots(*moments: datetime, tags: list[str] | None = None) -> list[tuple[SnapshotId, Snapshot]]:
    """Return a snapshot for each moment; the ids count up."""
    return [
        (
            SnapshotId(f"{number:064x}"),
            Snapshot(time=rfc3339(int(moment.timestamp()) * 10**9), tree="00" * 32, paths=["/a"], tags=tags),
        )
        for number, moment in enumerate(moments)
    ]


def kept(moments: list[datetime], policy: RetentionPolicy) -> list[int]:
    """Return the numbers of the moments that the policy keeps, oldest first."""
    return sorted(int(decision.id, 16) for decision in apply_policy(snapshots(*moments), policy) if decision.keep)


def test_the_newest_are_kept() -> None:
    moments = [START + timedelta(hours=hour) for hour in range(5)]
    assert kept(moments, RetentionPolicy(last=2)) == [3, 4]


def test_of_each_day_its_newest_is_kept_for_days_that_have_any() -> None:
    moments = [START + timedelta(days=day, hours=hour) for day in (0, 1, 5, 9) for hour in (0, 6, 12)]
    assert kept(moments, RetentionPolicy(daily=3)) == [5, 8, 11]


def test_weeks_are_iso_weeks_across_the_turn_of_the_year() -> None:
    moments = [datetime(2024, 12, 29, tzinfo=UTC), datetime(2024, 12, 30, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)]
    assert kept(moments, RetentionPolicy(weekly=2)) == [0, 2]


def test_months_and_years_keep_their_newest() -> None:
    moments = [datetime(year, month, 15, tzinfo=UTC) for year in (2022, 2023, 2024) for month in (3, 9)]
    assert kept(moments, RetentionPolicy(monthly=3)) == [3, 4, 5]
    assert kept(moments, RetentionPolicy(yearly=2)) == [3, 5]


def test_rules_add_up_and_each_gives_its_reason() -> None:
    moments = [START + timedelta(days=day) for day in range(10)]
    decisions = apply_policy(snapshots(*moments), RetentionPolicy(last=1, weekly=1, daily=2))
    assert decisions[0].reasons == ("last snapshot", "daily snapshot", "weekly snapshot")
    assert decisions[1].reasons == ("daily snapshot",)
    assert decisions[2].reasons == ()


def test_minus_one_keeps_every_period() -> None:
    moments = [START + timedelta(days=day) for day in range(10)]
    assert kept(moments, RetentionPolicy(daily=-1)) == list(range(10))


def test_what_is_within_a_span_of_the_newest_is_kept_whatever_the_present_day() -> None:
    moments = [START + timedelta(days=day) for day in range(10)]
    assert kept(moments, RetentionPolicy(within=timedelta(days=2))) == [7, 8, 9]


def test_a_tag_protects() -> None:
    tagged = snapshots(START, START + timedelta(days=1), tags=["keep me"])
    assert all(decision.keep for decision in apply_policy(tagged, RetentionPolicy(tags=("keep me",))))


def test_nothing_is_kept_by_a_policy_that_says_nothing() -> None:
    assert RetentionPolicy().empty
    assert not RetentionPolicy(last=1).empty
    assert kept([START], RetentionPolicy()) == []


def test_no_snapshots_need_no_decision() -> None:
    assert apply_policy([], RetentionPolicy(last=3)) == []


def test_snapshots_are_grouped_by_host_and_paths_in_any_order() -> None:
    time = rfc3339(0)
    found = {
        SnapshotId("a"): Snapshot(time=time, tree="00" * 32, paths=["/x", "/y"], hostname="h"),
        SnapshotId("b"): Snapshot(time=time, tree="00" * 32, paths=["/y", "/x"], hostname="h"),
        SnapshotId("c"): Snapshot(time=time, tree="00" * 32, paths=["/x", "/y"], hostname="other"),
    }
    assert sorted(len(group) for group in group_snapshots(found).values()) == [1, 2]
