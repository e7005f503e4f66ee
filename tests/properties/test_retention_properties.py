"""What holds of every retention, whatever the history: nothing protected goes, and a weaker policy keeps more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from edurise_backup.model.policy import RetentionPolicy
from edurise_backup.model.retention import (
    FUTURE,
    PointDecision,
    RestorePoint,
    Series,
    SeriesPolicy,
    judge,
    weakened,
)

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
SERIES = (Series("full"), Series("files", "uploads"), Series("files", "uploads", "nightly"))
SOURCES = ("database/school", "files/uploads", "configuration/settings")
TAGS = ("gold", "blue")
COUNT = st.sampled_from((0, 1, 2, 3, 7, -1))


@st.composite
def points(draw: st.DrawFn) -> list[RestorePoint]:
    """Return a history: crowded hours and long gaps, dates in the future, damaged and foreign ones."""
    minutes = draw(st.lists(st.integers(-(10**6), 2 * 10**6) | st.integers(0, 3000), max_size=40))
    return [
        RestorePoint(
            id=UUID(int=number + 1),
            series=draw(st.sampled_from(SERIES)),
            moment=NOW - timedelta(minutes=ago),
            tags=tuple(draw(st.sets(st.sampled_from(TAGS)))),
            verified=draw(st.booleans()),
            complete=draw(st.booleans()),
            damaged=draw(st.integers(0, 9)) == 0,
            ours=draw(st.integers(0, 9)) != 0,
            sources=tuple(sorted(draw(st.sets(st.sampled_from(SOURCES), min_size=1)))),
            protected=draw(st.sampled_from(((), (), (), ("is held",)))),
        )
        for number, ago in enumerate(minutes)
    ]


@st.composite
def policies(draw: st.DrawFn) -> RetentionPolicy:
    days = draw(st.sampled_from((None, 1, 3, 30)))
    return RetentionPolicy(
        *(draw(COUNT) for _ in range(6)),
        within=timedelta(days=days) if days else None,
        tags=tuple(sorted(draw(st.sets(st.sampled_from(TAGS))))),
    )


def decided(history: list[RestorePoint], policy: RetentionPolicy) -> tuple[PointDecision, ...]:
    return judge(history, {series: SeriesPolicy((policy,)) for series in SERIES[:2]}, now=NOW)


def kept(history: list[RestorePoint], policy: RetentionPolicy) -> set[UUID]:
    return {one.point.id for one in decided(history, policy) if one.keep}


def counts(point: RestorePoint) -> bool:
    return point.ours and not point.damaged and point.moment <= NOW + FUTURE


@given(points(), policies())
def test_judging_what_was_kept_keeps_it_all_for_the_same_reasons(
    history: list[RestorePoint], policy: RetentionPolicy
) -> None:
    first = [one for one in decided(history, policy) if one.keep]
    again = decided([one.point for one in first], policy)
    assert {one.point.id: one.reasons for one in again} == {one.point.id: one.reasons for one in first}


@given(points(), policies(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(history: list[RestorePoint], policy: RetentionPolicy, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(history)
    random.shuffle(shuffled)
    assert decided(shuffled, policy) == decided(history, policy)


@given(points(), policies(), policies())
def test_a_policy_that_is_not_weaker_keeps_all_that_the_other_keeps(
    history: list[RestorePoint], old: RetentionPolicy, new: RetentionPolicy
) -> None:
    if not weakened(old, new):
        assert kept(history, old) <= kept(history, new)
    both = replace(new, within=max(filter(None, (old.within, new.within)), default=None), tags=(*old.tags, *new.tags))
    for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly"):
        was, will = getattr(old, name), getattr(new, name)
        both = replace(both, **{name: -1 if -1 in (was, will) else max(was, will)})
    assert weakened(old, both) == []
    assert kept(history, old) | kept(history, new) <= kept(history, both)


@given(points(), policies())
def test_held_future_damaged_foreign_and_unspoken_of_points_stay(
    history: list[RestorePoint], policy: RetentionPolicy
) -> None:
    stays = {one.id for one in history if one.protected or not counts(one) or one.series == SERIES[2]}
    assert stays <= kept(history, policy)


@given(points(), policies())
def test_of_each_series_and_source_the_newest_a_verified_and_a_complete_point_are_left(
    history: list[RestorePoint], policy: RetentionPolicy
) -> None:
    left = [one for one in history if one.id in kept(history, policy)]
    for place in (*SERIES, *SOURCES):
        mine = [one for one in history if counts(one) and (one.series == place or place in one.sources)]
        there = [one for one in left if counts(one) and (one.series == place or place in one.sources)]
        assert bool(mine) == bool(there)
        assert max((one.moment for one in mine), default=None) == max((one.moment for one in there), default=None)
        assert any(one.verified for one in mine) == any(one.verified for one in there)
        assert any(one.complete for one in mine) == any(one.complete for one in there)


@given(points(), st.integers(1, 10))
def test_last_n_keeps_n_of_each_series_as_long_as_there_are_so_many(history: list[RestorePoint], count: int) -> None:
    found = decided(history, RetentionPolicy(last=count))
    for series in SERIES[:2]:
        there = sum(counts(one) for one in history if one.series == series)
        assert sum(one.point.series == series and "last" in one.reasons for one in found) == min(count, there)


@given(points(), policies())
def test_what_is_dated_in_the_future_changes_nothing_for_the_others(
    history: list[RestorePoint], policy: RetentionPolicy
) -> None:
    real = [one for one in history if one.moment <= NOW + FUTURE]
    ids = {one.id for one in real}
    assert {key for key in kept(history, policy) if key in ids} == kept(real, policy)
