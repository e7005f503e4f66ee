"""A large file: read, cut, hashed and sealed window by window, here or in a process of its own.

One process does all of it, while what was read is still in its processor's
cache; threads of one process would spend more on waking each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from mmap import PAGESIZE

import msgspec

from edurise_backup.machine.opened import OpenedFile
from edurise_backup.model.content import BlobId
from edurise_backup.model.paging import Paged
from edurise_backup.model.status import Status
from edurise_backup.pipeline.chunker import ChunkSizes, chunks, id_of
from edurise_backup.pipeline.codec import OVERHEAD
from edurise_backup.pipeline.paging import PagedFile
from edurise_backup.pipeline.sealer import SealedBlob, Sealer
from edurise_backup.pipeline.windows import Windows

WINDOW = 4 * 1024 * 1024
"""Bytes that are read at a time."""


class Opened(msgspec.Struct, array_like=True):
    """What a file is before its first byte; or why it cannot be read (an errno)."""

    status: Status | None
    errno: int = 0


class Part(msgspec.Struct, array_like=True):
    """The next chunks of a file: their ids, and their bytes together; none: the end, or an errno."""

    ids: list[BlobId]
    size: int = 0
    errno: int = 0


class Ended(msgspec.Struct, array_like=True):
    """Whether a file was in one state all the time (one that need not be, always); its damaged pages."""

    still: bool
    damaged: list[int] = []


def room_for(sizes: ChunkSizes) -> int:
    """Return the bytes that the sealed chunks of one window need at most, also when they are those of a paged file."""
    return WINDOW + sizes.maximum + PAGESIZE + (WINDOW + sizes.maximum) // sizes.minimum * 2 * OVERHEAD


class LargeFiles:
    """The work on one file after the other, for one thread."""

    def __init__(self, sealer: Sealer, sizes: ChunkSizes) -> None:
        self._sealer = sealer
        self._sizes = sizes
        self._windows = Windows()
        self._file: OpenedFile | PagedFile | None = None
        self._parts: Iterator[list[memoryview]] = iter(())
        self._part: list[memoryview] = []
        self._ids: list[BlobId] = []

    def open(self, path: str, paged: Paged | None = None) -> Opened:
        """Begin with a file; the one before is closed."""
        self._close()
        try:
            if paged is not None:
                file = self._file = PagedFile(path, paged)
                self._parts = file.chunks(self._windows.next, WINDOW)
            else:
                self._file = OpenedFile(path)
                first = first_window(self._file.before.st_size)
                self._parts = chunks(
                    self._file, self._sizes, next_window=self._windows.next, window=WINDOW, first=first
                )
        except OSError as error:
            return Opened(None, error.errno or 1)
        return Opened(Status.of(self._file.before))

    def next(self) -> Part:
        """Read and hash the next chunks."""
        try:
            self._part = next(self._parts, [])
        except OSError as error:
            return Part([], errno=error.errno or 1)
        self._ids = [id_of(chunk) for chunk in self._part]
        return Part(self._ids, sum(map(len, self._part)))

    def seal(self, wanted: Sequence[bool]) -> list[SealedBlob]:
        """Seal the wanted ones of the chunks that were read last; raises DamageError when the check fails."""
        chosen = zip(self._ids, self._part, wanted, strict=True)
        return self._sealer.seal((name, chunk) for name, chunk, yes in chosen if yes)

    def ended(self) -> Ended:
        """Say how the file was; asked after its last chunk."""
        assert self._file is not None
        try:
            if isinstance(self._file, PagedFile):
                return Ended(True, self._file.damaged)
            return Ended(self._file.held_still())
        except OSError:
            return Ended(False)
        finally:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def first_window(size: int) -> int:
    """Return how much of a file of this size is read at first: to the end of its last page and no further.

    So one read brings a small file, if it is as large as it was.
    """
    return min(WINDOW, -(-(size + 1) // PAGESIZE) * PAGESIZE) if size else WINDOW
