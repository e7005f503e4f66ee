"""Give files what their nodes say besides their bytes: owner, mode, times, extended attributes.

What this user or file system refuses is a problem that is told in the end, and
the work goes on; an error after which nothing else can succeed is raised.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from stat import S_IMODE, S_ISLNK

from edurise_backup.model.content import Node, nanoseconds, unix_permissions
from edurise_backup.recovery.planning import Names

FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""Of these nothing that follows can succeed; any other refusal is listed, and the restore goes on."""
_RESTORED = ("user.", "trusted.", "security.capability", "system.posix_acl_")
"""Attributes that somebody gave; the others are the system's own, and nobody can take them away."""

Troubles = tuple[list[str], dict[str, int]]
"""Problems, and those of owners by their number."""


class Metadata:
    """Describes files, and keeps what was refused; safe from any number of threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._not_owned: Counter[str] = Counter()
        self._problems: list[str] = []

    @property
    def problems(self) -> list[str]:
        """What could not be restored as it was, a sentence each."""
        owners = [f"{count} × {what}" for what, count in sorted(self._not_owned.items())]
        return [*self._problems, *owners]

    def hand_over(self) -> Troubles:
        """Return the problems since the last time, to be told by somebody else, and forget them here."""
        with self._guard:
            told = (self._problems, dict(self._not_owned))
            self._problems, self._not_owned = [], Counter()
        return told

    def take_over(self, troubles: Troubles) -> None:
        """Tell another one's problems."""
        with self._guard:
            self._problems += troubles[0]
            self._not_owned.update(troubles[1])

    def tell(self, sentence: str) -> None:
        """Add a problem."""
        with self._guard:
            self._problems.append(sentence)

    def tell_refusal(self, error: OSError, what: str) -> None:
        """List what this user or file system refuses; raises the error when nothing else can succeed."""
        if error.errno in FATAL:
            raise error
        self.tell(f"{what}: {error.strerror}")

    def describe(self, descriptor: int, node: Node, names: Names, *, mind_owner: bool = True) -> None:
        """Describe an open file or directory; raises ValueError for a time that is none, and fatal OSErrors."""
        # chown clears setuid and capabilities, a read-only mode forbids xattrs: so this order
        try:
            os.fchown(descriptor, node.uid, node.gid)
        except OSError as error:
            if error.errno in FATAL:
                raise
            if mind_owner:
                self._owner_problem(os.fstat(descriptor), node)
        if node.extended_attributes:
            self._set_xattrs(descriptor, node, names)
        try:
            os.fchmod(descriptor, unix_permissions(node.mode))
            os.utime(descriptor, ns=_times(node))
        except OSError as error:
            self.tell_refusal(error, f"{'/'.join(names)}: mode and times")

    def describe_other(self, above: int, name: str, node: Node, names: Names) -> None:
        """Describe what is not to be opened: `name` in the directory `above`; problems are told of `names`."""
        try:
            os.chown(name, node.uid, node.gid, dir_fd=above, follow_symlinks=False)
        except OSError as error:
            if error.errno in FATAL:
                raise
            self._owner_problem(os.stat(name, dir_fd=above, follow_symlinks=False), node)
        if node.type != "symlink":
            with self._allowed(names, "mode"):
                _chmod(above, name, unix_permissions(node.mode))
        self._set_xattrs(closed(above, name), node, names)
        with self._allowed(names, "times"):
            os.utime(name, ns=_times(node), dir_fd=above, follow_symlinks=False)

    def strip(self, where: int | str, node: Node, names: Names) -> None:
        """Take away the attributes that the node does not have, ACLs that a directory passed on among them."""
        wanted = {attribute.name for attribute in node.extended_attributes}
        for name in attributes_of(where):
            if name.startswith(_RESTORED) and name not in wanted:
                with self._allowed(names, name):
                    os.removexattr(where, name, follow_symlinks=isinstance(where, int))

    def _set_xattrs(self, where: int | str, node: Node, names: Names) -> None:
        for attribute in node.extended_attributes:
            try:
                if isinstance(where, int):
                    os.setxattr(where, attribute.name, attribute.value or b"")
                else:
                    os.setxattr(where, attribute.name, attribute.value or b"", follow_symlinks=False)
            except OSError as error:
                self.tell_refusal(error, f"{'/'.join(names)}: {attribute.name}")

    @contextmanager
    def _allowed(self, names: Names, what: str) -> Iterator[None]:
        """List what this user or file system refuses, and go on."""
        try:
            yield
        except OSError as error:
            self.tell_refusal(error, f"{'/'.join(names)}: {what}")

    def _owner_problem(self, status: os.stat_result, node: Node) -> None:
        if (status.st_uid, status.st_gid) != (node.uid, node.gid):
            with self._guard:
                owner = f"{node.user or node.uid}:{node.group or node.gid}"
                self._not_owned[f"the owner {owner} could not be set: restore as root to get owners back"] += 1


def closed(above: int, name: str) -> str:
    """Return a path for calls that know no directory descriptors: `name` itself is not followed by them."""
    return f"/proc/self/fd/{above}/{name}"


def attributes_of(where: int | str) -> dict[str, bytes]:
    """Return the extended attributes of an open file, or of a path that is not followed; none where there are none."""
    follow = isinstance(where, int)
    try:
        names = os.listxattr(where, follow_symlinks=follow)
        return {name: os.getxattr(where, name, follow_symlinks=follow) for name in names}
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.EACCES):
            return {}
        raise


def is_described(status: os.stat_result, attributes: Mapping[str, bytes], node: Node) -> bool:
    """Whether a file is what its node says, besides its bytes; access times are not looked at: reading changes them."""
    wanted = {attribute.name: attribute.value or b"" for attribute in node.extended_attributes}
    there = {name: value for name, value in attributes.items() if name in wanted or name.startswith(_RESTORED)}
    try:
        mtime = nanoseconds(node.mtime)
    except ValueError:  # no file is like that; who describes it will say so
        return False
    return (
        (status.st_uid, status.st_gid) == (node.uid, node.gid)
        and (S_ISLNK(status.st_mode) or S_IMODE(status.st_mode) == unix_permissions(node.mode))
        and status.st_mtime_ns == mtime
        and there == wanted
    )


def _chmod(above: int, name: str, permissions: int) -> None:
    """Set the mode of what is not to be opened, and not of what a link leads to that took its name meanwhile."""
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        if S_ISLNK(os.fstat(descriptor).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        os.chmod(f"/proc/self/fd/{descriptor}", permissions)
    finally:
        os.close(descriptor)


def _times(node: Node) -> tuple[int, int]:
    mtime = nanoseconds(node.mtime)
    return (mtime if node.atime == node.mtime else nanoseconds(node.atime), mtime)
