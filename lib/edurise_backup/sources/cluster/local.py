"""A data directory on this machine, read file by file while its server writes: any number of files at once.

The order is the manual's: everything else first, `global/pg_control` last, then
the server is told that the copy is made, and only then its label and the WAL
that was written meanwhile are taken. What is torn is mended from that WAL.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence

from edurise_backup.errors import DamageError, SourceError
from edurise_backup.machine.mounts import mount_of
from edurise_backup.model.cluster import Tablespace
from edurise_backup.model.content import Node
from edurise_backup.model.paging import RELATION_FILE, PageCheck, Paged
from edurise_backup.model.status import Status
from edurise_backup.model.wal import Lsn
from edurise_backup.ports import Content, Entry
from edurise_backup.postgres.control_file import SIZE, ControlFile, parse_control
from edurise_backup.sources.cluster.entries import LiveEntry
from edurise_backup.sources.cluster.rules import (
    CONTROL_FILE,
    folders_kept_in,
    is_emptied,
    is_left_out,
    relation_file,
)
from edurise_backup.sources.files import FileContent, FilesSource
from edurise_backup.sources.scanning import list_folder

_CONTROL_TRIES = 10


class DataDirectory:
    """The files of a cluster; `cut`: bytes of a chunk, `block`: of a page, `damaged` hears of (path, pages).

    `check_before`: LSN of the backup's start, below which each page must have its checksum; None: there are none.
    """

    def __init__(
        self,
        path: str,
        *,
        cut: int,
        block: int,
        check_before: Lsn | None,
        damaged: Callable[[str, list[int]], None],
    ) -> None:
        self.path = path
        self._cut = cut
        self._block = block
        self._before = check_before
        self._damaged = damaged
        self._describer = FilesSource([path])
        self._problems: list[str] = []
        self.links = tablespace_links(path)
        """Where each tablespace is, by oid."""
        self._spaces = {os.path.realpath(space): oid for oid, space in self.links.items()}

    def problems(self) -> list[str]:
        """Return what could not be read, a sentence each."""
        return [*self._problems, *self._describer.problems()]

    def node(self, path: str, name: str) -> Node:
        """Describe a directory, by another name; what it is a link to counts."""
        return self._describer.node(path, Status.of(os.stat(path)), name)

    def most(self) -> Iterator[Entry]:
        """Yield what lies at the top, but `global` and `pg_wal`, which come last."""
        yield from (entry for entry in self._children("") if entry.name not in ("global", "pg_wal"))

    def shared(self) -> Entry:
        """Return `global`, whose last file is pg_control."""

        def children() -> Iterator[Entry]:
            control = CONTROL_FILE.rpartition("/")[2]
            yield from (entry for entry in self._children("global") if entry.name != control)
            entry = self._file("global", control, Status.of(os.stat(self._place(CONTROL_FILE))))
            entry.last = True
            yield entry

        return Entry(self.node(self._place("global"), "global"), self._place("global"), children, ordered=False)

    def wal(self, segments: Sequence[str], cut: int) -> Entry:
        """Return `pg_wal` with only these segments in it."""
        place = self._place("pg_wal")

        def children() -> Iterator[Entry]:
            yield from self._emptied_children("pg_wal")
            for name in segments:
                path = f"{place}/{name}"
                try:
                    status = Status.of(os.stat(path))
                except OSError as error:
                    raise SourceError(
                        f"the segment {name}, which the backup needs, cannot be read: {error.strerror}",
                        safe="nothing was published; earlier backups are whole",
                        hint="run the backup again; the server must keep the WAL that a replication slot reserves",
                    ) from error
                entry = self._live("pg_wal", name, status)
                entry.paged = Paged(cut)
                entry.last = name == segments[-1]
                yield entry

        return Entry(self.node(place, "pg_wal"), place, children, ordered=False)

    def tablespace(self, space: Tablespace, folder: str) -> Entry:
        """Return a tablespace's directory, of which only the `folder` of this version counts."""

        def children() -> Iterator[Entry]:
            path = f"{space.location}/{folder}"
            node = self.node(path, folder)
            yield Entry(node, path, lambda: self._listed(f"pg_tblspc/{space.oid}/{folder}", path))

        return Entry(self.node(space.location, str(space.oid)), space.location, children)

    def control(self) -> ControlFile:
        """Read pg_control; it is read again while it is being written. Raises SourceError, DamageError."""
        for attempt in range(_CONTROL_TRIES):
            try:
                descriptor = os.open(self._place(CONTROL_FILE), os.O_RDONLY | os.O_CLOEXEC)
                try:
                    return parse_control(os.read(descriptor, SIZE))
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise SourceError(f"{self._place(CONTROL_FILE)}: {error.strerror}") from error
            except DamageError:
                if attempt == _CONTROL_TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def untrusted(self) -> str:
        """Return why the times of the files prove nothing, or nothing."""
        for path in (self.path, *self._spaces):
            mount = mount_of(path)
            if mount is None or not mount.times_prove:
                kind = "an unknown file system" if mount is None else mount.kind
                return f"{path} lies on {kind}, where a file's times do not prove that it is unchanged"
        return ""

    def _place(self, relative: str) -> str:
        return f"{self.path}/{relative}" if relative else self.path

    def _children(self, folder: str) -> Iterator[Entry]:
        yield from self._listed(folder, self._place(folder))

    def _listed(self, folder: str, path: str) -> Iterator[Entry]:
        listing = list_folder(path)
        if listing.error and listing.error != 2:  # ENOENT: a database was dropped meanwhile
            raise SourceError(f"{path}: {os.strerror(listing.error)}", safe="nothing was published")
        names = {os.fsdecode(raw) for raw, _ in listing.names}
        for raw, status in listing.names:
            name = os.fsdecode(raw)
            if not is_left_out(folder, name, names):
                if isinstance(status, int):
                    raise SourceError(f"{path}/{name}: {os.strerror(status)}", safe="nothing was published")
                entry = self._entry(folder, path, name, status)
                if entry is not None:
                    yield entry

    def _entry(self, folder: str, above: str, name: str, status: Status) -> Entry | None:
        relative = f"{folder}/{name}" if folder else name
        path = f"{above}/{name}"
        if is_emptied(relative):
            return Entry(self.node(path, name), path, lambda: self._emptied_children(relative), ordered=False)
        if stat.S_ISDIR(status.st_mode):
            if os.path.realpath(path) in self._spaces:
                self._problems.append(f"{path} is a tablespace inside the data directory: it is kept as a tablespace")
                return None
            return Entry(self._describer.node(path, status, name), path, lambda: self._listed(relative, path))
        if stat.S_ISREG(status.st_mode):
            return self._file(folder, name, status, path)
        if stat.S_ISLNK(status.st_mode):
            if folder != "pg_tblspc":
                self._problems.append(f"{path} is a link: the link is kept, not what it points to")
            return self._link(path, status, name)
        return None  # a socket or a pipe is of the running server

    def _link(self, path: str, status: Status, name: str) -> Entry | None:
        try:
            return Entry(self._describer.node(path, status, name), path)
        except FileNotFoundError:  # of a tablespace that was dropped meanwhile
            return None

    def _emptied_children(self, folder: str) -> Iterator[Entry]:
        for name in folders_kept_in(folder):
            path = self._place(f"{folder}/{name}")
            if os.path.isdir(path):
                yield Entry(self.node(path, name), path, lambda: ())

    def _file(self, folder: str, name: str, status: Status, path: str = "") -> LiveEntry:
        entry = self._live(folder, name, status, path)
        relation = relation_file(folder, name)
        check = None
        if relation is not None and self._before is not None:
            check = PageCheck(relation[1] * (RELATION_FILE // self._block), self._before, self._block)
            relative = f"{folder}/{name}"
            entry.damaged = lambda pages: self._damaged(relative, pages)
        entry.paged = Paged(self._cut, check)
        return entry

    def _live(self, folder: str, name: str, status: Status, path: str = "") -> LiveEntry:
        path = path or f"{self._place(folder)}/{name}"

        def describe(found: Status) -> Node:
            return self._describer.node(path, found, name)

        return LiveEntry.of_file(name, path, status, describe=describe, opener=lambda: _opened(path, describe))


class _LiveContent(FileContent):
    """A file that may change meanwhile."""

    def finish(self) -> str | None:
        """Whatever became of it, the WAL says so."""
        return None


def _opened(path: str, describe: Callable[[Status], Node]) -> Content:
    return _LiveContent(path, describe)


def tablespace_links(data_directory: str) -> dict[int, str]:
    """Return where the links of `pg_tblspc` point, by tablespace; raises SourceError."""
    folder = f"{data_directory}/pg_tblspc"
    try:
        names = [name for name in os.listdir(folder) if name.isdecimal() and os.path.islink(f"{folder}/{name}")]
        return {int(name): os.readlink(f"{folder}/{name}") for name in names}
    except OSError as error:
        raise SourceError(f"{folder}: {error.strerror}") from error
