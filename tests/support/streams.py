"""Streams for tests of the chunker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edurise_backup.pipeline.chunker import ChunkSizes, chunks
from edurise_backup.pipeline.windows import Windows


class Bytes:
    """Gives `content` in steps; `holes` are (start, end) where it is zero and need not be read."""

    def __init__(
        self, content: bytes | memoryview, *, step: int = 1 << 62, holes: Sequence[tuple[int, int]] = ()
    ) -> None:
        self.read = 0
        """Bytes that were asked for and given."""
        self._content = content
        self._step = step
        self._holes = holes
        self._at = 0

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer's beginning."""
        part = self._content[self._at : self._at + min(self._step, len(buffer))]
        buffer[: len(part)] = part
        self._at += len(part)
        self.read += len(part)
        return len(part)

    def skip_hole(self, back: int, unit: int) -> int:
        """Pass over whole units of the hole that is `back` bytes before here."""
        here = self._at - back
        end = next((end for start, end in self._holes if start <= here < end), here)
        length = (end - here) // unit * unit
        if length:
            self._at = here + length
        return length


def cut(stream: Bytes, sizes: ChunkSizes, *, window: int) -> Iterator[bytes]:
    """Yield the stream's chunks."""
    for part in chunks(stream, sizes, next_window=Windows().next, window=window):
        yield from map(bytes, part)
