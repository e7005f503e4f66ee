"""The write-ahead log of a cluster in a repository: one growing tree of segments, and always one snapshot of it.

`/.edurise/wal/SOURCE/SYSTEM/TIMELINE/LOG/SIXTEEN/SEGMENT`: stock restic restores it
as files. A publication reads and writes only the directories on the way to what
is new, and a segment's node has the names of its 64 chunks: so no more than 16
segments lie side by side (a whole log's 256 would take 500 KB each time). The snapshot before it is
superseded: all that it names is in the new one, and it is taken away after the
new one is published, or, where this host may only add, by the next prune. A
crash in between leaves both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from edurise_backup.errors import BackupError, ConflictError, DamageError, NotFoundError
from edurise_backup.model.compression import Compression
from edurise_backup.model.content import BlobId, BlobKind, Node, blob_id
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.model.wal import WalFileKind, parse_wal_name
from edurise_backup.ports import Clock, utc_now
from edurise_backup.repository.grafting import Names, graft
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.moments import moment_of
from edurise_backup.repository.removals import take_away
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_series import FOLDER, ancestors, described, series_of, snapshot_of
from edurise_backup.repository.writer import BlobWriter, WriterSettings

_log = logging.getLogger(__name__)
_REST = timedelta(hours=1)
CUT = 256 * 1024
"""Bytes of a chunk: what a segment that still grows has stored twice at most; half of it on average."""
LEVEL = 7
"""Of zstandard: with chunks of this size 0.91 of what level 3 makes of whole segments (`docs/performance.md`)."""
SETTINGS = WriterSettings(compression=Compression(LEVEL), workers=2, crew=1)
_BEHIND = WriterSettings(compression=Compression(1), workers=2, crew=1)
"""Where more waits than is published at once: a twentieth more room, in a fifth of the time."""


@dataclass(frozen=True, slots=True)
class WalContent:
    """A file of the log that is to be kept: a segment, the beginning of one, or a history."""

    name: str
    content: bytes
    moment: datetime
    """When it was written."""


@dataclass(frozen=True, slots=True)
class Published:
    """What one publication did; bytes."""

    snapshot: SnapshotId
    files: tuple[str, ...]
    same: tuple[str, ...]
    """Files that were there with the same bytes."""
    conflicts: tuple[str, ...]
    """Complete segments that were there with other bytes: both are kept."""
    sent_bytes: int
    stored_bytes: int
    """Of what was sent, the log itself: the rest is trees, index and headers."""


@dataclass(slots=True)
class _Series:
    """The snapshots of one source's log, the newest first."""

    newest: tuple[SnapshotId, Snapshot] | None = None
    superseded: list[SnapshotId] = field(default_factory=list)


class WalArchive:
    """The log of one source; `system`: the cluster's identifier, `size`: bytes of a segment, `host` of snapshots."""

    def __init__(
        self,
        repository: Repository,
        source: str,
        system: str,
        size: int,
        *,
        host: str,
        now: Clock = utc_now,
        may_delete: bool = True,
    ) -> None:
        """`may_delete`: whether superseded snapshots are taken away; a refused one is tried again an hour later."""
        self._may_delete = may_delete
        self._rests_until: datetime | None = None
        self._repository = repository
        self._source = source
        self.system = system
        self.size = size
        self._host = host
        self._now = now
        self._series: _Series | None = None
        self._pinned = False

    # Reading

    def pin(self) -> Self:
        """Read what is there now from here on, whatever is superseded meanwhile: a lock keeps its data."""
        self._series = None
        self._known()
        self._pinned = True
        self._repository.learn_index()  # it was loaded before the newest snapshot was looked for
        return self

    def names(self) -> Iterator[tuple[str, int]]:
        """Yield (name, bytes) of every file, the histories first; the index must be loaded. Raises DamageError."""
        series = self._known()
        if series.newest is None:
            return
        for node in self._nodes(self._top()):
            if node.type == "file":
                yield node.name, node.size
        for timeline in self._folders(self._top()):
            for log in self._folders((*self._top(), timeline.name)):
                for sixteen in self._folders((*self._top(), timeline.name, log.name)):
                    for node in self._nodes((*self._top(), timeline.name, log.name, sixteen.name)):
                        yield node.name, node.size

    def read(self, name: str) -> bytes:
        """Return a file; raises NotFoundError, DamageError."""
        node = self._find(self._path(name))
        if node is None:
            raise NotFoundError(f"{name} is not in the archive of {self._source}")
        pieces = (self._repository.read_blob(BlobKind.DATA, _id(piece)) for piece in node.content or ())
        return b"".join(pieces)

    def beside(self, name: str) -> frozenset[str]:
        """Return what lies in a file's folder, itself among it if it is there; raises DamageError."""
        return frozenset(node.name for node in self._nodes(self._path(name)[:-1]))

    # Writing

    def publish(self, files: Sequence[WalContent], lock: Lock, *, behind: bool = False) -> Published | None:
        """Add files, and take away what a complete segment has replaced; None when nothing is new.

        `behind`: more waits than these; what is exposed counts more than what it takes to keep.

        The repository's index must be loaded, under this lock or in the knowledge of `refresh`. Raises what the
        store raises; then nothing is published.
        """
        settings = _BEHIND if behind else SETTINGS
        return self._publish(files, lock, lambda writer: self._additions(writer, files), settings)

    def trim(self, names: Sequence[str], lock: Lock) -> Published | None:
        """Take files away that no recovery needs any more."""
        return self._publish((), lock, lambda _: (dict.fromkeys(map(self._path, names)), (), ()))

    def refresh(self) -> None:
        """Have the index be what the repository has now, reading it only when somebody has un-indexed something."""
        repository = self._repository
        if repository.index_files and repository.index_files <= set(repository.box.ids(Kind.INDEX)):
            return
        repository.load_index(strict=False)
        self._series = None

    def _publish(
        self,
        files: Sequence[WalContent],
        lock: Lock,
        changes: Callable[[BlobWriter], tuple[Mapping[Names, Node | None], Sequence[str], Sequence[str]]],
        settings: WriterSettings = SETTINGS,
    ) -> Published | None:
        series = self._known()
        before = series.newest[1] if series.newest else None
        started = self._later_than(before)
        with self._repository.writer(lock, settings) as sink:
            change, same, conflicts = changes(sink)
            log_bytes = sink.stats.stored_bytes
            if change:
                read = self._repository.read_tree
                tree = graft(sink, read, before.tree if before else None, change, folder=self._folder)
        if not change or (before is not None and tree == before.tree):
            self._take_away(series, series.superseded)
            return None
        snapshot = snapshot_of(
            tree, self._source, self.system, self.size, host=self._host, started=started, parent=series.newest
        )
        published = self._repository.publish(snapshot, lock)
        self._supersede(series, published, snapshot)
        added = tuple(file.name for file in files if file.name not in (*same, *conflicts))
        return Published(published, added, tuple(same), tuple(conflicts), sink.stats.sent_bytes, log_bytes)

    def _additions(
        self, sink: BlobWriter, files: Sequence[WalContent]
    ) -> tuple[dict[Names, Node | None], list[str], list[str]]:
        change: dict[Names, Node | None] = {}
        same, conflicts = [], []
        storing = [self._storing(sink, file) for file in files]  # all of them at once: each is one thread's work
        for file, stored in zip(files, storing, strict=True):
            path = self._path(file.name)
            there = self._find(path)
            node = _node_of(file, stored)
            if there is not None and there.content == node.content:
                same.append(file.name)
                continue
            kind = parse_wal_name(file.name, self.size)
            if there is not None and kind is not None and kind.kind is not WalFileKind.PARTIAL:
                conflicts.append(file.name)  # two clusters wrote the same segment: neither is thrown away
                node.name = f"{file.name}.conflict-{blob_id(file.content).hex()[:8]}"
                path = (*path[:-1], node.name)
            change[path] = node
            if kind is not None and kind.kind is WalFileKind.SEGMENT:
                partial = self._path(f"{file.name}.partial")
                if self._find(partial) is not None:
                    change[partial] = None
        return change, same, conflicts

    def _storing(self, sink: BlobWriter, file: WalContent) -> Future[list[BlobId]] | None:
        data = memoryview(file.content)
        pieces = [data[at : at + CUT] for at in range(0, len(data), CUT)]
        return sink.store(BlobKind.DATA, pieces) if pieces else None

    def _supersede(self, series: _Series, published: SnapshotId, snapshot: Snapshot) -> None:
        before = [series.newest[0]] if series.newest else []
        gone = [*before, *series.superseded]
        self._series = _Series((published, snapshot), gone)
        self._take_away(self._series, gone)

    def _take_away(self, series: _Series, gone: Sequence[SnapshotId]) -> None:
        if gone and self._may_delete and (self._rests_until is None or self._now() >= self._rests_until):
            try:
                take_away(self._repository.box, [object_name(Kind.SNAPSHOT, name) for name in gone], now=self._now())
            except BackupError as error:  # what is published is: a credential that may only add is not in its way
                self._rests_until = self._now() + _REST
                _log.warning("superseded snapshots of the log of %s stay for now: %s", self._source, error.message)
                return
            series.superseded = []

    def _later_than(self, before: Snapshot | None) -> datetime:
        """Return the time of a new snapshot, behind that of the one before whatever the clock says."""
        now = self._now()
        return now if before is None else max(now, moment_of(before.time) + timedelta(microseconds=1))

    def _known(self) -> _Series:
        """Return the series; what was published last is remembered, and looked for again when somebody took it away."""
        newest = self._series.newest if self._series else None
        if self._series is not None and self._pinned:
            return self._series
        if self._series is None or (newest and not self._repository.box.has(Kind.SNAPSHOT, newest[0])):
            found = series_of(self._repository.readable_snapshots(), self._source)
            newest = found[-1] if found else None
            self._series = _Series(newest, ancestors(found))
            if newest is not None and (other := newest[1].tag("system")) != self.system:
                self._series = None
                raise ConflictError(
                    f"the archive of {self._source} is of the cluster {other}, this is the cluster {self.system}",
                    safe="nothing was added; what is in the archive stays as it is",
                    hint="if the cluster was upgraded or made anew, give the source another name; "
                    "else find out which server answers at its url",
                )
        return self._series

    # Paths and nodes

    def _top(self) -> Names:
        return (*FOLDER.strip("/").split("/"), self._source, self.system)

    def _path(self, name: str) -> Names:
        found = parse_wal_name(name.partition(".conflict")[0], self.size)
        if found is None:
            raise DamageError(f"{name!r} is no file of the write-ahead log")
        if found.segment is None:
            return (*self._top(), name)
        return (*self._top(), name[:8], name[8:16], name[16:23], name)

    def _find(self, path: Names) -> Node | None:
        nodes = {node.name: node for node in self._nodes(path[:-1])}
        return nodes.get(path[-1])

    def _folders(self, path: Names) -> list[Node]:
        return [node for node in self._nodes(path) if node.type == "dir"]

    def _nodes(self, path: Names) -> list[Node]:
        series = self._known()
        tree = series.newest[1].tree if series.newest else None
        for name in path:
            nodes = self._repository.read_tree(tree) if tree else []
            tree = next((node.subtree for node in nodes if node.name == name), None)
        return self._repository.read_tree(tree) if tree else []

    def _folder(self, name: str) -> Node:
        return described(name, 0o40700, self._now())


def _node_of(file: WalContent, stored: Future[list[BlobId]] | None) -> Node:
    node = described(file.name, 0o100600, file.moment)
    node.size = len(file.content)
    node.content = [name.hex() for name in stored.result()] if stored else []
    return node


def open_archive(repository: Repository, source: str, *, host: str, now: Clock = utc_now) -> WalArchive | None:
    """Return what a repository has of a source now, to be read, whatever cluster it is of; None without one."""
    # one that is superseded between listing and loading is not there: its successor is, the next time
    found = series_of(repository.readable_snapshots(), source) or series_of(repository.readable_snapshots(), source)
    if not found:
        return None
    newest = found[-1][1]
    system, size = newest.tag("system"), newest.tag("segment")
    if not system or not (size or "").isdecimal():
        raise DamageError(f"the snapshot of the log of {source} does not say which cluster it is of")
    return WalArchive(repository, source, system, int(size or 0), host=host, now=now).pin()


def _id(text: str) -> BlobId:
    return BlobId(bytes.fromhex(text))
