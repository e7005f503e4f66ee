"""Write around the page cache (O_DIRECT, open(2)): large data that is not read again soon.

Copying into the cache takes the kernel longer than the disk takes to write
(three seconds of a core for each GiB on the machine that this was measured on,
against some hundredths), and pushes out what others need there.
"""

from __future__ import annotations

import errno
import fcntl
import os
from mmap import PAGESIZE

WORTH_IT = 128 * 1024
"""Bytes from which writing directly is quicker."""
BLOCK = max(4096, PAGESIZE)
"""What offset, length and address must be multiples of; enough for every disk with blocks of 512 or 4096 bytes."""


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
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
    return done


def _write_buffered(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data = data[written:]
        offset += written
