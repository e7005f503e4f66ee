"""Cut a stream into chunks at places that its content decides (FastCDC, Xia et al., USENIX ATC 2016).

An insertion moves the cuts near it and no others, so that an edited file
shares most chunks with its past. The average is chosen in DESIGN.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from mmap import PAGESIZE
from typing import Protocol

from pyfastcdc import FastCDC

from edurise_backup.model.content import BlobId, blob_id, zeros_id
from edurise_backup.ports import Buffer


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """Bytes; a file of at most `minimum` bytes is one chunk."""

    minimum: int = 128 * 1024
    average: int = 512 * 1024
    maximum: int = 2 * 1024 * 1024


_GROUP = 64
"""Chunks of a hole that are given at a time."""
ZEROS = bytes(4 * 1024 * 1024)
"""What chunks of holes are parts of, so that they are known without being looked at."""


class Stream(Protocol):
    """What is cut: a `ports.Content`, of which no more is needed here."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer's beginning; 0 at the end."""

    def skip_hole(self, back: int, unit: int) -> int:
        """Pass over whole units of a hole that begins `back` bytes before what would be read next."""


def chunks(
    stream: Stream,
    sizes: ChunkSizes,
    *,
    next_window: Callable[[int], memoryview],
    window: int,
    first: int = 0,
) -> Iterator[list[memoryview]]:
    """Yield the stream's chunks in order, those of one window at a time.

    `window` bytes are read at a time (`first` to begin with, where little is
    expected), to the beginning of a page of memory; the last chunk of a window
    is cut again with what follows, so that the cuts do not depend on the window.
    `next_window` gives a buffer of at least so many bytes; a chunk is valid for
    as long as its buffer is not given again, and at least until the next ones
    are asked for. A hole is cut as its zeros would
    be: FastCDC finds no cut in them, so each chunk is as long as it may be.
    """
    cutter = FastCDC(avg_size=sizes.average, min_size=sizes.minimum, max_size=sizes.maximum)
    rest = memoryview(b"")
    size = first or window
    while True:
        if hole := stream.skip_hole(len(rest), sizes.maximum):
            rest = memoryview(b"")
            yield from _zeros(hole // sizes.maximum, sizes.maximum)
        begin = -len(rest) % PAGESIZE
        end = begin + len(rest) + size
        buffer = next_window(end)[begin:end]
        size = window
        buffer[: len(rest)] = rest
        filled, at_end = _fill(stream, buffer, len(rest))
        data = buffer[:filled]
        found = _cut(cutter, data)
        rest = found.pop() if found and not at_end else memoryview(b"")
        if found:
            yield found
        if at_end:
            return


def _zeros(count: int, unit: int) -> Iterator[list[memoryview]]:
    zeros = memoryview(ZEROS if unit <= len(ZEROS) else bytes(unit))[:unit]
    for done in range(0, count, _GROUP):
        yield [zeros] * min(_GROUP, count - done)


def _cut(cutter: FastCDC, data: memoryview) -> list[memoryview]:
    found, start = [], 0
    if len(data):
        for chunk in cutter.cut_buf(data):
            found.append(data[start : start + chunk.length])
            start += chunk.length
    return found


def id_of(chunk: Buffer) -> BlobId:
    """Return a chunk's id; that of a hole is known."""
    if isinstance(chunk, memoryview) and chunk.obj is ZEROS:
        return zeros_id(len(chunk))
    return blob_id(chunk)


def _fill(stream: Stream, buffer: memoryview, start: int) -> tuple[int, bool]:
    """Read until the buffer is full or the stream ends; return (bytes in the buffer, whether it ended)."""
    at = start
    while at < len(buffer):
        count = stream.readinto(buffer[at:])
        if count == 0:
            return at, True
        at += count
    return at, False
