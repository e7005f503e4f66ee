"""Pages and records of the log, from a log that is written here byte by byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edurise_backup.errors import DamageError, SourceError
from edurise_backup.model.wal import Segment, Timeline
from edurise_backup.postgres.wal.layout import PAGE, end_of, position_of
from edurise_backup.postgres.wal.pages import check_segment
from edurise_backup.postgres.wal.reader import SegmentReader
from edurise_backup.postgres.wal.records import read_records
from tests.support.wal import SIZE
from tests.support.wal_writer import IDENTIFIER, LogWriter

SEGMENT = Segment(Timeline(1), 3)


def test_records_come_back_as_they_were_written() -> None:
    writer = LogWriter(SEGMENT)
    lsns = [writer.record(kind=11, xid=number, body=bytes([number]) * number * 500) for number in range(1, 60)]
    reading = read_records(writer.segment(), SEGMENT, size=SIZE, unfinished=True)
    assert reading.records.lsns.tolist() == lsns
    assert reading.records.xids.tolist() == list(range(1, 60))
    assert reading.end == writer.end


def test_a_record_that_continues_in_the_next_segment_is_read_there() -> None:
    writer = LogWriter(SEGMENT)
    writer.record(body=b"a" * 1000)
    long = writer.record(body=b"b" * 2_500_000)
    last = writer.record(body=b"c")
    first, *between, final = (Segment(Timeline(1), SEGMENT.number + step) for step in range(3))
    reading = read_records(writer.segment(0), first, size=SIZE, unfinished=False)
    for step, segment in enumerate(between, start=1):
        reading = read_records(writer.segment(step), segment, size=SIZE, unfinished=False, tail=reading.tail)
        assert len(reading.records) == 0
    reading = read_records(writer.segment(2), final, size=SIZE, unfinished=True, tail=reading.tail)
    assert reading.records.lsns.tolist() == [long, last]


def test_a_record_that_a_crash_cut_off_is_given_up_and_the_log_goes_on() -> None:
    writer = LogWriter(SEGMENT)
    kept = writer.record(body=b"a" * 3000)
    writer.cut_off(body=b"b" * 30_000, written=20_000)
    after = writer.record(kind=0, info=0xD0, body=b"c" * 16)
    last = writer.record(body=b"d")
    reading = read_records(writer.segment(), SEGMENT, size=SIZE, unfinished=True)
    assert reading.records.lsns.tolist() == [kept, after, last]


def test_old_bytes_behind_the_end_are_not_read() -> None:
    older = LogWriter(SEGMENT)
    for _ in range(200):
        older.record(body=b"o" * 3000)
    writer = LogWriter(SEGMENT)
    writer.record(body=b"n" * 2990)
    content = writer.segment()[: writer.end % SIZE] + older.segment()[writer.end % SIZE :]
    reading = read_records(content, SEGMENT, size=SIZE, unfinished=True)
    assert len(reading.records) == 1
    assert reading.end == writer.end


def test_a_record_that_was_half_written_is_not_read() -> None:
    writer = LogWriter(SEGMENT)
    writer.record(body=b"a" * 500)
    whole = writer.end
    writer.record(body=b"b" * 500)
    content = bytearray(writer.segment())
    content[writer.end % SIZE - 200 : writer.end % SIZE] = bytes(200)
    assert read_records(content, SEGMENT, size=SIZE, unfinished=True).end == whole


def test_a_partial_file_may_be_shorter_than_a_segment() -> None:
    writer = LogWriter(SEGMENT)
    ends = [SEGMENT.start(SIZE) + 40]
    for _ in range(30):
        writer.record(body=b"a" * 900)
        ends.append(writer.end)
    for length in range(40, writer.end % SIZE, 701):
        reading = read_records(writer.segment()[:length], SEGMENT, size=SIZE, unfinished=True)
        written = SEGMENT.start(SIZE) + length + 7  # what is missing of a record may be its padding
        assert reading.end == max(end for end in ends if end <= written)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        check_segment(tmp_path / "missing", SEGMENT.name(SIZE), system_identifier=IDENTIFIER, size=SIZE)


def test_a_whole_segment_that_stops_early_is_damaged() -> None:
    writer = LogWriter(SEGMENT)
    writer.record(body=b"a" * 500)
    with pytest.raises(DamageError, match="stops in the middle"):
        read_records(writer.segment(), SEGMENT, size=SIZE, unfinished=False)


def test_a_segment_ended_by_a_switch_is_whole() -> None:
    writer = LogWriter(SEGMENT)
    writer.record(body=b"a" * 500)
    writer.record(kind=0, info=0x40)
    reading = read_records(writer.segment(), SEGMENT, size=SIZE, unfinished=False)
    assert reading.end == SEGMENT.end(SIZE)
    assert reading.tail is not None


def test_a_file_of_zeros_is_an_empty_beginning_and_no_whole_segment() -> None:
    reader = SegmentReader(size=SIZE)
    assert reader.read(SEGMENT, bytes(SIZE), partial=True).end_lsn == SEGMENT.start(SIZE)
    with pytest.raises(DamageError, match="zeros"):
        reader.read(SEGMENT, bytes(SIZE), partial=False)


@pytest.mark.parametrize("offset", [0, 1, 8151, 8152, 8153, 16319, 16320, 16321])
def test_offsets_become_positions(offset: int) -> None:
    written = [place for place in range(4 * PAGE) if place % PAGE >= (40 if place < PAGE else 24)]
    assert position_of(offset, 0) == written[offset]
    assert end_of(offset, 0) == (written[offset - 1] + 1 if offset else 40)


def test_a_segment_of_a_later_timeline_than_its_name_is_refused() -> None:
    writer = LogWriter(Segment(Timeline(2), 3))
    writer.record(body=b"a")
    name = SEGMENT.name(SIZE)
    assert "timeline" in str(check_segment(writer.segment(), name, system_identifier=IDENTIFIER, size=SIZE))


_WRITER = LogWriter(SEGMENT)
for _number in range(40):
    _WRITER.record(kind=_number % 22, info=_number * 16 % 256, xid=_number, body=bytes(range(_number * 6)))


@given(st.lists(st.tuples(st.integers(0, 2 * PAGE), st.binary(min_size=1, max_size=40)), max_size=5), st.booleans())
def test_changed_bytes_are_damage_or_an_earlier_end(changes: list[tuple[int, bytes]], partial: bool) -> None:
    content = bytearray(_WRITER.segment())
    for place, piece in changes:
        content[place : place + len(piece)] = piece
    try:
        facts = SegmentReader(size=SIZE).read(SEGMENT, content[:SIZE], partial=partial)
    except DamageError:
        return
    assert SEGMENT.start(SIZE) <= facts.end_lsn <= SEGMENT.end(SIZE)


@given(st.integers(0, 255), st.integers(0, 21), st.binary(max_size=120), st.sampled_from([14, 15, 16, 17, 18]))
def test_a_record_of_any_body_is_read_or_damage(info: int, kind: int, body: bytes, major: int) -> None:
    writer = LogWriter(SEGMENT, major=major)
    writer.record(kind=kind, info=info, xid=7, raw=body)
    try:
        SegmentReader(size=SIZE, threshold=1).read(SEGMENT, writer.segment(), partial=True)
    except DamageError:
        return


@given(st.binary(max_size=3 * PAGE), st.booleans())
def test_any_bytes_are_damage_or_nothing(content: bytes, partial: bool) -> None:
    try:
        facts = SegmentReader(size=SIZE).read(
            SEGMENT, content if partial else content.ljust(SIZE, b"\0"), partial=partial
        )
    except DamageError:
        return
    assert facts.records == 0


@given(st.binary(max_size=200))
def test_any_kept_state_is_a_reader_or_damage(state: bytes) -> None:
    try:
        SegmentReader.from_state(state)
    except DamageError:
        return
