"""Buffers that files are read into, used again and again: fresh memory costs more than reading into it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from mmap import mmap

from edurise_backup.model.content import BlobId

Stored = Future[list[BlobId]]


class Windows:
    """A few buffers in turn, for one reader; a buffer is given again only when all that was taken from it is stored."""

    def __init__(self, count: int = 2) -> None:
        self._buffers = [memoryview(b"")] * count
        self._users: list[list[Stored]] = [[] for _ in range(count)]
        self._current = 0

    def next(self, size: int) -> memoryview:
        """Give the next buffer, of at least `size` bytes; what comes from it is told with `used_by`."""
        self._current = (self._current + 1) % len(self._buffers)
        wait_for(self._users[self._current])
        self._users[self._current] = []
        if len(self._buffers[self._current]) < size:
            self._buffers[self._current] = memoryview(mmap(-1, size))
        return self._buffers[self._current]

    def used_by(self, stored: Stored) -> None:
        """Keep the present buffer as it is until this is done."""
        self._users[self._current].append(stored)


def wait_for(futures: Sequence[Stored]) -> None:
    """Wait until all are done; who needs their results gets their errors."""
    for future in reversed(futures):  # when the last one is done the others are, too, but for one or two
        if not future.cancelled():
            future.exception()
