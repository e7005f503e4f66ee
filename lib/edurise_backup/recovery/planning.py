"""Decide what a restore of files will do, before a byte is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edurise_backup.errors import DamageError
from edurise_backup.model.content import BlobId, BlobKind, Node, zeros_id

if TYPE_CHECKING:  # processes that write files start without a repository
    from edurise_backup.repository.index import Place
    from edurise_backup.repository.repository import Repository

_ALONE_BYTES, _ALONE_FILES = 64 * 1024 * 1024, 1000
"""A smaller restore is done before other processes would have started."""

Names = tuple[str, ...]
"""A path below the target as its names; empty: the target itself."""


@dataclass(slots=True)
class PlannedFile:
    """A regular file to be written; `links` are further names of the same file."""

    names: Names
    node: Node
    links: list[Names] = field(default_factory=list)
    dense: bool = True
    """Whether no blob of it is nothing but zeros."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file that one blob brings."""

    file: PlannedFile
    offset: int


@dataclass(slots=True)
class WantedBlob:
    """A blob to be read once, and all places that it goes to."""

    id: BlobId
    place: Place
    pieces: list[Piece] = field(default_factory=list)


@dataclass(slots=True)
class RestorePlan:
    """What will be made: directories from the top down, files, all else; and which packs are read for it."""

    folders: list[tuple[Names, Node]] = field(default_factory=list)
    files: list[PlannedFile] = field(default_factory=list)
    others: list[tuple[Names, Node]] = field(default_factory=list)
    packs: dict[str, list[WantedBlob]] = field(default_factory=dict)
    bytes: int = 0
    """What the files hold."""
    above: frozenset[Names] = frozenset()
    """Directories that only lead to what was backed up, such as `/home`: their owner is of no concern."""
    leading: set[Names] = field(default_factory=set)
    """Directories that only lead to what was selected: they are no part of it."""
    room: int = 0
    """What they take on the disk: blobs of zeros stay holes."""

    @property
    def large(self) -> bool:
        """Whether processes of its own are worth their start."""
        return self.bytes >= _ALONE_BYTES or len(self.files) >= _ALONE_FILES

    def add_blob(self, blob: WantedBlob) -> None:
        """Have a blob read with the others of its pack."""
        self.packs.setdefault(blob.place.pack, []).append(blob)


@dataclass(frozen=True, slots=True)
class Selection:
    """Chooses what is restored, by paths in the snapshot; what is below a wanted directory is wanted, too."""

    wanted: Callable[[str], bool] = lambda _path: True
    unwanted: Callable[[str], bool] = lambda _path: False
    leading: Callable[[str], bool] = lambda _path: True
    """Whether something below a directory may be wanted; others are not looked into."""


EVERYTHING = Selection()


def plan_restore(
    repository: Repository,
    tree: str,
    *,
    select: Selection = EVERYTHING,
    paths: Iterable[str] = (),
    when_large: Callable[[], None] = lambda: None,
) -> RestorePlan:
    """Walk the tree and say what restoring it takes; raises DamageError when a tree or blob is missing.

    `paths` are the snapshot's: what was backed up, below directories that only lead there. `when_large` is called
    once, as soon as it is known that the plan will be.
    """
    plan = _Planner(repository, select, when_large).plan(tree)
    ways = [tuple(filter(None, path.split("/"))) for path in paths]
    plan.above = frozenset(way[:length] for way in ways for length in range(len(way)))
    return plan


@dataclass(slots=True)
class _Level:
    """A directory that the walk is in; `unplanned` until something in it is wanted."""

    names: Names
    nodes: Iterator[Node]
    wanted: bool
    unplanned: Node | None


class _Planner:
    def __init__(self, repository: Repository, select: Selection, when_large: Callable[[], None]) -> None:
        self._repository = repository
        self._select = select
        self._when_large: Callable[[], None] | None = when_large
        self._plan = RestorePlan()
        self._wanted: dict[str, WantedBlob] = {}
        self._linked: dict[tuple[int, int], PlannedFile] = {}

    def plan(self, tree: str) -> RestorePlan:
        self._walk(tree)
        for blob in self._wanted.values():
            self._plan.add_blob(blob)
        for blobs in self._plan.packs.values():
            blobs.sort(key=lambda blob: blob.place.offset)
        return self._plan

    def _walk(self, tree: str) -> None:
        """Plan what is wanted, and the directories above it. No recursion: a tree may be very deep."""
        whole = self._select.wanted("")
        if not whole:
            self._plan.leading.add(())
        levels = [_Level((), iter(self._repository.read_tree(tree)), whole, unplanned=None)]
        while levels:
            level = levels[-1]
            node = next(level.nodes, None)
            if node is None:
                levels.pop()
                continue
            path = (*level.names, node.name)
            chosen = self._select is EVERYTHING
            if not chosen:
                text = "/" + "/".join(path)
                if self._select.unwanted(text):
                    continue
                chosen = level.wanted or self._select.wanted(text)
                if node.type == "dir" and not chosen and not self._select.leading(text):
                    continue
            if node.type == "dir":
                below = self._repository.read_tree(node.subtree) if node.subtree is not None else []
                levels.append(_Level(path, iter(below), chosen, node))
            if chosen:
                self._plan_folders(levels)
                if node.type != "dir":
                    self._take(path, node)

    def _plan_folders(self, levels: list[_Level]) -> None:
        first = len(levels)
        while levels[first - 1].unplanned is not None:  # the top level is the target itself, and planned
            first -= 1
        for level in levels[first:]:
            assert level.unplanned is not None
            self._plan.folders.append((level.names, level.unplanned))
            if not level.wanted:
                self._plan.leading.add(level.names)
            level.unplanned = None

    def _take(self, names: Names, node: Node) -> None:
        if node.type != "file":
            self._plan.others.append((names, node))
            return
        if node.links > 1:
            first = self._linked.get((node.device_id, node.inode))
            if first is not None and first.node.content == node.content:
                first.links.append(names)
                return
        file = PlannedFile(names, node)
        if node.links > 1:
            self._linked[node.device_id, node.inode] = file
        self._plan.files.append(file)
        self._plan.bytes += node.size
        self._plan_content(file)
        if self._when_large is not None and self._plan.large:
            self._when_large()
            self._when_large = None

    def _plan_content(self, file: PlannedFile) -> None:
        offset = 0
        for name in file.node.content or ():
            blob = self._wanted.get(name) or self._want(name, file)
            blob.pieces.append(Piece(file, offset))
            offset += blob.place.plain_length
            if all_zeros(blob.id, blob.place):
                file.dense = False
            else:
                self._plan.room += blob.place.plain_length
        if offset != file.node.size:
            raise DamageError(
                f"/{'/'.join(file.names)} has {file.node.size} bytes, its blobs have {offset}", hint="run `check`"
            )

    def _want(self, name: str, file: PlannedFile) -> WantedBlob:
        blob_id = BlobId(bytes.fromhex(name))
        place = self._repository.index.find(BlobKind.DATA, blob_id)
        if place is None:
            raise _unknown(name, "/" + "/".join(file.names))
        blob = self._wanted[name] = WantedBlob(blob_id, place)
        return blob


def all_zeros(blob_id: BlobId, place: Place) -> bool:
    """Whether a blob is nothing but zeros: in a file it is a hole."""
    length = place.raw_length
    if not length or place.length > length // 1000 + 100:
        return False  # zeros shrink to next to nothing: only what did is worth a look
    return blob_id == zeros_id(length)


def blob_lengths(repository: Repository, node: Node) -> Iterator[tuple[BlobId, int]]:
    """Yield (id, plaintext bytes) of a file's blobs in order; raises DamageError for one in no index."""
    for name in node.content or ():
        blob_id = BlobId(bytes.fromhex(name))
        place = repository.index.find(BlobKind.DATA, blob_id)
        if place is None:
            raise _unknown(name, node.name)
        yield blob_id, place.plain_length


def _unknown(blob: str, path: str) -> DamageError:
    return DamageError(
        f"blob {blob} of {path} is in no index",
        safe="nothing was written; other files and snapshots are not affected",
        hint="run `check`; another snapshot, or a copy of the repository, may have the file",
    )


def walk_files(
    repository: Repository, tree: str, *, select: Callable[[str], bool] | None = None
) -> Iterator[tuple[str, Node]]:
    """Yield (path in the snapshot, node) of everything, directories before what they hold."""
    return walk_nodes(repository, "", repository.read_tree(tree), select=select)


def walk_nodes(
    repository: Repository, folder: str, nodes: Iterable[Node], *, select: Callable[[str], bool] | None = None
) -> Iterator[tuple[str, Node]]:
    """Yield the same of some nodes of a folder (its path, empty for `/`) and of all that is below them."""
    levels = [(folder, iter(nodes))]
    while levels:
        prefix, nodes = levels[-1]
        node = next(nodes, None)
        if node is None:
            levels.pop()
            continue
        path = f"{prefix}/{node.name}"
        if select is None or select(path):
            yield path, node
        if node.type == "dir" and node.subtree is not None:
            levels.append((path, iter(repository.read_tree(node.subtree))))
