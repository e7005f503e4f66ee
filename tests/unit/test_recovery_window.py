"""Which moments can be brought back: gaps, timelines, several base backups."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from edurise_backup.model.recovery_target import TargetMoment
from edurise_backup.model.recovery_window import RecoveryWindow, Stretch, find_windows, nearest_moments
from edurise_backup.model.wal import Lsn, Timeline
from edurise_backup.model.wal_status import BaseBackup, TimelineRow
from edurise_backup.operations.point_in_time.choosing import Known, choose

MIB = 1024 * 1024
SIZE = 16 * MIB
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def at(number: float) -> datetime:
    """One minute a segment."""
    return NOON + timedelta(minutes=number)


def base(number: int, timeline: int = 1) -> BaseBackup:
    return BaseBackup(
        source="main",
        snapshot_id="0" * 64,
        system_identifier="7",
        timeline=Timeline(timeline),
        start_lsn=Lsn(number * SIZE + 40),
        stop_lsn=Lsn(number * SIZE + 400),
        start_at=at(number),
        stop_at=at(number + 0.1),
        segment_size=SIZE,
        server_version="18.4",
        method="local",
        backup_id=UUID(int=number),
    )


def segment(number: int, timeline: int = 1, *, complete: bool = True) -> Stretch:
    end = Lsn((number + 1) * SIZE if complete else number * SIZE + MIB)
    return Stretch(Timeline(timeline), number, end, complete, at(number + 0.2), at(number + 0.9))


def found(bases: list[BaseBackup], numbers: list[Stretch], *rows: TimelineRow) -> tuple[RecoveryWindow, ...]:
    return find_windows(bases, numbers, rows, SIZE)


def test_without_a_base_backup_nothing_can_be_brought_back() -> None:
    assert found([], [segment(1), segment(2)]) == ()


def test_a_base_backup_alone_is_one_moment() -> None:
    (window,) = found([base(3)], [])
    assert (window.begin_at, window.end_at, window.broken_at) == (at(3.1), at(3.1), None)
    assert window.holds(at(3.1))


def test_a_window_goes_from_the_end_of_the_base_backup_to_the_last_commit() -> None:
    (window,) = found([base(3)], [*map(segment, range(1, 9)), segment(9, complete=False)])
    assert (window.begin_at, window.end_at) == (at(3.1), at(9.9))
    assert window.end_lsn == 9 * SIZE + MIB
    assert not window.holds(at(3))
    assert not window.holds(at(10))


def test_a_missing_segment_ends_a_window_and_the_next_base_backup_begins_another() -> None:
    """What lies between is in no window, although its segments are there."""
    first, second = found([base(1), base(8)], [segment(number) for number in range(1, 12) if number != 5])
    assert (first.end_at, first.broken_at) == (at(4.9), 5 * SIZE)
    assert (second.begin_at, second.end_at, second.broken_at) == (at(8.1), at(11.9), None)
    assert nearest_moments([first, second], at(6)) == (at(4.9), at(8.1))


def test_base_backups_of_one_run_are_one_window_and_the_newest_before_a_moment_is_chosen() -> None:
    (window,) = found([base(1), base(4)], [*map(segment, range(1, 8))])
    assert len(window.bases) == 2
    assert window.base_at(at(6)) == base(4)
    assert window.base_at(at(4.05)) == base(1)
    assert window.base_before(4 * SIZE + 100) == base(1)
    assert window.base_at(at(1)) is None


def test_each_timeline_has_its_own_window_and_the_old_one_ends_where_it_ended() -> None:
    """SCENARIOS S-33: timeline_switch_between_bases."""
    switch = TimelineRow(Timeline(2), Timeline(1), Lsn(5 * SIZE + MIB))
    old = [segment(number) for number in range(1, 7)]
    new = [segment(number, 2) for number in range(5, 10)]
    first, second = found([base(2)], [*old, *new], switch)
    assert (first.timeline, first.end_at) == (1, at(6.9))
    assert (second.timeline, second.end_at) == (2, at(9.9))
    assert second.bases == (base(2),)


def test_a_base_backup_behind_the_branch_is_of_no_use_on_the_new_timeline() -> None:
    switch = TimelineRow(Timeline(2), Timeline(1), Lsn(3 * SIZE + MIB))
    windows = found([base(2), base(5)], [*map(segment, range(2, 8)), segment(3, 2), segment(4, 2)], switch)
    assert [(one.timeline, [b.backup_id for b in one.bases]) for one in windows] == [
        (1, [UUID(int=2), UUID(int=5)]),
        (2, [UUID(int=2)]),
    ]


@given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)))
def test_no_window_spans_a_segment_that_is_missing(bases: set[int], numbers: set[int]) -> None:
    windows = found([base(number) for number in sorted(bases)], [segment(number) for number in sorted(numbers)])
    assert sum(len(one.bases) for one in windows) == len(bases)
    for window in windows:
        first = window.bases[0].stop_lsn // SIZE
        last = max(window.end_lsn - 1, window.begin_lsn) // SIZE
        assert set(range(first + 1, last + 1)) <= numbers
        if window.broken_at is not None:
            assert window.broken_at // SIZE not in numbers


def test_the_current_timeline_is_that_of_the_base_backup_and_the_latest_goes_on_behind_it() -> None:
    left = TimelineRow(Timeline(2), Timeline(1), Lsn(5 * SIZE + MIB))
    log = [*map(segment, range(1, 6)), *(segment(number, 2) for number in range(5, 9))]
    known = Known("main", found([base(1)], log, left))
    followed = {word: choose(known, TargetMoment(latest=True, timeline=word)) for word in ("current", "latest")}
    assert {word: one.target.timeline for word, one in followed.items()} == {"current": 1, "latest": 2}
    assert {one.base.snapshot_id for one in followed.values()} == {base(1).snapshot_id}
