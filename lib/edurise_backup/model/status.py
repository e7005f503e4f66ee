"""What lstat(2) says of a name, so that another process can say it, too."""

from __future__ import annotations

import os

import msgspec

from edurise_backup.model.content import rfc3339


class Status(msgspec.Struct, array_like=True, gc=False):
    """The words of `os.stat_result`; and its two times as a node has them, made where the time for it is."""

    st_mode: int
    st_dev: int
    st_ino: int
    st_nlink: int
    st_uid: int
    st_gid: int
    st_rdev: int
    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int
    mtime: str
    ctime: str

    @classmethod
    def of(cls, found: os.stat_result) -> Status:
        """Take over what the system said."""
        mtime, ctime = found.st_mtime_ns, found.st_ctime_ns
        modified = rfc3339(mtime)
        return cls(
            found.st_mode,
            found.st_dev,
            found.st_ino,
            found.st_nlink,
            found.st_uid,
            found.st_gid,
            found.st_rdev,
            found.st_size,
            mtime,
            ctime,
            modified,
            modified if ctime == mtime else rfc3339(ctime),
        )
