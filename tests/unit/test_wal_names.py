"""Positions, names and timelines of the write-ahead log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edurise_backup.errors import DamageError
from edurise_backup.model.wal import (
    SEGMENT_SIZES,
    Lsn,
    Segment,
    Timeline,
    WalFileKind,
    format_lsn,
    last_segment,
    parse_history,
    parse_lsn,
    parse_wal_name,
    segment_at,
    segments_between,
)

MIB = 1024 * 1024


@given(st.integers(0, (1 << 64) - 1))
def test_a_position_is_written_and_read_back(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn


@pytest.mark.parametrize("text", ["", "1", "1/", "/1", "1/2/3", "G/0", "1/123456789", "-1/2"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="position"):
        parse_lsn(text)


@given(st.integers(1, 0xFFFFFFFF), st.integers(0, (1 << 63) - 1), st.sampled_from(SEGMENT_SIZES))
def test_a_segments_name_says_where_it_lies_whatever_its_size(timeline: int, lsn: int, size: int) -> None:
    segment = segment_at(timeline, lsn, size)
    found = parse_wal_name(segment.name(size), size)
    assert found is not None
    assert (found.segment, found.kind) == (segment, WalFileKind.SEGMENT)
    assert segment.start(size) <= lsn < segment.end(size)


def test_names_step_as_the_manual_says() -> None:
    assert Segment(Timeline(1), 255).name(16 * MIB) == "0000000100000000000000FF"
    assert Segment(Timeline(1), 256).name(16 * MIB) == "000000010000000100000000"
    assert Segment(Timeline(1), 63).name(64 * MIB) == "00000001000000000000003F"
    assert Segment(Timeline(1), 4).name(1024 * MIB) == "000000010000000100000000"


def test_an_end_on_a_boundary_belongs_to_the_segment_before() -> None:
    assert last_segment(1, 32 * MIB, 16 * MIB).number == 1
    assert last_segment(1, 32 * MIB + 1, 16 * MIB).number == 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("000000010000000000000001.partial", WalFileKind.PARTIAL),
        ("00000002.history", WalFileKind.HISTORY),
        ("000000010000000000000002.00000028.backup", WalFileKind.BACKUP),
    ],
)
def test_the_other_files_of_an_archive_are_known(name: str, kind: WalFileKind) -> None:
    found = parse_wal_name(name, 16 * MIB)
    assert found is not None
    assert found.kind is kind


@pytest.mark.parametrize(
    "name",
    [
        "",
        "archive_status",
        "00000001000000000000000",
        "0000000100000000000000010",
        "00000001000000000000000g",
        "000000000000000000000001",
        "000000010000000000000100",
        "../00000002.history",
        "00000002.history.tmp",
        "000000010000000000000001.gz",
        "000000010000000000000001\n",
    ],
)
def test_what_is_no_file_of_the_log_is_none(name: str) -> None:
    assert parse_wal_name(name, 16 * MIB) is None


def test_a_history_gives_the_way_to_its_timeline() -> None:
    text = b"1\t0/3000148\tno recovery target specified\n\n2\t0/5000000\tbefore 2026-11-28 03:00:00+00\n"
    way = parse_history(3, text)
    assert [(one.timeline, one.begin, one.end) for one in way] == [
        (1, 0, parse_lsn("0/3000148")),
        (2, parse_lsn("0/3000148"), parse_lsn("0/5000000")),
        (3, parse_lsn("0/5000000"), None),
    ]
    assert way[1].reason == "before 2026-11-28 03:00:00+00"


@pytest.mark.parametrize("text", [b"1 x/y z\n", b"2\t0/5\tx\n1\t0/6\tx\n", b"1\t0/6\tx\n2\t0/5\tx\n", b"3\t0/5\tx\n"])
def test_a_history_that_makes_no_sense_is_damage(text: bytes) -> None:
    with pytest.raises(DamageError):
        parse_history(3, text)


def test_the_segment_of_a_branch_is_taken_from_the_new_timeline() -> None:
    way = parse_history(2, b"1\t0/2800000\tpromoted\n")
    found = list(segments_between(way, Lsn(16 * MIB), Lsn(64 * MIB), 16 * MIB))
    assert found == [Segment(Timeline(1), 1), Segment(Timeline(2), 2), Segment(Timeline(2), 3)]


def test_a_branch_at_a_boundary_leaves_the_segment_before_on_the_old_timeline() -> None:
    way = parse_history(2, b"1\t0/2000000\tpromoted\n")
    found = list(segments_between(way, Lsn(16 * MIB), Lsn(48 * MIB), 16 * MIB))
    assert found == [Segment(Timeline(1), 1), Segment(Timeline(2), 2)]
