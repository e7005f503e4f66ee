"""Calls of Linux that Python does not offer: syncfs(2), fallocate(2), and renameat2(2) with RENAME_EXCHANGE."""

from __future__ import annotations

import ctypes
import errno
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_EXCHANGE = 2
"""RENAME_EXCHANGE, linux/fs.h."""


def sync_file_system(descriptor: int) -> None:
    """Make durable all that was written to the file system of an open file; raises OSError.

    The system tells of a failed write once for each descriptor.
    """
    if _LIBC.syncfs(descriptor) != 0:
        raise _last_error()


def allocate(descriptor: int, size: int) -> bool:
    """Give a new file its size and its room on the disk; False where the file system cannot. Raises OSError.

    Python's own `posix_fallocate` would write all of the file there.
    """
    while _LIBC.fallocate(descriptor, 0, ctypes.c_longlong(0), ctypes.c_longlong(size)) != 0:
        error = _last_error()
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        if error.errno != errno.EINTR:
            raise error
    return True


def exchange(one: str, other: str, *, folder: int) -> None:
    """Let two names of a directory change places in one step; raises OSError.

    ENOSYS or EINVAL where the system or the file system cannot do that.
    """
    call = getattr(_LIBC, "renameat2", None)
    if call is None:  # glibc before 2.28
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(folder, os.fsencode(one), folder, os.fsencode(other), ctypes.c_uint(_EXCHANGE)) != 0:
        raise _last_error()


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
