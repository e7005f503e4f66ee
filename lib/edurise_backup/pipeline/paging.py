"""Read a file that changes in place: cut at fixed places, each page's checksum verified on the way.

What was torn or is out of date when it is read is mended from the WAL after a
restore, so a change is no reason to read again; a page with a wrong checksum
is looked at once more, because its two halves may have been read at two times.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence

import msgspec

from edurise_backup.errors import SourceError
from edurise_backup.machine.opened import OpenedFile
from edurise_backup.model.content import BlobId
from edurise_backup.model.paging import PageCheck, Paged
from edurise_backup.pipeline.chunker import Stream
from edurise_backup.ports import StoredFile
from edurise_backup.postgres.page_checksums import damaged_pages

RANGE = 32 * 1024 * 1024
"""Bytes of a range that is read on its own: a large file keeps all processes busy to its end."""
VANISHED = errno.ENOENT
"""A file that is not there any more: the WAL has what became of it."""


def paged_chunks(
    stream: Stream,
    paged: Paged,
    size: int,
    *,
    next_window: Callable[[int], memoryview],
    window: int,
    look: Callable[[memoryview, int], None],
) -> Iterator[list[memoryview]]:
    """Yield the chunks up to the first `size` bytes, those of one window at a time; fewer when the file has shrunk.

    The stream stands at `paged.begin`. `look` is shown each window's bytes and where they begin. Buffers as for
    `chunker.chunks`.
    """
    offset, end = paged.begin, size if paged.end is None else min(size, paged.end)
    while offset < end:
        wanted = min(window, end - offset)
        data = _filled(stream, next_window(wanted)[:wanted])
        if data:
            look(data, offset)
            yield [data[at : at + paged.cut] for at in range(0, len(data), paged.cut)]
        if len(data) < wanted:
            return
        offset += wanted


def _filled(stream: Stream, room: memoryview) -> memoryview:
    at = 0
    while at < len(room) and (count := stream.readinto(room[at:])):
        at += count
    return room[:at]


class PageLook:
    """Notes the damaged pages of what it is shown; `again` reads a range of the file anew, where that is possible."""

    def __init__(self, check: PageCheck | None, again: Callable[[int, int], bytes] | None = None) -> None:
        self.damaged: list[int] = []
        self._check = check
        self._again = again

    def __call__(self, data: memoryview, start: int) -> None:
        """Verify the pages of some data that begins at `start` in its file."""
        if self._check is not None:
            found = damaged_pages(data, start, self._check)
            self.damaged += [number for number in found if self._still_damaged(number, self._check)]

    def _still_damaged(self, number: int, check: PageCheck) -> bool:
        if self._again is None:
            return True
        start = (number - check.first) * check.block
        page = self._again(start, check.block)
        return len(page) == check.block and bool(damaged_pages(page, start, check))


class PagedFile:
    """A file of this machine that is read so; every method raises OSError where the system refuses."""

    def __init__(self, path: str, paged: Paged) -> None:
        self._paged = paged
        self._file = OpenedFile(path)
        self._file.begin_at(paged.begin)
        self._look = PageLook(paged.check, reread(path))

    @property
    def before(self) -> os.stat_result:
        """What it was before the first byte."""
        return self._file.before

    @property
    def damaged(self) -> list[int]:
        """The numbers, in the relation, of pages with a wrong checksum, as far as it was read."""
        return self._look.damaged

    def read_ahead(self, length: int) -> None:
        """Have the system bring so many bytes from the beginning, while others are worked on."""
        self._file.read_ahead(length)

    def chunks(self, next_window: Callable[[int], memoryview], window: int) -> Iterator[list[memoryview]]:
        """Yield the chunks, as `paged_chunks` does, of as many bytes as it had when it was opened."""
        size = self._file.before.st_size
        return paged_chunks(self._file, self._paged, size, next_window=next_window, window=window, look=self._look)

    def close(self) -> None:
        """Close the descriptor."""
        self._file.close()


def reread(path: str) -> Callable[[int, int], bytes]:
    """Return what reads a range of the file once more; nothing when the file has vanished."""

    def read(offset: int, length: int) -> bytes:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)

    return read


def ranges_of(paged: Paged, size: int) -> Iterator[Paged]:
    """Yield a file's ranges, the last of which ends where the file did when it was looked at."""
    for begin in range(0, max(size, 1), RANGE):
        yield msgspec.structs.replace(paged, begin=begin, end=min(begin + RANGE, size))


def joined(path: str, ranges: Sequence[Paged], found: Sequence[StoredFile]) -> StoredFile | None:
    """Return what the ranges have together; None when the file has vanished. Raises SourceError.

    One that is short ends the file: it was cut there meanwhile, and the WAL says what came behind.
    """
    blobs: list[BlobId] = []
    damaged: list[int] = []
    size = 0
    for one, stored in zip(ranges, found, strict=True):
        if stored.status is None and stored.trouble:
            raise SourceError(f"{path}: {stored.trouble}")
        if stored.status is None:
            return None
        blobs += stored.blobs
        damaged += stored.damaged
        size += stored.size
        if one.begin + stored.size != one.end:
            break
    return StoredFile(found[0].status, blobs, size, "", damaged)
