"""A segment's pages: their headers, and whether they are what the file's name says.

A page counts only when its header names its own place. A file that a server
took over from an older segment holds old pages, and the zeros behind a switch
have no headers: the valid pages are those up to the first that is none.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy

from edurise_backup.errors import DamageError, SourceError
from edurise_backup.model.wal import Segment, WalFileKind, format_lsn, parse_wal_name
from edurise_backup.postgres.wal.layout import LONG_HEADER, MAJORS, PAGE, SHORT_HEADER, Bytes, Numbers, room_of

Content = bytes | bytearray | memoryview | mmap.mmap

CONTINUES = 0x0001
_LONG = 0x0002
_OVERWRITES = 0x0008
_KNOWN_FLAGS = 0x000F
_HEADER = struct.Struct("<HHIQI4xQII")
_HEADERS = numpy.dtype(
    {
        "names": ["magic", "flags", "timeline", "position", "remaining"],
        "formats": ["<u2", "<u2", "<u4", "<u8", "<u4"],
        "offsets": [0, 2, 4, 8, 16],
        "itemsize": PAGE,
    }
)


def check_segment(content: Content | Path, name: str, *, system_identifier: int, size: int) -> str | None:
    """Return what is wrong with a whole segment that is to be kept under `name`, or None; `size`: bytes.

    Its length and its first header are looked at: a truncated file, one of
    zeros, of another cluster or of another place is told. What it holds is
    proved when it is read (`reader.SegmentReader`). Raises SourceError when
    the file cannot be read at all.
    """
    file = parse_wal_name(name, size)
    if file is None or file.segment is None or file.kind not in (WalFileKind.SEGMENT, WalFileKind.PARTIAL):
        return f"{name} is not the name of a segment of {size} bytes"
    head, length = _head(content)
    if length != size:
        return f"it has {length} bytes, a segment has {size}"
    return _problem(head, file.segment, system_identifier=system_identifier, size=size)


def _head(content: Content | Path) -> tuple[bytes, int]:
    if isinstance(content, Path):
        try:
            with content.open("rb") as file:
                return file.read(LONG_HEADER), file.seek(0, 2)
        except OSError as error:
            raise SourceError(f"{content} cannot be read: {error.strerror}") from error
    return bytes(content[:LONG_HEADER]), len(content)


def _problem(head: bytes, segment: Segment, *, system_identifier: int | None, size: int) -> str | None:
    if not any(head):
        return "it begins with zeros: nothing was written to it"
    if len(head) < LONG_HEADER:
        return "it is shorter than its first header"
    magic, flags, timeline, position, _, system, segment_size, page_size = _HEADER.unpack(head)
    if magic not in MAJORS or not flags & _LONG or flags & ~_KNOWN_FLAGS:
        return f"it does not begin like a segment of PostgreSQL 14 to 18 (magic number {magic:04X})"
    if system_identifier is not None and system != system_identifier:
        return f"it belongs to another cluster: its system identifier is {system}, not {system_identifier}"
    if (segment_size, page_size) != (size, PAGE):
        return f"it is of segments of {segment_size} bytes in pages of {page_size}, not of {size} and {PAGE}"
    if position != segment.start(size):
        return f"it holds the log from {format_lsn(position)} on, its name says {format_lsn(segment.start(size))}"
    if not 0 < timeline <= segment.timeline:
        return f"it is of timeline {timeline}, its name says {segment.timeline}"
    return None


@dataclass(frozen=True, slots=True)
class Pages:
    """The valid pages of a segment, without their headers."""

    major: int
    """The release that wrote them; 0 when there are none."""
    count: int
    flags: Numbers
    remaining: Numbers
    """Of each page: how many bytes of a record that began before it are still to come."""
    body: list[Bytes]
    """What the pages hold, in order, not copied."""

    @property
    def room(self) -> int:
        """How many bytes the body has."""
        return room_of(self.count)

    @property
    def continues(self) -> int:
        """How many bytes at the beginning belong to a record of an earlier segment."""
        return int(self.remaining[0]) if self.count and self.flags[0] & CONTINUES else 0

    @property
    def restarts(self) -> list[int]:
        """Offsets where a record that a crash had cut off is given up, and the log goes on."""
        return [room_of(int(page)) for page in numpy.flatnonzero(self.flags & _OVERWRITES)]


def read_pages(
    content: Content, segment: Segment, *, size: int, partial: bool, system_identifier: int | None = None
) -> Pages:
    """Return the segment's valid pages; raises DamageError when its first header is not its own.

    A whole segment must have its whole length. A partial one may be shorter,
    and nothing but zeros.
    """
    length = len(content)
    if length > size or (length < size and not partial):
        raise DamageError(f"segment {segment.name(size)} has {length} bytes instead of {size}")
    head = bytes(content[:LONG_HEADER])
    if partial and not any(head):
        return _nothing()
    problem = _problem(head, segment, system_identifier=system_identifier, size=size)
    if problem:
        raise DamageError(f"segment {segment.name(size)} cannot be read: {problem}")
    raw = _whole_pages(content)
    count, headers = _valid(raw, segment, size)
    rows = raw.reshape(-1, PAGE)
    return Pages(
        major=MAJORS[int(headers["magic"][0])],
        count=count,
        flags=headers["flags"][:count].astype(numpy.int64),
        remaining=headers["remaining"][:count].astype(numpy.int64),
        body=[rows[0, LONG_HEADER:], rows[1:count, SHORT_HEADER:]],
    )


def _nothing() -> Pages:
    nothing = numpy.zeros(0, numpy.int64)
    return Pages(major=0, count=0, flags=nothing, remaining=nothing, body=[])


def _whole_pages(content: Content) -> Bytes:
    raw = numpy.frombuffer(content, numpy.uint8)
    missing = -len(raw) % PAGE
    return numpy.concatenate([raw, numpy.zeros(missing, numpy.uint8)]) if missing else raw


def _valid(raw: Bytes, segment: Segment, size: int) -> tuple[int, numpy.ndarray]:
    headers = raw.view(_HEADERS)
    places = numpy.arange(len(headers), dtype=numpy.uint64) * PAGE + segment.start(size)
    first = numpy.arange(len(headers)) == 0
    good = (
        (headers["magic"] == headers["magic"][0])
        & (headers["position"] == places)
        & (headers["timeline"] > 0)
        & (headers["timeline"] <= segment.timeline)
        & ((headers["flags"] & ~numpy.uint16(_KNOWN_FLAGS)) == 0)
        & (((headers["flags"] & _LONG) != 0) == first)
    )
    bad = numpy.flatnonzero(~good)
    return (int(bad[0]) if len(bad) else len(headers)), headers
