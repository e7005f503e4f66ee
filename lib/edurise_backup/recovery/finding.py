"""Find paths across snapshots, identical versions of a path collapsed into one row.

The snapshots are walked together: of each directory every distinct tree is read
once, however many snapshots share it. Which snapshots have a version is one
number, a bit for each of them, so memory grows with the depth, not with their count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.content import Node, name_bytes, nanoseconds
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.ports import Progress
from edurise_backup.repository.repository import Repository
from edurise_backup.sources.patterns import matcher


@dataclass(frozen=True, slots=True)
class Version:
    """A path as one or more snapshots have it: equal in type, content, owner, mode, mtime and attributes."""

    path: str
    node: Node
    first: SnapshotId
    """The oldest snapshot that has it."""
    last: SnapshotId
    snapshots: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for: patterns as of `--exclude`, and bounds of the mtime, nanoseconds since 1970."""

    patterns: Sequence[str]
    oldest: int | None = None
    newest: int | None = None


@dataclass(frozen=True, slots=True)
class _Folder:
    """A directory of several snapshots: each tree that it has, with the bits of the snapshots that have it so."""

    path: str
    trees: dict[str, int]


class Search:
    """Looks for paths in `snapshots` (oldest first); the index must be loaded. `problems` tells what was not read."""

    def __init__(
        self, repository: Repository, snapshots: Mapping[SnapshotId, Snapshot], wanted: Wanted, *, progress: Progress
    ) -> None:
        self.problems: list[str] = []
        self._repository = repository
        self._ids = list(snapshots)
        self._wanted = wanted
        self._progress = progress
        self._matches = matcher(wanted.patterns)
        self._anchors = [_anchor(pattern) for pattern in wanted.patterns]
        self._top = _Folder("", {})
        for number, snapshot in enumerate(snapshots.values()):
            self._top.trees[snapshot.tree] = self._top.trees.get(snapshot.tree, 0) | 1 << number

    def versions(self) -> Iterator[Version]:
        """Yield every version of every path that matches: by path, the oldest version first."""
        levels = [self._walk(self._top)]
        while levels:
            found = next(levels[-1], None)
            if found is None:
                levels.pop()
            elif isinstance(found, Version):
                yield found
            else:
                levels.append(self._walk(found))

    def _walk(self, folder: _Folder) -> Iterator[Version | _Folder]:
        names: dict[str, list[tuple[Node, int]]] = {}
        for tree, bits in folder.trees.items():
            for node in self._nodes(folder.path, tree):
                names.setdefault(node.name, []).append((node, bits))
        for name in sorted(names, key=name_bytes):
            path = f"{folder.path}/{name}"
            if self._matches(path):
                yield from self._collapsed(path, names[name])
            below: dict[str, int] = {}
            for node, bits in names.pop(name):
                if node.subtree is not None:
                    below[node.subtree] = below.get(node.subtree, 0) | bits
            if below and self._may_hold(path):
                yield _Folder(path, below)

    def _nodes(self, path: str, tree: str) -> list[Node]:
        self._progress.raise_if_cancelled()
        try:
            return self._repository.read_tree(tree)
        except (DamageError, NotFoundError) as error:
            self.problems.append(f"{path or '/'} of some snapshots cannot be read: {error.message}")
            return []

    def _collapsed(self, path: str, nodes: list[tuple[Node, int]]) -> Iterator[Version]:
        versions: dict[tuple[object, ...], tuple[Node, int]] = {}
        for node, bits in nodes:
            if self._in_time(node):
                key = _identity(node)
                first, before = versions.get(key, (node, 0))
                versions[key] = (first, before | bits)
        for node, bits in sorted(versions.values(), key=lambda item: item[1] & -item[1]):  # the lowest bit
            oldest, latest = (bits & -bits).bit_length() - 1, bits.bit_length() - 1
            yield Version(path, node, self._ids[oldest], self._ids[latest], bits.bit_count())

    def _in_time(self, node: Node) -> bool:
        if self._wanted.oldest is None and self._wanted.newest is None:
            return True
        try:
            mtime = nanoseconds(node.mtime)
        except ValueError:  # a time that is none lies within no bounds
            return False
        return (self._wanted.oldest is None or mtime >= self._wanted.oldest) and (
            self._wanted.newest is None or mtime <= self._wanted.newest
        )

    def _may_hold(self, path: str) -> bool:
        """Whether something below `path` can match: patterns from the root name a place to look at."""
        way = tuple(path.split("/")[1:])
        return any(anchor[: len(way)] == way[: len(anchor)] for anchor in self._anchors)


def _anchor(pattern: str) -> tuple[str, ...]:
    """Return the names that every match of a pattern begins with; none for a pattern that matches at any depth."""
    if not pattern.startswith("/"):
        return ()
    names = []
    for name in pattern.strip("/").split("/"):
        if set(name) & set("*?[\\"):
            break
        names.append(name)
    return tuple(names)


def _identity(node: Node) -> tuple[object, ...]:
    return (
        *(node.type, node.size, node.mode, node.mtime, node.uid, node.gid, node.device),
        *(node.linktarget, node.linktarget_raw, tuple(node.extended_attributes)),
        *(node.content or ()),
    )
