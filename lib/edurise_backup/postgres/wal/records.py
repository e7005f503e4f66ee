"""Cut segments into records and prove each: its place, its predecessor, its checksum.

A record that runs over the end of a segment is carried into the next one. What
cannot be proved is the end of the log in a partial segment, and damage in a
whole one. Records are columns of numbers: a busy segment holds 150,000.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import numpy

from edurise_backup.errors import DamageError
from edurise_backup.model.wal import Segment, format_lsn
from edurise_backup.postgres.wal.checksums import checksums
from edurise_backup.postgres.wal.layout import (
    LONGEST_RECORD,
    PAGE,
    RECORD_HEADER,
    Bytes,
    Numbers,
    aligned,
    end_of,
    position_of,
    positions_of,
    room_of,
)
from edurise_backup.postgres.wal.pages import CONTINUES, Content, Pages, read_pages

_PADDING = 64
"""Zeros behind the last record, so that a header can be looked at without asking where it ends."""
_XLOG, _SWITCH = 0, 0x40


class Tail(msgspec.Struct, frozen=True):
    """Where a whole segment ended, for the reading of the next one."""

    timeline: int
    number: int
    previous: int
    """LSN of the last whole record; 0 when none was seen yet."""
    carried: bytes = b""
    """The beginning of the record that continues in the next segment."""
    carried_lsn: int = 0

    def leads_to(self, segment: Segment) -> bool:
        """Whether the segment is the next one, on this timeline or a later one."""
        return segment.number == self.number + 1 and segment.timeline >= self.timeline


@dataclass(frozen=True, slots=True)
class Records:
    """The whole records that end in a segment, in order: a number for each in every column."""

    major: int
    """Whose log it is; 0 when there is no record."""
    stream: Bytes
    """The bytes of all records, each at an offset that is a multiple of 8; padded."""
    starts: Numbers
    """Offsets in `stream`."""
    lengths: Numbers
    lsns: Numbers
    xids: Numbers
    kinds: Bytes
    """The resource manager's number (`rmgrlist.h`)."""
    infos: Bytes
    """What the resource manager did; the lower four bits are the log's own."""
    timeline: int
    begin: int
    """LSN of the segment's first byte."""
    carried: int
    """How many bytes at the stream's beginning came from earlier segments."""
    segment_end: int

    def __len__(self) -> int:
        return len(self.starts)

    def end(self, index: int) -> int:
        """Return the LSN behind a record, as the server counts it: behind a switch, the next segment."""
        if self.kinds[index] == _XLOG and self.infos[index] & 0xF0 == _SWITCH:
            return self.segment_end
        behind = int(self.starts[index]) + aligned(int(self.lengths[index]))
        return end_of(behind - self.carried, self.begin)


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading one segment gave."""

    records: Records
    follows: bool
    """Whether it was read on from the segment before; otherwise its first record is the first that begins in it."""
    end: int
    """LSN behind the last whole record."""
    tail: Tail | None
    """None of a partial segment, and of one that holds the middle of a single record whose beginning was not seen."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where records begin; `stop`: the offset of what is no whole record, `unfinished`: how long that one will be."""

    starts: Numbers
    stop: int
    unfinished: int


def read_records(
    content: Content,
    segment: Segment,
    *,
    size: int,
    unfinished: bool,
    tail: Tail | None = None,
    system_identifier: int | None = None,
) -> Reading:
    """Return the records that end in a segment; `tail` is where the one before it ended, if that
    was read; `unfinished` segments are read up to where their log ends.

    Raises DamageError for a whole segment that is not log to its end, and for
    any segment whose first page is another's.
    """
    pages = read_pages(content, segment, size=size, partial=unfinished, system_identifier=system_identifier)
    before = tail if tail is not None and tail.leads_to(segment) else None
    carried = _continued(pages, before, segment.start(size))
    stream = _joined(carried, pages)
    begin = 0 if before is not None else aligned(pages.continues)
    cut = _cut(stream, begin, [len(carried) + offset for offset in pages.restarts], len(carried) + pages.room)
    records = _columns(stream, cut.starts, pages.major, segment, size, len(carried), before)
    good = _proved(records, pages, cut, before)
    records = _only(records, good)
    end = records.end(len(records) - 1) if len(records) else _reached(pages, before, begin, segment.start(size))
    after = None if unfinished else _after(records, pages, cut, proved=good == len(cut.starts), before=before)
    return Reading(records, before is not None, end, after)


def _reached(pages: Pages, before: Tail | None, begin: int, start: int) -> int:
    """Return up to where the log is known when no record ends in the segment."""
    if before is not None and before.carried and 0 not in pages.restarts:
        return before.carried_lsn
    return position_of(begin, start) if pages.count else start


def _continued(pages: Pages, before: Tail | None, start: int) -> bytes:
    """Return the beginning of the segment's first record; raises DamageError when the two do not fit."""
    if before is None or not pages.count or 0 in pages.restarts:
        return b""
    length = int.from_bytes(before.carried[:4], "little")
    if pages.continues != max(0, length - len(before.carried)):
        raise DamageError(f"the log at {format_lsn(start)} does not continue what the segment before it ended with")
    return before.carried


def _joined(carried: bytes, pages: Pages) -> Bytes:
    stream = numpy.zeros(len(carried) + pages.room + _PADDING, numpy.uint8)
    stream[: len(carried)] = numpy.frombuffer(carried, numpy.uint8)
    begin = len(carried)
    for piece in pages.body:
        stream[begin : begin + piece.size].reshape(piece.shape)[...] = piece
        begin += piece.size
    return stream


def _cut(stream: Bytes, begin: int, restarts: list[int], end: int) -> _Cut:
    """Follow the lengths from record to record; what a restart cuts off is given up."""
    words = memoryview(stream.data)[: len(stream) & ~7].cast("B").cast("I")
    found = array("I")  # in words of four bytes: a segment of 1 GiB may hold 15 million
    stop = begin
    for limit in [*(offset for offset in restarts if offset > begin), end]:
        stop = _follow(words, stop >> 2, limit >> 2, found) << 2
        if limit != end:
            stop = limit
    unfinished = words[stop >> 2] if stop < end else 0
    starts = numpy.frombuffer(found, numpy.uint32).astype(numpy.int64) << 2
    return _Cut(starts, stop, unfinished if RECORD_HEADER <= unfinished <= LONGEST_RECORD else 0)


def _follow(words: memoryview, position: int, end: int, found: array[int]) -> int:
    """Append the places of whole records, in words of four bytes; return the first place that holds none."""
    append = found.append
    while position < end:
        length = words[position]
        following = position + ((length + 7) >> 3 << 1)
        if length < RECORD_HEADER or following > end:
            break
        append(position)
        position = following
    return position


def _columns(
    stream: Bytes, starts: Numbers, major: int, segment: Segment, size: int, carried: int, before: Tail | None
) -> Records:
    words = stream[: len(stream) & ~3].view("<u4")
    places = starts >> 2
    lsns = positions_of(starts - carried, segment.start(size))
    if carried and before is not None and len(lsns):
        lsns[0] = before.carried_lsn
    return Records(
        major=major,
        stream=stream,
        starts=starts,
        lengths=words[places].astype(numpy.int64),
        lsns=lsns,
        xids=words[places + 1].astype(numpy.int64),
        kinds=stream[starts + 17],
        infos=stream[starts + 16],
        timeline=segment.timeline,
        begin=segment.start(size),
        carried=carried,
        segment_end=segment.end(size),
    )


def _only(records: Records, count: int) -> Records:
    if count == len(records):
        return records
    columns = ("starts", "lengths", "lsns", "xids", "kinds", "infos")
    return replace(records, **{name: getattr(records, name)[:count] for name in columns})


def _proved(records: Records, pages: Pages, cut: _Cut, before: Tail | None) -> int:
    """Return how many records are whole, in their place and unchanged; after the first that is not, none counts."""
    if not len(records):
        return 0
    words, places = records.stream[: len(records.stream) & ~7].view("<i8"), records.starts >> 3
    previous = words[places + 1]
    expected = numpy.concatenate([previous[:1], records.lsns[:-1]])
    if before is not None and before.previous:
        expected[0] = before.previous
    good = previous == expected
    good[0] &= 0 <= previous[0] < records.lsns[0]
    good &= checksums(records.stream, records.starts, records.lengths) == (words[places + 2] >> 32 & 0xFFFFFFFF)
    good[_broken_over_pages(records, pages, cut)] = False
    bad = numpy.flatnonzero(~good)
    return int(bad[0]) if len(bad) else len(records)


def _broken_over_pages(records: Records, pages: Pages, cut: _Cut) -> Numbers:
    """Return which records run over a page whose header does not count what is left of them."""
    starts = numpy.append(records.starts, cut.stop)
    ends = numpy.append(records.starts + records.lengths, cut.stop + cut.unfinished)
    begins = numpy.array([records.carried + room_of(page) for page in range(pages.count)], numpy.int64)
    across = numpy.searchsorted(starts, begins, "left") - 1
    left = numpy.where(across >= 0, ends[across] - begins, 0)
    told = numpy.where(pages.flags & CONTINUES, pages.remaining, 0)
    broken: Numbers = across[(left > 0) & (left != told)]
    return broken[broken < len(records)]


def _after(records: Records, pages: Pages, cut: _Cut, *, proved: bool, before: Tail | None) -> Tail | None:
    """Return where a whole segment ended; raises DamageError when its log stops before its end."""
    last = int(records.lsns[-1]) if len(records) else before.previous if before is not None else 0
    room, begin, end = records.carried + pages.room, records.begin, records.segment_end
    place = partial(Tail, timeline=records.timeline, number=begin // (end - begin), previous=last)
    if len(records) and records.end(len(records) - 1) == end:  # a switch, or a record up to the very last byte
        return place()
    whole = proved and begin + pages.count * PAGE == end
    if whole and cut.stop >= room:
        return place() if cut.stop == room else None  # of a record whose beginning was not seen
    stop = cut.stop if proved else int(cut.starts[len(records)])
    lsn = position_of(max(0, stop - records.carried), begin)
    if whole and cut.stop + cut.unfinished > room:
        carried = records.stream[cut.stop : room].tobytes()
        same = before is not None and records.carried and cut.stop == 0
        return place(carried=carried, carried_lsn=before.carried_lsn if same and before is not None else lsn)
    bad = int(records.lsns[-1]) if len(records) else begin
    raise DamageError(
        f"the log stops in the middle of a segment: nothing valid follows the record at {format_lsn(bad)}"
    )
