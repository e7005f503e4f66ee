"""Which restore points the retention of schedules keeps, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, UUID, uuid5

import pytest

from edurise_backup.errors import InputError
from edurise_backup.model.policy import RetentionPolicy
from edurise_backup.model.retention import (
    PointDecision,
    RestorePoint,
    Series,
    SeriesPolicy,
    checked_policy,
    judge,
    policy_for,
    reach,
    series_of,
    weakened,
)
from edurise_backup.model.schedules import KeepRules, Schedule, Work

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
UPLOADS = Series("files", "uploads")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LAST_TWO = {UPLOADS: SeriesPolicy((RetentionPolicy(last=2),))}


def point(number: int, ago: timedelta, *, series: Series = UPLOADS, **changes: object) -> RestorePoint:
    made = {"complete": True, "sources": ("files/uploads",), **changes}
    return RestorePoint(UUID(int=number), series, NOW - ago, **made)  # type: ignore[arg-type]


def days(count: int) -> list[RestorePoint]:
    """Return a restore point for each of the last days, the newest first."""
    return [point(number, number * DAY) for number in range(count)]


def kept(decisions: tuple[PointDecision, ...]) -> list[int]:
    return sorted(int(one.point.id) for one in decisions if one.keep)


def reasons(decisions: tuple[PointDecision, ...], number: int) -> tuple[str, ...]:
    return next(one.reasons for one in decisions if one.point.id == UUID(int=number))


def schedule(name: str, work: Work = Work.FILES, *, source: str = "uploads", retention: int = 7) -> Schedule:
    return Schedule(uuid5(NAMESPACE_URL, name), name, work, "every hour", retention, source=source)


# Judging


def test_each_series_is_judged_apart_and_says_why() -> None:
    other = Series("configuration", "settings")
    points = [*days(4), point(9, 9 * DAY, series=other, sources=("configuration/settings",))]
    found = judge(points, LAST_TWO | {other: SeriesPolicy((RetentionPolicy(last=1),))}, now=NOW)
    assert kept(found) == [0, 1, 9]
    assert reasons(found, 1) == ("last",)
    assert "the newest of its series" in reasons(found, 0)


def test_the_newest_verified_and_the_newest_complete_point_stay_whatever_the_policy_says() -> None:
    points = [
        *(point(number, number * DAY, complete=False) for number in range(3)),
        point(3, 3 * DAY, verified=True),
        point(4, 4 * DAY, verified=True),
    ]
    found = judge(points, LAST_TWO, now=NOW)
    assert kept(found) == [0, 1, 3]
    assert reasons(found, 3) == (
        "the newest verified of its series",
        "the newest complete of its series",
        "the newest verified of source files/uploads",
        "the newest complete of source files/uploads",
    )


def test_a_sources_last_verified_point_stays_though_its_series_has_another() -> None:
    whole = Series("full")
    points = [
        point(1, HOUR, series=whole, verified=True, sources=("database/school",)),
        point(2, DAY, series=whole, verified=True, sources=("database/school", "files/uploads")),
        point(3, 2 * DAY, series=whole, verified=True, sources=("files/uploads",)),
    ]
    found = judge(points, {whole: SeriesPolicy((RetentionPolicy(last=1),))}, now=NOW)
    assert kept(found) == [1, 2]
    assert "the newest verified of source files/uploads" in reasons(found, 2)


def test_what_is_dated_in_the_future_stays_is_said_so_and_pushes_nothing_out() -> None:
    points = [*days(3), *(point(10 + number, -(10 + number) * 365 * DAY, verified=True) for number in range(5))]
    found = judge(points, LAST_TWO, now=NOW)
    assert kept(found) == [0, 1, 10, 11, 12, 13, 14]
    assert reasons(found, 10) == ("is dated in the future: not judged",)
    assert "the newest of its series" in reasons(found, 0)


def test_a_clock_that_is_a_little_off_is_not_taken_for_the_future() -> None:
    assert "last" in reasons(judge([point(1, timedelta(minutes=-59)), *days(1)], LAST_TWO, now=NOW), 1)


def test_a_clock_that_ran_far_ahead_drops_nothing_more() -> None:
    policy = {UPLOADS: SeriesPolicy((RetentionPolicy(within=3 * DAY, daily=5),))}
    assert kept(judge(days(30), policy, now=NOW)) == kept(judge(days(30), policy, now=NOW + 3650 * DAY))


def test_a_damaged_point_stays_for_a_person_and_takes_nobodys_place() -> None:
    points = [point(0, timedelta(0), damaged=True), *days(4)[1:]]
    found = judge(points, LAST_TWO, now=NOW)
    assert kept(found) == [0, 1, 2]
    assert reasons(found, 0) == ("failed its verification: not judged, forget it by name",)
    assert "the newest of its series" in reasons(found, 1)


def test_foreign_points_and_series_that_nobody_spoke_of_are_not_judged() -> None:
    points = [*days(3), point(7, 9 * DAY, ours=False), point(8, 9 * DAY, series=Series("files", "other"))]
    found = judge(points, LAST_TWO, now=NOW)
    assert kept(found) == [0, 1, 7, 8]
    assert [one.judged for one in found if one.point.id in (UUID(int=7), UUID(int=8))] == [False, False]


def test_pins_and_holds_are_kept_and_named_first() -> None:
    points = [*days(3), point(8, 300 * DAY, protected=("is held by ann: court",))]
    assert reasons(judge(points, LAST_TWO, now=NOW), 8) == ("is held by ann: court",)


def test_of_several_policies_any_may_keep() -> None:
    both = {UPLOADS: SeriesPolicy((RetentionPolicy(last=1), RetentionPolicy(within=3 * DAY)))}
    assert kept(judge(days(9), both, now=NOW)) == [0, 1, 2, 3]


# Series


def test_a_series_is_known_by_its_schedules_id_under_whatever_name() -> None:
    nightly = schedule("nightly")
    by_id = series_of("files", "uploads", ["x", f"schedule={nightly.id}"], [nightly])
    assert by_id == series_of("files", "uploads", ["schedule=nightly"], [nightly])
    assert by_id == Series("files", "uploads", str(nightly.id))
    assert series_of("files", "uploads", ["schedule=gone"], [nightly]).schedule == "gone"
    assert series_of("files", "uploads", ["scheduled"]).schedule == ""


def test_a_scheduled_series_follows_its_schedule_and_one_whose_schedule_is_gone_follows_none() -> None:
    nightly, yearly = schedule("nightly"), schedule("yearly", retention=3650)
    own = policy_for(Series("files", "uploads", str(yearly.id)), [nightly, yearly])
    assert own
    assert own.names == ("yearly",)
    assert policy_for(Series("files", "uploads", "gone"), [nightly, yearly]) is None


def test_what_was_taken_by_hand_follows_the_schedules_of_the_same_thing() -> None:
    nightly, everything = schedule("nightly"), schedule("everything", source="")
    others = [schedule("full", Work.FULL, source=""), schedule("prune", Work.PRUNE, source="")]
    found = policy_for(UPLOADS, [nightly, everything, *others])
    assert found
    assert found.names == ("nightly", "everything")
    assert policy_for(Series("files", "media"), [nightly]) is None
    assert policy_for(Series("prune"), others) is None


# Policies


@pytest.mark.parametrize(
    ("count", "keep", "said"),
    [
        (0, KeepRules(), "would keep nothing"),
        (0, KeepRules(tags=("gold",)), "would keep nothing but what has its tags"),
        (-1, KeepRules(last=1), "days: a count"),
        (7, KeepRules(daily=-2), "daily: a count"),
    ],
)
def test_a_policy_that_would_keep_nothing_or_means_nothing_is_refused(count: int, keep: KeepRules, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        checked_policy(count, keep)
    assert refused.value.hint


def test_days_and_rules_become_one_policy_and_a_retention_of_millennia_is_no_error() -> None:
    keep = KeepRules(daily=3, tags=("gold",))
    assert checked_policy(7, keep) == RetentionPolicy(daily=3, within=7 * DAY, tags=("gold",))
    assert kept(judge(days(3), {UPLOADS: SeriesPolicy((checked_policy(2**31 - 1, keep),))}, now=NOW)) == [0, 1, 2]


def test_weakening_is_said_rule_by_rule_and_strengthening_is_silent() -> None:
    old = RetentionPolicy(within=30 * DAY, daily=7, monthly=-1, tags=("gold",))
    assert weakened(old, RetentionPolicy(within=7 * DAY, daily=6, monthly=12)) == [
        "everything is kept for 7 days, it was 30",
        "daily: 6 are kept, it was 7",
        "monthly: 12 are kept, it was all",
        "the tag gold keeps nothing any more",
    ]
    assert weakened(old, RetentionPolicy(within=31 * DAY, daily=-1, monthly=-1, tags=("gold", "x"))) == []


def test_how_far_back_a_policy_reaches() -> None:
    assert reach(RetentionPolicy(within=5 * DAY, daily=3)) == 5 * DAY
    assert reach(RetentionPolicy(daily=31)) == 30 * DAY
    assert reach(RetentionPolicy(last=1000)) == timedelta(0)
    assert reach(RetentionPolicy(monthly=-1)) is None
