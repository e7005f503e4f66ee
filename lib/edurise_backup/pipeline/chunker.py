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


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """Bytes; a file of at most `minimum` bytes is one chunk."""

    minimum: int = 256 * 1024
    average: int = 1024 * 1024
    maximum: int = 4 * 1024 * 1024


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
) -> Iterator[memoryview]:
    """Yield the stream's chunks in order.

    `window` bytes are read at a time (`first` to begin with, where little is
    expected), to the beginning of a page of memory; the last chunk of a window
    is cut again with what follows, so that the cuts do not depend on the window.
    `next_window` gives a buffer of at least so many bytes; a chunk is valid for
    as long as its buffer is not given again. A hole is cut as its zeros would
    be: FastCDC finds no cut in them, so each chunk is as long as it may be.
    """
    cutter = FastCDC(avg_size=sizes.average, min_size=sizes.minimum, max_size=sizes.maximum)
    rest = memoryview(b"")
    size = first or window
    while True:
        if hole := stream.skip_hole(len(rest), sizes.maximum):
            rest = memoryview(b"")
            yield from _zeros(hole, sizes.maximum)
        begin = -len(rest) % PAGESIZE
        end = begin + len(rest) + size
        buffer = next_window(end)[begin:end]
        size = window
        buffer[: len(rest)] = rest
        filled, at_end = _fill(stream, buffer, len(rest))
        data = buffer[:filled]
        start = 0
        for length in _lengths(cutter, data):
            if start + length == filled and not at_end:
                break
            yield data[start : start + length]
            start += length
        if at_end:
            return
        rest = data[start:]


def _zeros(length: int, unit: int) -> Iterator[memoryview]:
    zeros = memoryview(ZEROS if unit <= len(ZEROS) else bytes(unit))[:unit]
    for _ in range(length // unit):
        yield zeros


def _lengths(cutter: FastCDC, data: memoryview) -> Iterator[int]:
    if len(data):
        for chunk in cutter.cut_buf(data):
            yield chunk.length


def _fill(stream: Stream, buffer: memoryview, start: int) -> tuple[int, bool]:
    """Read until the buffer is full or the stream ends; return (bytes in the buffer, whether it ended)."""
    at = start
    while at < len(buffer):
        count = stream.readinto(buffer[at:])
        if count == 0:
            return at, True
        at += count
    return at, False
