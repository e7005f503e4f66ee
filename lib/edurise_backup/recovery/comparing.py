"""Compare two trees: what was added, removed or changed, and how many bytes that is.

Directories with the same tree id are equal in all they hold, and are not read.
The marks and the summary are stock restic's (`cmd/restic/cmd_diff.go`), with two
things more: a link that points elsewhere is modified (M), and what lies below a
directory that became something else, or the other way round, is listed, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.content import BlobId, BlobKind, Node, name_bytes
from edurise_backup.ports import Progress
from edurise_backup.repository.repository import Repository

ADDED, REMOVED, MODIFIED, RETYPED, METADATA = "+", "-", "M", "T", "U"

Blob = tuple[BlobKind, BlobId]


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs; `mark` is `+`, `-`, or of `M` (content), `T` (type), `U` (metadata).

    `M?` says that nothing but the content differs: perhaps the disk changed the file, not a person.
    """

    path: str
    mark: str
    before: Node | None
    after: Node | None


@dataclass(slots=True)
class Count:
    """What is on one side only; `bytes` of blobs before compression."""

    files: int = 0
    dirs: int = 0
    others: int = 0
    data_blobs: int = 0
    tree_blobs: int = 0
    bytes: int = 0

    def add(self, node: Node) -> None:
        """Count a node by its type."""
        self.files += node.type == "file"
        self.dirs += node.type == "dir"
        self.others += node.type not in ("file", "dir")


@dataclass(slots=True)
class Summary:
    """What two trees differ in; complete once all changes were asked for."""

    changed_files: int = 0
    added: Count = field(default_factory=Count)
    removed: Count = field(default_factory=Count)
    problems: list[str] = field(default_factory=list)
    """Directories that could not be read, a sentence each."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """A directory to compare, by the trees that it has before and after; None: it is not there."""

    path: str
    before: str | None
    after: str | None


class Comparison:
    """Compares the trees `before` and `after`; the index must be loaded.

    `metadata` lists paths of which only owner, mode, times or attributes differ.
    `exact` reads equal directories, too: their blobs then count neither as added
    nor as removed, as with stock restic. Otherwise what is stored once for both a
    changed and an equal directory counts.
    """

    def __init__(
        self,
        repository: Repository,
        before: str,
        after: str,
        *,
        progress: Progress,
        metadata: bool = False,
        exact: bool = False,
    ) -> None:
        self.summary = Summary()
        self._repository = repository
        self._top = _Pair("", before, after)
        self._progress = progress
        self._metadata = metadata
        self._exact = exact
        self._before: set[Blob] = set()
        self._after: set[Blob] = set()
        self._equal: set[str] = set()

    def changes(self) -> Iterator[Change]:
        """Yield every change, depth first in the order of names; ask once. No recursion: trees may be very deep."""
        if self._top.before != self._top.after:
            levels = [self._compare(self._top)]
            while levels:
                found = next(levels[-1], None)
                if found is None:
                    levels.pop()
                elif isinstance(found, Change):
                    yield found
                else:
                    levels.append(self._compare(found))
            self._count_blobs()

    def _compare(self, pair: _Pair) -> Iterator[Change | _Pair]:
        self._progress.raise_if_cancelled()
        before = self._nodes(pair, pair.before, self._before)
        after = self._nodes(pair, pair.after, self._after)
        if before is None or after is None:
            return  # what cannot be read is a problem of the result, not a difference
        for name in sorted(before.keys() | after.keys(), key=name_bytes):
            yield from self._one(f"{pair.path}/{name}", before.get(name), after.get(name))

    def _nodes(self, pair: _Pair, tree: str | None, blobs: set[Blob]) -> dict[str, Node] | None:
        if tree is None:
            return {}
        blobs.add((BlobKind.TREE, BlobId(bytes.fromhex(tree))))
        try:
            nodes = self._repository.read_tree(tree)
        except (DamageError, NotFoundError) as error:
            self.summary.problems.append(f"{pair.path or '/'} cannot be compared: {error.message}")
            return None
        for node in nodes:
            blobs.update((BlobKind.DATA, BlobId(bytes.fromhex(name))) for name in node.content or ())
        return {node.name: node for node in nodes}

    def _one(self, path: str, before: Node | None, after: Node | None) -> Iterator[Change | _Pair]:
        shown = f"{path}/" if (after or before or _NOTHING).type == "dir" else path
        mark = self._mark(before, after)
        if mark:
            yield Change(shown, mark, before, after)
        if before is not None and after is None:
            self.summary.removed.add(before)
        elif after is not None and before is None:
            self.summary.added.add(after)
        trees = (before.subtree if before else None, after.subtree if after else None)
        if trees[0] != trees[1]:
            yield _Pair(path, *trees)
        elif trees[0] is not None and self._exact:
            self._equal.add(trees[0])

    def _mark(self, before: Node | None, after: Node | None) -> str:
        if before is None:
            return ADDED
        if after is None:
            return REMOVED
        if before.type != after.type:
            return RETYPED
        if _content(before) != _content(after):
            self.summary.changed_files += after.type == "file"
            rotten = after.type == "file" and _metadata(before) == _metadata(after)
            return f"{MODIFIED}?" if rotten else MODIFIED
        return METADATA if self._metadata and _metadata(before) != _metadata(after) else ""

    def _count_blobs(self) -> None:
        common = self._before & self._after
        if self._exact:
            common |= self._blobs_of_equal()
        for blobs, count in ((self._before - common, self.summary.removed), (self._after - common, self.summary.added)):
            for blob in blobs:
                place = self._repository.index.find(*blob)
                count.data_blobs += blob[0] is BlobKind.DATA
                count.tree_blobs += blob[0] is BlobKind.TREE
                count.bytes += place.plain_length if place is not None else 0

    def _blobs_of_equal(self) -> set[Blob]:
        found: set[Blob] = set()
        stack = list(self._equal)
        while stack:
            tree = stack.pop()
            blob = (BlobKind.TREE, BlobId(bytes.fromhex(tree)))
            if blob in found:
                continue
            found.add(blob)
            self._progress.raise_if_cancelled()
            for node in self._repository.read_tree(tree):
                found.update((BlobKind.DATA, BlobId(bytes.fromhex(name))) for name in node.content or ())
                if node.subtree is not None:
                    stack.append(node.subtree)
        return found


_NOTHING = Node(name="", type="", mtime="", atime="", ctime="", uid=0, gid=0, content=None)


def _content(node: Node) -> tuple[object, ...]:
    return node.content, node.size if node.type == "file" else 0, node.linktarget, node.linktarget_raw, node.device


def _metadata(node: Node) -> Node:
    """Return the node without what it holds."""
    return msgspec.structs.replace(
        node, content=None, size=0, linktarget="", linktarget_raw=None, device=0, subtree=None
    )
