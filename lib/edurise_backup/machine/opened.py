"""A regular file that is opened to be read once, from front to back, and found out about afterwards."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from edurise_backup.machine.direct import SequentialFile

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class OpenedFile:
    """An open file; every method raises OSError where the system refuses."""

    def __init__(self, path: str) -> None:
        """Open; raises OSError, with EINVAL for what is no regular file."""
        self._descriptor = _open(path)
        try:
            self.before = os.fstat(self._descriptor)
            """What it was before the first byte."""
            if not stat.S_ISREG(self.before.st_mode):
                raise OSError(errno.EINVAL, "is not a regular file any more")
        except BaseException:
            os.close(self._descriptor)
            raise
        self._file = SequentialFile(self._descriptor)
        self._sparse = self.before.st_blocks * 512 < self.before.st_size

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer's beginning; 0 at the end."""
        return self._file.readinto(buffer)

    def begin_at(self, offset: int) -> None:
        """Have the next byte be read from there."""
        self._file.offset = offset

    def read_ahead(self, length: int) -> None:
        """Have the system bring so many bytes from where it stands into its cache: who reads them need not wait."""
        with suppress(OSError):  # then it waits
            os.posix_fadvise(self._descriptor, self._file.offset, length, os.POSIX_FADV_WILLNEED)

    def skip_hole(self, back: int, unit: int) -> int:
        """Pass over whole units of a hole that begins `back` bytes before what would be read next (SEEK_DATA)."""
        if not self._sparse:
            return 0
        start = self._file.offset - back
        try:
            data = os.lseek(self._descriptor, start, os.SEEK_DATA)
        except OSError as error:
            # ENXIO: nothing but a hole is left; anything else: the file system cannot tell, and all is read
            data = self.before.st_size if error.errno == errno.ENXIO else start
        length = max(0, data - start) // unit * unit
        if length:
            self._file.offset = start + length
        return length

    def held_still(self) -> bool:
        """Whether what was read is one state of the file, and all of it; asked after the last byte."""
        now, before = os.fstat(self._descriptor), self.before
        return (now.st_size, now.st_mtime_ns, now.st_ctime_ns, self._file.offset) == (
            before.st_size,
            before.st_mtime_ns,
            before.st_ctime_ns,
            before.st_size,
        )

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


def _open(path: str) -> int:
    try:
        return os.open(path, _FLAGS)
    except BlockingIOError:
        # a lease (fcntl(2), as Samba takes them) makes an open wait for its holder, or fail if it must not wait;
        # by way of its own descriptor the file can be no pipe, which would make it wait for ever
        place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(place).st_mode):
                raise OSError(errno.EINVAL, "is not a regular file any more") from None
            return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(place)
