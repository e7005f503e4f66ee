"""Turn a source into a tree in a repository: START HERE for the engine.

The walk goes depth first in the order of names. Files that did not change are
taken from the parent tree without being opened; the others go to reader
threads, small ones in batches, and from there to the sink. A directory's tree
is made when all its files are known; a bounded number of directories waits for
that, so memory does not grow with the source. Nothing refers to the blobs
until the caller publishes a snapshot of the tree that this returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

from edurise_backup.errors import DamageError, SourceError
from edurise_backup.machine.cores import cores
from edurise_backup.model.content import BlobId, BlobKind, Node, blob_id, encode_tree, name_bytes, nanoseconds
from edurise_backup.model.status import Status
from edurise_backup.pipeline.chunker import ChunkSizes
from edurise_backup.pipeline.pending import Pending
from edurise_backup.pipeline.pools import Pools
from edurise_backup.pipeline.reading import ArchiveStats, Reading
from edurise_backup.ports import BlobSink, Entry, Progress, Source

GRANULARITY = 2_000_000_000
"""Nanoseconds: the coarsest tick in which a file system keeps times."""

_WAITING_NODES = 20_000
_SETTLE_EVERY = 500


@dataclass(frozen=True, slots=True)
class Parent:
    """The snapshot that unchanged files are taken from."""

    read_tree: Callable[[str], list[Node]]
    """Gives the nodes of a tree of that snapshot; raises DamageError."""
    tree: str
    newest: int
    """Nanoseconds since 1970: a file that was changed later may have changed again, unseen, before it was read."""
    known: Callable[[str], bool]
    """Whether a data blob (hex id) is in the repository."""
    alike: bool = False
    """It was made by this program and user, who saw of a file what we would see."""
    made_up: frozenset[str] = frozenset()
    """Trees that `read_tree` knows and the repository does not: what is equal to one of them is stored all the same."""


@dataclass(frozen=True, slots=True)
class Archived:
    """A tree whose blobs are with the sink; `problems` says what is missing from it."""

    tree: str
    stats: ArchiveStats
    problems: tuple[str, ...]


_Child: TypeAlias = "Node | Pending | _Folder"


@dataclass(slots=True)
class _Folder:
    """A directory whose files are still being read."""

    node: Node
    before: Node | None
    tree_before: str | None
    """The parent snapshot's tree of this directory."""
    nodes_before: list[Node] | None
    """What it holds; None where there is none that can be read and stays as it is."""
    ordered: bool
    """Its children come in the order of their names."""
    children: list[_Child] = field(default_factory=list)
    settled: int = 0
    """So many of the children, the first ones, are not being read any more."""
    tree: str | None = None

    def add(self, child: _Child) -> None:
        """Take one more child; of a very large folder those that were read become nodes, which take less memory."""
        self.children.append(child)
        if not len(self.children) % _SETTLE_EVERY:
            self._settle()

    def _settle(self) -> None:
        for number in range(self.settled, len(self.children)):
            child = self.children[number]
            if isinstance(child, Pending):
                if not child.done:
                    return
                self.children[number] = child.finished() or child  # one that could not be read is left out at the end
            self.settled = number + 1


def archive(
    source: Source,
    sink: BlobSink,
    *,
    progress: Progress,
    parent: Parent | None = None,
    sizes: ChunkSizes | None = None,
    readers: int = 0,
) -> Archived:
    """Store what `source` offers and return its tree; unchanged files are taken from `parent`.

    `readers`: so many streams are read at once; 0 for as many as this machine can work on.
    Raises SourceError when the source's root cannot be read, CancelledError,
    and whatever the sink raises.
    """
    pools = Pools(streams=readers or max(2, cores()), batches=cores() + 2)
    try:
        archived = _Walk(source, sink, progress, parent, Reading(sink, progress, sizes or ChunkSizes(), pools)).run()
    except BaseException:
        pools.shutdown(cancel=True)
        raise
    pools.shutdown()
    return archived


@dataclass(slots=True)
class _Level:
    """A directory that the walk is in."""

    folder: _Folder
    entries: Iterator[Entry]
    before: dict[str, Node]
    """What the parent snapshot has in this directory, by name."""


class _Walk:
    def __init__(
        self, source: Source, sink: BlobSink, progress: Progress, parent: Parent | None, reading: Reading
    ) -> None:
        self._source = source
        self._sink = sink
        self._progress = progress
        self._parent = parent
        self._reading = reading
        self._stats = reading.stats
        self._waiting: deque[_Folder] = deque()
        self._waiting_nodes = 0
        self._trees: deque[Future[list[BlobId]]] = deque()
        self._problems: list[str] = []

    def run(self) -> Archived:
        top = self._walk(self._source.root())
        self._reading.flush()
        self._close_folders(0)
        for future in self._trees:
            future.result()
        assert top.tree is not None
        problems = (*self._source.problems(), *self._reading.problems, *self._problems)
        return Archived(top.tree, self._stats, problems)

    def _walk(self, root: Entry) -> _Folder:
        """Walk everything; trees are made later, when files are known. No recursion: a source may be very deep."""
        top = self._enter(root, self._parent.tree if self._parent else None, None)
        levels = [top]
        while levels:
            level = levels[-1]
            child = next(level.entries, None)
            if child is None:
                levels.pop()
                self._leave(level.folder)
                continue
            before = level.before.get(child.name)
            if child.children is None:
                level.folder.add(self._leaf(child, before))
            else:
                below = self._enter(child, before.subtree if before else None, before)
                level.folder.add(below.folder)
                levels.append(below)
        return top.folder

    def _enter(self, entry: Entry, tree: str | None, before: Node | None) -> _Level:
        self._progress.raise_if_cancelled()
        if entry.node.type != "dir":
            raise SourceError(f"{entry.path}: is not a directory any more", hint="run the backup again")
        entries = iter(entry.children() if entry.children else ())
        nodes = self._parent_nodes(tree)
        stored = None if self._parent is None or tree in self._parent.made_up else nodes
        return _Level(
            _Folder(entry.node, before, tree, stored, entry.ordered), entries, {node.name: node for node in nodes or ()}
        )

    def _leave(self, folder: _Folder) -> None:
        self._waiting.append(folder)
        self._waiting_nodes += len(folder.children)
        self._close_folders(_WAITING_NODES)

    def _leaf(self, entry: Entry, before: Node | None) -> _Child:
        if entry.open is None:
            return entry.node
        if before is not None and entry.kept is not None and entry.kept(before) and self._has_bytes_of(before):
            self._count_unmodified(before)
            return before
        if before is not None and entry.status is not None and self._unchanged(entry.status, before):
            self._count_unmodified(before)
            if self._parent is not None and self._parent.alike and _describes(entry.status, before):
                return before  # the same ctime: nothing else of it changed either
            entry.node.content = before.content
            return entry.node
        if before is None:
            self._stats.files_new += 1
        else:
            self._stats.files_changed += 1
        return self._reading.add_last(entry) if entry.last else self._reading.add(entry)

    def _count_unmodified(self, before: Node) -> None:
        self._stats.files_unmodified += 1
        self._stats.source_bytes += before.size
        self._progress.advance(bytes_done=before.size, files_done=1)

    def _has_bytes_of(self, before: Node) -> bool:
        """Whether the parent's node is a file of which every blob is in the index."""
        return self._parent is not None and before.content is not None and all(map(self._parent.known, before.content))

    def _parent_nodes(self, tree: str | None) -> list[Node] | None:
        if self._parent is None or tree is None:
            return None
        try:
            return self._parent.read_tree(tree)
        except DamageError as error:
            self._problems.append(
                f"a directory of the last snapshot cannot be read, so all in it is read anew: {error.message}"
            )
            return None

    def _unchanged(self, now: Status, before: Node) -> bool:
        """The rule of `DESIGN.md`, "Unchanged files": anything odd means that the file is read."""
        parent = self._parent
        if parent is None or before.type != "file":
            return False
        if now.st_size != before.size or now.st_ino != before.inode:
            return False
        if now.st_ctime_ns > parent.newest or now.st_mtime_ns > parent.newest:
            return False
        if not (_same_time(now.ctime, before.ctime) and _same_time(now.mtime, before.mtime)):
            return False
        return self._has_bytes_of(before)

    def _close_folders(self, allowed: int) -> None:
        """Make the trees of the directories that have waited longest, until at most `allowed` nodes wait."""
        while self._waiting and (self._waiting_nodes > allowed or allowed == 0):
            folder = self._waiting.popleft()
            self._waiting_nodes -= len(folder.children)
            self._close(folder)

    def _close(self, folder: _Folder) -> None:
        if any(isinstance(child, Pending) and not child.sent for child in folder.children):
            self._reading.flush()
        nodes = [node for child in folder.children if (node := _finished(child)) is not None]
        folder.children.clear()
        if not folder.ordered:
            nodes.sort(key=lambda node: name_bytes(node.name))
        if nodes == folder.nodes_before:
            folder.tree = folder.tree_before
        else:
            plaintext = encode_tree(nodes)
            folder.tree = blob_id(plaintext).hex()
            self._trees.append(self._sink.store(BlobKind.TREE, [plaintext]))
        folder.nodes_before = None  # the folder above keeps this one until it is closed itself
        while self._trees and self._trees[0].done():
            self._trees.popleft().result()
        if folder.before is None:
            self._stats.dirs_new += 1
        elif folder.before.subtree == folder.tree:
            self._stats.dirs_unmodified += 1
        else:
            self._stats.dirs_changed += 1


def _finished(child: _Child) -> Node | None:
    if isinstance(child, Node):
        return child
    if isinstance(child, _Folder):
        child.node.subtree = child.tree  # children are closed before their parents: the queue is in post-order
        return child.node
    return child.finished()


def _same_time(now: str, before: str) -> bool:
    """Compare two times; other clients may write the same one with a zone, or with zeros at its end."""
    try:
        return now == before or nanoseconds(now) == nanoseconds(before)
    except ValueError:  # the parent's time is none: the file is read
        return False


def _describes(now: Status, before: Node) -> bool:
    """Whether the parent's node of an unchanged file says what a new one would."""
    return before.uid == now.st_uid and before.gid == now.st_gid and before.device_id == now.st_dev
