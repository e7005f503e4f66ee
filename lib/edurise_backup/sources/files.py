"""Directory trees as a source: one lstat a name, one open a changed file.

The tree begins at `/`, one level for each path component, as stock restic
makes it, so that either client finds the other's parent snapshot. What a node
says of a file that is read is the fstat of the open descriptor before the
first byte; a file that changed meanwhile is reported, never passed over.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache

from edurise_backup.errors import InputError, SourceError, VanishedError
from edurise_backup.machine.opened import OpenedFile
from edurise_backup.model.content import ExtendedAttribute, Node, go_mode, name_bytes
from edurise_backup.model.shards import NameRange
from edurise_backup.model.status import Status
from edurise_backup.ports import CHANGED, Entry
from edurise_backup.sources.patterns import matcher
from edurise_backup.sources.scanning import Listing, Scanner, list_folder

_NO_XATTRS = (95, 61, 1, 13, 2)  # ENOTSUP, ENODATA, EPERM, EACCES, ENOENT


class FilesSource:
    """The trees below `paths` (absolute, existing); excluded paths are not looked at.

    `renumbered`: device numbers of this machine that are told as others. A file
    with several names is known by its device, and machines that share a file
    system number it each in its own way.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        exclude: Sequence[str] = (),
        one_file_system: bool = False,
        renumbered: Mapping[int, int] | None = None,
    ) -> None:
        if not paths:
            raise InputError("there is nothing to back up", hint="name at least one directory or file")
        self.paths = _without_nested(sorted({os.path.abspath(path) for path in paths}))
        for path in self.paths:
            _must_exist(path)
        self._excluded = matcher(exclude) if exclude else None
        self._devices = {os.lstat(path).st_dev for path in self.paths} if one_file_system else None
        self._problems = [
            f"{path}: is a symbolic link: the link is backed up, not what it points to"
            for path in self.paths
            if os.path.islink(path)
        ]
        self._patterns = tuple(exclude)
        self.afterwards: frozenset[str] = frozenset()
        self._renumbered = dict(renumbered or {})
        self._scanner: Scanner | None = None

    def scan_ahead(self) -> datetime:
        """Begin to look at the directories, while other things are made ready; return since when they are looked at.

        What is described was so at some moment from then on: a snapshot of it must not say that it began later.
        """
        folders = [path for path in self.paths if stat.S_ISDIR(os.lstat(path).st_mode)]
        self._scanner = Scanner(folders, self._patterns, None if self._devices is None else sorted(self._devices))
        return self._scanner.since

    def place(self, node: Node) -> bytes:
        """Return the bytes of its name."""
        return name_bytes(node.name)

    def root(self) -> Entry:
        """Return `/`; of the directories above the chosen paths only the way down is offered."""
        return self._above("/", [tuple(path.strip("/").split("/")) for path in self.paths if path != "/"])

    def problems(self) -> list[str]:
        """Return what could not be read, a sentence each; a file is described twice, when found and when read."""
        return list(dict.fromkeys(self._problems))

    def _above(self, path: str, ways: list[tuple[str, ...]]) -> Entry:
        if not ways or () in ways:
            return self._entry(path) or _missing(path)

        def children() -> Iterator[Entry]:
            for name in sorted({way[0] for way in ways}, key=os.fsencode):
                below = [way[1:] for way in ways if way[0] == name]
                yield self._above(os.path.join(path, name), below)

        # an ancestor may be a link to a directory: what is below it is stored below a directory of its name
        return Entry(self.node(path, Status.of(os.stat(path))), path, children=children)

    def _entry(self, path: str) -> Entry | None:
        try:
            status: Status | int = Status.of(os.lstat(path))
        except OSError as error:
            status = error.errno or 0
        return self._described(path, os.path.basename(path), status)

    def _described(self, path: str, name: str, status: Status | int) -> Entry | None:
        """Describe one path, or note why it cannot be read (an errno)."""
        try:
            if isinstance(status, int):
                raise OSError(status, os.strerror(status))
            if stat.S_ISREG(status.st_mode):
                return self._file(path, status, name)
            node = self.node(path, status, name)
        except FileNotFoundError:
            return None  # it vanished since its directory was read: as if it had never been
        except OSError as error:
            self._problems.append(f"{path}: {error.strerror}")
            return None
        if stat.S_ISDIR(status.st_mode):
            if self._devices is not None and status.st_dev not in self._devices:
                return Entry(node, path, children=lambda: ())
            return Entry(node, path, children=lambda: self._children(path), within=lambda at: self._within(path, at))
        if stat.S_ISSOCK(status.st_mode):
            return None  # as stock restic does: a socket is made by the server that listens on it
        return Entry(node, path)

    def _file(self, path: str, status: Status, name: str) -> Entry:
        return Entry.of_file(
            name,
            path,
            status,
            describe=lambda status: self.node(path, status, name),
            opener=lambda: FileContent(path, lambda status: self.node(path, status, name)),
        )

    def _children(self, path: str) -> Iterable[Entry]:
        return self._offered(path, list_folder(path) if self._scanner is None else self._scanner.take(path))

    def _within(self, path: str, names: NameRange) -> Iterable[Entry]:
        return self._offered(path, list_folder(path, names))

    def _offered(self, path: str, listing: Listing) -> Iterator[Entry]:
        if listing.error:
            self._problems.append(f"{path}: {os.strerror(listing.error)}")
        prefix = path if path.endswith("/") else path + "/"
        for raw, status in listing.names:
            name = os.fsdecode(raw)
            child = prefix + name
            if self._excluded is None or not self._excluded(child):
                entry = self._described(child, name, status)
                if entry is not None:
                    yield entry

    def node(self, path: str, status: Status, name: str | None = None) -> Node:
        """Describe what lstat(2) says of a path; `name`: what it is called in the tree."""
        kind, mode = go_mode(status.st_mode)
        node = Node(
            name=name if name is not None else os.path.basename(path),
            type=kind,
            mode=mode,
            mtime=status.mtime,
            atime=status.mtime,  # as stock restic does: a changing atime would change every tree
            ctime=status.ctime,
            uid=status.st_uid,
            gid=status.st_gid,
            user=user_name(status.st_uid),
            group=group_name(status.st_gid),
            inode=status.st_ino,
            device_id=self._renumbered.get(status.st_dev, status.st_dev),
            content=None,
        )
        if kind == "file":
            node.content = []
            node.size = status.st_size
        elif kind == "symlink":
            _describe_link(node, path)
        elif kind in ("dev", "chardev"):
            node.device = status.st_rdev
        if kind not in ("dir", "fifo"):
            node.links = status.st_nlink
        node.extended_attributes = self._xattrs(path)
        return node

    def _xattrs(self, path: str) -> list[ExtendedAttribute]:
        try:
            names = os.listxattr(path, follow_symlinks=False)
            # in the kernel's order, as stock restic keeps them: the same directory gives the same tree
            found = [ExtendedAttribute(name, os.getxattr(path, name, follow_symlinks=False)) for name in names]
        except OSError as error:
            if error.errno not in _NO_XATTRS:
                self._problems.append(f"{path}: extended attributes: {error.strerror}")
            return []
        odd = [attribute.name for attribute in found if not _is_text(attribute.name)]
        self._problems += [f"{path}: the format has no room for the extended attribute {name!r}" for name in odd]
        return [attribute for attribute in found if attribute.name not in odd]


class FileContent:
    """A regular file that is being read."""

    def __init__(self, path: str, describe: Callable[[Status], Node]) -> None:
        self._path = path
        with self._translated():
            self._file = OpenedFile(path)
        try:
            self.node = describe(Status.of(self._file.before))
        except BaseException:
            self._file.close()
            raise

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer's beginning from the file."""
        with self._translated():
            return self._file.readinto(buffer)

    def skip_hole(self, back: int, unit: int) -> int:
        """Pass over whole units of a hole."""
        return self._file.skip_hole(back, unit)

    def finish(self) -> str | None:
        """Say whether the file changed while it was read."""
        with self._translated():
            return None if self._file.held_still() else f"{self._path}: {CHANGED}"

    def close(self) -> None:
        """Close the descriptor."""
        self._file.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kind = VanishedError if isinstance(error, FileNotFoundError) else SourceError
            raise kind(f"{self._path}: {error.strerror}") from error


def _is_text(name: str) -> bool:
    return not any("\udc80" <= char <= "\udcff" for char in name)  # bytes that are not UTF-8


def _describe_link(node: Node, path: str) -> None:
    target = os.readlink(path)
    try:
        target.encode()
        node.linktarget = target
    except UnicodeEncodeError:  # bytes that are not UTF-8, as restic's format keeps them
        raw = os.fsencode(target)
        node.linktarget, node.linktarget_raw = raw.decode("utf-8", "replace"), raw


def _must_exist(path: str) -> None:
    try:
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            os.listdir(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}",
            safe="nothing was backed up or changed",
            hint="check the path, and that this user may read it",
        ) from error


def _missing(path: str) -> Entry:
    raise SourceError(f"{path} vanished before it was read")


def _without_nested(paths: list[str]) -> list[str]:
    kept: list[str] = []
    for path in paths:
        if not any(path.startswith(above.rstrip("/") + "/") for above in kept):
            kept.append(path)
    return kept


@lru_cache(maxsize=1024)
def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


@lru_cache(maxsize=1024)
def group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""
