"""Small files: read, hashed, compressed and sealed many at a time, here or in a process of its own.

A small file costs Python more than it costs the machine, and one process runs
Python on one core only. So the work on a batch is one object, `SmallFiles` or
`LiveFiles`, that needs nothing but a key: `machine/crew` keeps several of them
in processes of their own.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from mmap import PAGESIZE, mmap

from edurise_backup.model.content import BlobId, blob_id
from edurise_backup.model.paging import Paged
from edurise_backup.model.status import Status
from edurise_backup.pipeline.codec import OVERHEAD
from edurise_backup.pipeline.paging import VANISHED, PagedFile
from edurise_backup.pipeline.sealer import SealedBlob, Sealer
from edurise_backup.ports import FileState, LiveFile, StoredFile

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_TOGETHER = 32
"""So many files are open at once; other threads of this process may have as many."""
EMPTY = blob_id(b"")
"""Answered for a file without content, which has no blob."""


class SmallFiles:
    """The work on one batch after the other, for one thread."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._contents: list[bytes | None] = []
        self._ids: list[BlobId | None] = []

    def read(self, files: Sequence[FileState]) -> list[BlobId | None]:
        """Return the id of each file's content; None where the file is not as described."""
        self._contents = [content_of(file) for file in files]
        self._ids = [None if content is None else blob_id(content) for content in self._contents]
        return self._ids

    def seal(self, wanted: Sequence[bool]) -> list[SealedBlob]:
        """Seal the wanted ones of the contents that were read last; raises DamageError when the check fails."""
        chosen = zip(self._ids, self._contents, wanted, strict=True)
        return self._sealer.seal((name, content) for name, content, yes in chosen if yes and content and name)


class LiveFiles:
    """The same for small files that change in place (`pipeline/paging`), each of which may be several chunks."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._buffer = memoryview(b"")
        self._filled = 0
        self._chunks: list[memoryview] = []
        self._ids: list[BlobId] = []

    def read(self, files: Sequence[LiveFile]) -> list[StoredFile | None]:
        """Return what of each file was read; its pages are looked at, where they have checksums."""
        needed = sum(_pages(_length(file.paged)) for file in files)
        if len(self._buffer) < needed:
            self._buffer = memoryview(mmap(-1, needed))
        self._filled, self._chunks, self._ids = 0, [], []
        found: list[StoredFile | None] = []
        for first in range(0, len(files), _TOGETHER):
            some = files[first : first + _TOGETHER]
            opened = [_opened(file) for file in some]  # all of them: the disk brings the next while one is worked on
            found += [
                self._read(file, live.paged) if isinstance(file, PagedFile) else file
                for live, file in zip(some, opened, strict=True)
            ]
        return found

    def seal(self, wanted: Sequence[bool]) -> list[SealedBlob]:
        """Seal the wanted ones of all chunks, file after file; raises DamageError when the check fails."""
        chosen = zip(self._ids, self._chunks, wanted, strict=True)
        return self._sealer.seal((name, chunk) for name, chunk, yes in chosen if yes)

    def _read(self, file: PagedFile, paged: Paged) -> StoredFile:
        try:
            chunks = [chunk for part in file.chunks(self._room, max(1, _length(paged))) for chunk in part]
            ids = [blob_id(chunk) for chunk in chunks]
            found = StoredFile(Status.of(file.before), ids, sum(map(len, chunks)), "", file.damaged)
        except OSError as error:
            return unread(error.errno or errno.EIO, paged)
        finally:
            file.close()
        self._chunks += chunks
        self._ids += ids
        return found

    def _room(self, size: int) -> memoryview:
        start, self._filled = self._filled, self._filled + _pages(size)
        return self._buffer[start : start + size]


def _opened(live: LiveFile) -> PagedFile | StoredFile:
    try:
        file = PagedFile(live.path, live.paged)
    except OSError as error:
        return unread(error.errno or errno.EIO, live.paged)
    file.read_ahead(_length(live.paged))
    return file


def unread(error: int, paged: Paged | None) -> StoredFile:
    """Return what there is of a file that cannot be read (an errno)."""
    vanished = paged is not None and error == VANISHED
    return StoredFile(None, [], 0, "" if vanished else os.strerror(error))


def room_for_live(files: Sequence[LiveFile]) -> int:
    """Return the bytes that the chunks of these files need at most when they are sealed."""
    return sum(_length(file.paged) + -(-_length(file.paged) // file.paged.cut) * OVERHEAD for file in files)


def _length(paged: Paged) -> int:
    assert paged.end is not None
    return paged.end - paged.begin


def _pages(size: int) -> int:
    """Round up to whole pages of memory: buffers that begin with one can be read into directly."""
    return -(-size // PAGESIZE) * PAGESIZE


def room_for(files: Sequence[FileState]) -> int:
    """Return the bytes that these files need at most when they are sealed."""
    return sum(file.status.st_size + OVERHEAD for file in files)


def content_of(file: FileState) -> bytes | None:
    """Return a file's bytes; None when it cannot be read, or is in another state after the last byte."""
    try:
        descriptor = os.open(file.path, _FLAGS)
    except OSError:
        return None
    found = file.status
    try:
        content = os.read(descriptor, found.st_size + 1)
        now = os.fstat(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    same = (
        now.st_ctime_ns == found.st_ctime_ns
        and now.st_mtime_ns == found.st_mtime_ns
        and now.st_ino == found.st_ino
        and now.st_dev == found.st_dev
        and now.st_mode == found.st_mode
        and now.st_size == found.st_size == len(content)
    )
    return content if same else None
