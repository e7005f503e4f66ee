"""Sizes, versions and arithmetic of the log's pages; little-endian machines only.

Source: PostgreSQL's `xlog_internal.h` and `xlogrecord.h` of the releases 14 to 18.
Page headers are multiples of 8 bytes, so what is left without them keeps the
records' alignment: positions in that stripped stream are called offsets here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy
from numpy.typing import NDArray

from edurise_backup.errors import DamageError

PAGE = 8192
"""XLOG_BLCKSZ, and BLCKSZ of the relations; a server built with other sizes is refused."""
LONG_HEADER = 40
SHORT_HEADER = 24
FIRST_ROOM = PAGE - LONG_HEADER
ROOM = PAGE - SHORT_HEADER
"""What a page holds besides its header: a segment's first page, and any other."""
RECORD_HEADER = 24
LONGEST_RECORD = 1020 * 1024 * 1024
MAJORS = {0xD10D: 14, 0xD110: 15, 0xD113: 16, 0xD116: 17, 0xD118: 18}
"""The page header's magic number, and whose log it is."""

Bytes = NDArray[numpy.uint8]
Numbers = NDArray[numpy.int64]

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def moment(microseconds: int) -> datetime:
    """Return the time that a record tells in microseconds since 2000 (UTC); raises DamageError."""
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError as error:
        raise DamageError(f"a record of the log tells a time that cannot be: {microseconds} µs since 2000") from error


def aligned(length: int) -> int:
    """Return the length up to where the next record may begin."""
    return (length + 7) & ~7


def position_of(offset: int, start: int) -> int:
    """Return the LSN of the byte at an offset of the segment that begins at `start`."""
    if offset < FIRST_ROOM:
        return start + LONG_HEADER + offset
    pages, within = divmod(offset - FIRST_ROOM, ROOM)
    return start + (pages + 1) * PAGE + SHORT_HEADER + within


def end_of(offset: int, start: int) -> int:
    """Return the LSN behind the byte before `offset`: at the end of a page, the next one's beginning."""
    return position_of(offset - 1, start) + 1 if offset > 0 else start + LONG_HEADER


def positions_of(offsets: Numbers, start: int) -> Numbers:
    """Return the LSN of each offset, as `position_of` does."""
    pages, within = numpy.divmod(offsets - FIRST_ROOM, ROOM)
    later = (pages + 1) * PAGE + SHORT_HEADER + within
    return numpy.where(offsets < FIRST_ROOM, offsets + LONG_HEADER, later) + start


def room_of(pages: int) -> int:
    """Return how many bytes the first pages of a segment hold besides their headers."""
    return pages * ROOM - (ROOM - FIRST_ROOM) if pages else 0
