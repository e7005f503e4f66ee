"""Mount snapshots read-only, through FUSE; START HERE is `snapshot_files`, this is the way to the kernel.

The binding is mfusepy (the optional extra `mount`), which needs the system's libfuse.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edurise_backup.errors import BackupError, InputError
from edurise_backup.model.content import Node, nanoseconds, unix_permissions
from edurise_backup.recovery.snapshot_files import OpenFile, SnapshotFiles

_HINT = "install the package with its extra `mount`, and the system's libfuse (Debian: apt install fuse3)"
_FORMATS = {
    "file": stat.S_IFREG,
    "dir": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "fifo": stat.S_IFIFO,
    "dev": stat.S_IFBLK,
    "chardev": stat.S_IFCHR,
    "socket": stat.S_IFSOCK,
}


def mount(files: SnapshotFiles, mountpoint: Path, *, allow_other: bool = False) -> list[str]:
    """Show the files at `mountpoint` until it is unmounted, or SIGINT or SIGTERM comes; return what was not readable.

    Without `allow_other` only this user comes in, and reads everything, as he could
    by a restore; with it the kernel minds each file's mode and owner. Raises
    InputError when FUSE is not installed, or the directory cannot be used.
    """
    _refuse_unusable(mountpoint)
    try:
        import mfusepy
    except ImportError as error:
        raise InputError("the Python package mfusepy is not installed", hint=_HINT) from error
    except (OSError, AttributeError) as error:  # it looks for libfuse while it is imported
        raise InputError(f"libfuse cannot be used: {error}", hint=_HINT) from error
    operations = _Operations(files)
    try:
        mfusepy.FUSE(
            operations,
            str(mountpoint),
            foreground=True,
            ro=True,
            fsname="edurise-backup",
            allow_other=allow_other,
            default_permissions=allow_other,
            kernel_cache=True,  # what a snapshot holds never changes
        )
    except RuntimeError as error:  # its message is libfuse's number; libfuse itself has printed the reason
        raise BackupError(
            f"{mountpoint} could not be mounted",
            safe="nothing was changed",
            hint="the lines above say why; an ordinary user needs the program fusermount3 or fusermount",
        ) from error
    return operations.problems


def _refuse_unusable(mountpoint: Path) -> None:
    try:
        empty = not any(mountpoint.iterdir())
    except OSError as error:
        raise InputError(f"{mountpoint}: {error.strerror}", hint="name an empty directory") from error
    if not empty:
        raise InputError(f"{mountpoint} is not empty", hint="mount on an empty directory")


class _Operations:
    """What mfusepy calls, by name; it turns an OSError into the kernel's error number."""

    use_ns = True

    def __init__(self, files: SnapshotFiles) -> None:
        self.problems: list[str] = []
        self._files = files
        self._open: dict[int, OpenFile] = {}
        self._numbers = itertools.count(1)
        self._guard = threading.Lock()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        """Return stat(2)'s fields; times in nanoseconds."""
        with self._translated(path):
            node = self._files.node(path)
        size = len(_target(node)) if node.type == "symlink" else node.size if node.type == "file" else 0
        return {
            "st_mode": _FORMATS.get(node.type, stat.S_IFREG) | unix_permissions(node.mode),
            "st_nlink": max(node.links, 1),
            "st_uid": node.uid,
            "st_gid": node.gid,
            "st_size": size,
            "st_blocks": -(-size // 512),
            "st_rdev": node.device,
            "st_atime": _moment(node.atime),
            "st_mtime": _moment(node.mtime),
            "st_ctime": _moment(node.ctime),
        }

    def readdir(self, path: str, fh: int) -> list[str]:
        """Return the names in a directory."""
        with self._translated(path):
            return [".", "..", *self._files.names(path)]

    def readlink(self, path: str) -> str:
        """Return where a link points."""
        with self._translated(path):
            return _target(self._files.node(path))

    def open(self, path: str, flags: int) -> int:
        """Return a number for the open file; nothing can be opened for writing."""
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        with self._translated(path):
            file = self._files.open(path)
        number = next(self._numbers)
        with self._guard:
            self._open[number] = file
        return number

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Return bytes of an open file."""
        with self._translated(path):
            return self._files.read(self._open[fh], offset, size)

    def release(self, path: str, fh: int) -> int:
        """Forget an open file."""
        with self._guard:
            self._open.pop(fh, None)
        return 0

    def listxattr(self, path: str) -> list[str]:
        """Return the names of the extended attributes."""
        with self._translated(path):
            return [attribute.name for attribute in self._files.node(path).extended_attributes]

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        """Return an extended attribute's value."""
        with self._translated(path):
            node = self._files.node(path)
        for attribute in node.extended_attributes:
            if attribute.name == name:
                return attribute.value or b""
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            number = next((found for kind, found in _NUMBERS.items() if isinstance(error, kind)), errno.EIO)
            raise OSError(number, os.strerror(number)) from error
        except BackupError as error:  # never wrong bytes: the reader gets an error
            with self._guard:
                if len(self.problems) < _TOLD:
                    self.problems.append(f"{path}: {error.message}")
            raise OSError(errno.EIO, os.strerror(errno.EIO)) from error


_TOLD = 1000
_NUMBERS = {
    FileNotFoundError: errno.ENOENT,
    NotADirectoryError: errno.ENOTDIR,
    IsADirectoryError: errno.EISDIR,
    PermissionError: errno.EACCES,
}


def _target(node: Node) -> str:
    return os.fsdecode(node.linktarget_raw) if node.linktarget_raw is not None else node.linktarget


def _moment(text: str) -> int:
    try:
        return nanoseconds(text)
    except ValueError:  # a time that is none
        return 0
