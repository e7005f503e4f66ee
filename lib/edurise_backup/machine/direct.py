"""Read and write around the page cache (O_DIRECT, open(2)): large data that is not needed again soon.

Copying through the cache takes the kernel longer than the disk takes (for each
GiB three seconds of a core to write and half a second to read on the machine
that this was measured on, against some hundredths), and pushes out what others
need there.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from mmap import PAGESIZE

WORTH_IT = 128 * 1024
"""Bytes from which writing directly is quicker."""
BLOCK = max(4096, PAGESIZE)
"""What offset, length and address must be multiples of; enough for every disk with blocks of 512 or 4096 bytes."""
_NOT_POSSIBLE = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


class SequentialFile:
    """Reads an open file of this machine from front to back: what the page cache holds from there, the rest directly.

    Where it is read directly is decided by its first byte. Buffers should begin
    with a page of memory: others, and file systems that cannot do it, are read
    through the cache.
    """

    def __init__(self, descriptor: int, *, from_disk: bool = False) -> None:
        """`from_disk`: what the cache holds does not count, as far as the file system allows that."""
        self._descriptor = descriptor
        self.offset = 0
        """Where the next byte is read; it may be set to go on elsewhere."""
        self._direct: bool | None = None
        self._from_disk = from_disk

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer's beginning; 0 at the end. Raises OSError."""
        length = len(buffer) // BLOCK * BLOCK
        if length >= WORTH_IT and self.offset % BLOCK == 0:
            if self._direct is None:
                self._set(direct=self._from_disk or not _is_cached(self._descriptor, self.offset))
        elif self._direct:
            self._set(direct=False)  # the end of the file, or of what can be read so
        if self._direct:
            try:
                return self._read(buffer[:length])
            except OSError as error:
                if error.errno not in _NOT_POSSIBLE:
                    raise
                self._set(direct=False)
        return self._read(buffer)

    def _read(self, buffer: memoryview) -> int:
        count = os.preadv(self._descriptor, [buffer], self.offset)
        self.offset += count
        return count

    def _set(self, *, direct: bool) -> None:
        self._direct = direct
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL) & ~os.O_DIRECT
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags | os.O_DIRECT if direct else flags)
        except OSError as error:
            if error.errno not in _NOT_POSSIBLE:
                raise
            self._direct = False


def read_range(descriptor: int, offset: int, length: int, room: memoryview) -> memoryview:
    """Return a part of an open file, in `room`, which must be longer by two blocks; raises OSError.

    Less comes where the file ends.
    """
    start, end = offset // BLOCK * BLOCK, -(-(offset + length) // BLOCK) * BLOCK
    file = SequentialFile(descriptor)
    file.offset = start
    while file.offset < offset + length and file.readinto(room[file.offset - start : end - start]):
        pass
    return room[offset - start : max(offset, min(file.offset, offset + length)) - start]


def _is_cached(descriptor: int, offset: int) -> bool:
    """Whether a file's byte can be had without waiting for the disk; also where that cannot be told."""
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # the question itself must bring no more than a page
        os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError:
        pass
    with suppress(OSError):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_NORMAL)
    return True


def write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of `data`, directly as far as the file system and the buffer allow; raises OSError.

    It goes directly where `data` begins as many bytes into a page of memory as
    `offset` into a block. What stays in the page cache is durable after fsync(2), as ever.
    """
    head = -offset % BLOCK
    body = (len(data) - head) // BLOCK * BLOCK
    done = 0
    if body >= WORTH_IT:
        done = _write_directly(descriptor, data[head : head + body], offset + head)
    if done:
        _write_buffered(descriptor, data[:head], offset)
        head += done
        _write_buffered(descriptor, data[head:], offset + head)
    else:
        _write_buffered(descriptor, data, offset)


def _write_directly(descriptor: int, data: memoryview, offset: int) -> int:
    """Return how many bytes were written; 0 where it is not possible."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    done = 0
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
        while done < len(data):
            written = os.pwrite(descriptor, data[done:], offset + done)
            done += written // BLOCK * BLOCK
            if written % BLOCK or not written:
                break
    except OSError as error:
        if error.errno not in _NOT_POSSIBLE:
            raise
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
    return done


def _write_buffered(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data = data[written:]
        offset += written
