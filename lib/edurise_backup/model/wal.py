"""Positions in the write-ahead log, the names of its files, and how timelines branch.

Source: PostgreSQL's `src/include/access/xlog_internal.h` and `xlogdefs.h`, and the
manual, "Continuous Archiving". Segments are 16 MiB unless the cluster was made
with another size, and the size decides how a position becomes a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from edurise_backup.errors import DamageError

Lsn = NewType("Lsn", int)
"""A position in the log, in bytes from its beginning (64 bits)."""

Timeline = NewType("Timeline", int)
"""One branch of a cluster's history; every promotion begins one."""

_LSN = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})\Z", re.IGNORECASE)
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(\.partial)?\Z")
_HISTORY = re.compile(r"([0-9A-F]{8})\.history\Z")
_BACKUP = re.compile(r"([0-9A-F]{24})\.([0-9A-F]{8})\.backup\Z")
_HISTORY_LINE = re.compile(r"\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)(?:\s+(.*))?\Z", re.IGNORECASE)
SEGMENT_SIZES = tuple(1 << bits for bits in range(20, 31))
"""What a cluster can be made with: 1 MiB to 1 GiB, powers of two."""


def parse_lsn(text: str) -> Lsn:
    """Return the position that PostgreSQL writes as `16/B374D848`; raises ValueError."""
    match = _LSN.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no position in the log: it is written like 16/B374D848")
    return Lsn(int(match[1], 16) << 32 | int(match[2], 16))


def format_lsn(lsn: int) -> str:
    """Return the position as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


class WalFileKind(StrEnum):
    """What an archive of the log holds."""

    SEGMENT = "segment"
    PARTIAL = "partial"
    """The beginning of a segment that was still being written."""
    HISTORY = "history"
    """Where a timeline branched off, and from which."""
    BACKUP = "backup"
    """Where a base backup began and ended; for people only."""


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One segment's place: its timeline, and its number from the log's beginning (whatever its size is)."""

    timeline: Timeline
    number: int

    def name(self, size: int) -> str:
        """Return the file's name; `size`: bytes of a segment."""
        per_log = 0x1_0000_0000 // size
        return f"{self.timeline:08X}{self.number // per_log:08X}{self.number % per_log:08X}"

    def start(self, size: int) -> Lsn:
        """Return the position of its first byte."""
        return Lsn(self.number * size)

    def end(self, size: int) -> Lsn:
        """Return the position behind its last byte."""
        return Lsn((self.number + 1) * size)


def segment_at(timeline: int, lsn: int, size: int) -> Segment:
    """Return the segment that holds the byte at `lsn`."""
    return Segment(Timeline(timeline), lsn // size)


def last_segment(timeline: int, end: int, size: int) -> Segment:
    """Return the segment that holds the last byte before `end`; at a boundary that is the one before it."""
    return Segment(Timeline(timeline), max(0, end - 1) // size)


@dataclass(frozen=True, slots=True)
class WalFile:
    """A file of the archive, told by its name."""

    name: str
    kind: WalFileKind
    timeline: Timeline
    segment: Segment | None = None
    """None of a history file."""


def parse_wal_name(name: str, size: int) -> WalFile | None:
    """Return what a file's name says, or None for what is no file of the log; `size`: bytes of a segment."""
    if match := _HISTORY.match(name):
        return WalFile(name, WalFileKind.HISTORY, Timeline(int(match[1], 16)))
    backup = _BACKUP.match(name)
    match = _SEGMENT.match(backup[1] if backup else name)
    if match is None:
        return None
    timeline, log, within = (int(part, 16) for part in match.groups()[:3])
    per_log = 0x1_0000_0000 // size
    if within >= per_log or timeline == 0:
        return None
    kind = WalFileKind.BACKUP if backup else WalFileKind.PARTIAL if match[4] else WalFileKind.SEGMENT
    return WalFile(name, kind, Timeline(timeline), Segment(Timeline(timeline), log * per_log + within))


def history_name(timeline: int) -> str:
    """Return the name of a timeline's history file."""
    return f"{timeline:08X}.history"


@dataclass(frozen=True, slots=True)
class Branch:
    """A stretch of one timeline: from `begin` on, up to (not including) `end`, or for ever."""

    timeline: Timeline
    begin: Lsn
    end: Lsn | None
    reason: str = ""
    """Why the next timeline branched off, as the server wrote it."""

    def holds(self, lsn: int) -> bool:
        """Whether the position lies on this stretch."""
        return self.begin <= lsn and (self.end is None or lsn < self.end)


def parse_history(timeline: int, content: bytes) -> tuple[Branch, ...]:
    """Return the way to a timeline, oldest stretch first, itself last; raises DamageError.

    A line says which timeline was left, and at which position (PostgreSQL's `timeline.c`).
    """
    stretches: list[Branch] = []
    begin = Lsn(0)
    for line in content.decode("utf-8", "replace").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _HISTORY_LINE.match(line)
        if match is None:
            raise DamageError(f"{history_name(timeline)} holds a line that cannot be read: {line[:80]!r}")
        left, end = Timeline(int(match[1])), parse_lsn(match[2])
        if (stretches and left <= stretches[-1].timeline) or end < begin or left >= timeline:
            raise DamageError(f"{history_name(timeline)} is not in order: {line[:80]!r}")
        stretches.append(Branch(left, begin, end, (match[3] or "").strip()))
        begin = end
    return (*stretches, Branch(Timeline(timeline), begin, None))


def segments_between(way: Sequence[Branch], start: int, end: int, size: int) -> Iterator[Segment]:
    """Yield the segments that hold every byte from `start` up to (not including) `end`, along a way of timelines.

    The segment in which a branch begins exists on both timelines; the new one's
    holds what both share, and is the one that a recovery to the new timeline reads.
    """
    if end <= start:
        return
    for number in range(start // size, (end - 1) // size + 1):
        last = min(end, (number + 1) * size) - 1
        timeline = next((branch.timeline for branch in reversed(way) if branch.begin <= last), way[0].timeline)
        yield Segment(timeline, number)
