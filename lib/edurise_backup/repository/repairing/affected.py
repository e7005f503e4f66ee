"""Which files of which snapshots need blobs that are gone.

Every tree is read once, however many snapshots share it; only those with
something missing are walked again, for each snapshot, to name the paths.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field

from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.content import BlobId, BlobKind, Node
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.ports import Progress
from edurise_backup.repository.index import Index
from edurise_backup.repository.repository import Repository

SHOWN = 1000
"""So many paths are named; the others are only counted."""

Blob = tuple[BlobKind, BlobId]


@dataclass(frozen=True, slots=True)
class AffectedPath:
    """One path of one snapshot that cannot be restored as it was; a directory stands for all below it."""

    snapshot: SnapshotId
    path: str


@dataclass(frozen=True, slots=True)
class Affected:
    """What cannot be restored as it was; without paths nothing is affected."""

    snapshots: tuple[SnapshotId, ...] = ()
    paths: tuple[AffectedPath, ...] = ()
    """The first `SHOWN` of them."""
    count: int = 0
    """Paths in all, counted in each snapshot."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Which blobs can still be read."""

    index: Index
    gone: Container[str] = frozenset()
    """Packs that the index knows and the store does not have."""
    lost: Container[Blob] = frozenset()
    """Blobs that are whole in no pack, as reading them has shown."""
    flawed: Container[BlobId] = frozenset()
    """Trees that can be read but not be restored as they are."""

    def has(self, kind: BlobKind, blob_id: BlobId) -> bool:
        """Whether a blob is whole somewhere, as far as is known."""
        if (kind, blob_id) in self.lost:
            return False
        place = self.index.find(kind, blob_id)
        if place is None:
            return False
        return place.pack not in self.gone or any(
            other.pack not in self.gone for other in self.index.all_places(kind, blob_id)
        )


def find_affected(
    repository: Repository,
    snapshots: Mapping[SnapshotId, Snapshot],
    available: Availability,
    *,
    progress: Progress,
) -> Affected:
    """Return what of the snapshots, oldest first, needs blobs that are not available.

    Trees are read through `available.index`.
    """
    # The trees are read through another index than the repository's own: what it lists may be a plan only.
    reader = Repository(repository.box, repository.config, key_id=repository.key_id)
    reader.index = available.index
    survey = _Survey(reader, available, progress)
    hit = {}
    for snapshot_id, snapshot in sorted(snapshots.items(), key=lambda item: (item[1].nanoseconds, item[0])):
        root = BlobId(bytes.fromhex(snapshot.tree))
        survey.weigh(root)
        if root in survey.counts:
            hit[snapshot_id] = root
    paths: list[AffectedPath] = []
    for snapshot_id, root in hit.items():
        for path in survey.paths(root):
            if len(paths) == SHOWN:
                break
            paths.append(AffectedPath(snapshot_id, path))
    return Affected(tuple(hit), tuple(paths), sum(survey.counts[root] for root in hit.values()))


@dataclass(slots=True)
class _Frame:
    tree: BlobId
    count: int
    below: list[BlobId]
    """Directories that are still to be weighed; those that were are counted."""


@dataclass(slots=True)
class _Survey:
    reader: Repository
    available: Availability
    progress: Progress
    counts: dict[BlobId, int] = field(default_factory=dict)
    """Trees with something missing in or below them: how many paths."""
    clean: set[BlobId] = field(default_factory=set)

    def weigh(self, root: BlobId) -> None:
        """Count what is missing in and below a tree, unless that was done already."""
        stack: list[_Frame] = []
        if not self._known(root):
            stack.append(self._frame(root))
        while stack:
            frame = stack[-1]
            if not frame.below:
                stack.pop()
                self._close(frame, stack)
            elif self._known(frame.below[-1]):
                frame.count += self.counts.get(frame.below.pop(), 0)
            else:
                stack.append(self._frame(frame.below[-1]))

    def paths(self, root: BlobId) -> Iterator[str]:
        """Yield what is missing in and below a tree that was weighed."""
        stack = [(root, "")]
        while stack:
            tree, where = stack.pop()
            nodes = self._nodes(tree)
            if nodes is None or tree in self.available.flawed:
                yield where or "/"
            for node in nodes or []:
                path = f"{where}/{node.name}"
                below = _below(node)
                if below is not None and below in self.counts:
                    stack.append((below, path))
                elif self._file_lacks(node):
                    yield path

    def _known(self, tree: BlobId) -> bool:
        return tree in self.clean or tree in self.counts

    def _close(self, frame: _Frame, stack: list[_Frame]) -> None:
        if frame.count:
            self.counts[frame.tree] = frame.count
        else:
            self.clean.add(frame.tree)

    def _frame(self, tree: BlobId) -> _Frame:
        self.progress.raise_if_cancelled()
        nodes = self._nodes(tree)
        if nodes is None:
            return _Frame(tree, 1, [])
        count = (tree in self.available.flawed) + sum(map(self._file_lacks, nodes))
        return _Frame(tree, count, [below for node in nodes if (below := _below(node)) is not None])

    def _nodes(self, tree: BlobId) -> list[Node] | None:
        if not self.available.has(BlobKind.TREE, tree):
            return None
        try:
            return self.reader.read_tree(tree.hex())
        except (DamageError, NotFoundError):
            return None

    def _file_lacks(self, node: Node) -> bool:
        return node.type == "file" and not all(
            self.available.has(BlobKind.DATA, BlobId(bytes.fromhex(name))) for name in node.content or ()
        )


def _below(node: Node) -> BlobId | None:
    if node.type != "dir" or node.subtree is None:
        return None
    return BlobId(bytes.fromhex(node.subtree))
