"""Describe a directory tree from the file system alone: what lstat, read, readlink and getxattr say."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

from edurise_backup.demonstration.facts import FileFacts
from edurise_backup.errors import SourceError

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}
_SET_BY_THE_SYSTEM = ("security.selinux", "security.ima", "security.evm")


def describe_files(root: Path) -> dict[str, FileFacts]:
    """Return the root (as `.`) and everything below it by relative path; raises SourceError.

    Links are not followed. Names that are not UTF-8 are as `os.fsdecode` gives
    them.
    """
    found: dict[str, FileFacts] = {}
    first_names: dict[tuple[int, int], str] = {}
    try:
        _describe(root, ".", found, first_names)
    except OSError as error:
        raise SourceError(f"{error.filename!r} cannot be described: {error.strerror}") from error
    return found


def _describe(path: Path, name: str, found: dict[str, FileFacts], first_names: dict[tuple[int, int], str]) -> None:
    state = path.lstat()
    kind = _KINDS[stat.S_IFMT(state.st_mode)]
    same = ""
    if kind != "directory" and state.st_nlink > 1:
        first = first_names.setdefault((state.st_dev, state.st_ino), name)
        same = first if first != name else ""
    found[name] = FileFacts(
        kind=kind,
        mode=f"{stat.S_IMODE(state.st_mode):04o}",
        owner=f"{state.st_uid}:{state.st_gid}",
        mtime_ns=state.st_mtime_ns,
        size=state.st_size if kind == "file" else 0,
        digest=_digest(path) if kind == "file" else "",
        target=str(path.readlink()) if kind == "symbolic link" else "",
        same_file_as=same,
        attributes=_attributes(path),
    )
    if kind == "directory":
        for child in sorted(os.listdir(path)):  # noqa: PTH208 - names, not paths; order makes the first of hard links sure
            _describe(path / child, child if name == "." else f"{name}/{child}", found, first_names)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _attributes(path: Path) -> tuple[tuple[str, str], ...]:
    try:
        names = sorted(os.listxattr(path, follow_symlinks=False))
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return ()
        raise
    return tuple(
        (name, os.getxattr(path, name, follow_symlinks=False).hex()) for name in names if name not in _SET_BY_THE_SYSTEM
    )
