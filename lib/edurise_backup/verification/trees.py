"""Look at every tree once: whether what the nodes say can be restored (SCENARIOS S-24)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.content import BlobId, BlobKind, Node, name_bytes
from edurise_backup.ports import Progress
from edurise_backup.repository.repository import Repository

_TYPES = frozenset({"file", "dir", "symlink", "dev", "chardev", "fifo", "socket", "irregular"})
"""What restic's `internal/data/node.go` writes."""


class UsedBlobs:
    """The blobs that some snapshots need, and the packs that these lie in."""

    def __init__(self) -> None:
        self._ids: tuple[set[bytes], set[bytes]] = (set(), set())
        self.packs: set[str] = set()

    def __len__(self) -> int:
        return len(self._ids[0]) + len(self._ids[1])

    def add(self, kind: BlobKind, blob_id: BlobId, pack: str) -> None:
        """Take a blob in that is read from `pack`."""
        self._ids[kind].add(blob_id)
        self.packs.add(pack)


@dataclass(slots=True)
class TreeCheck:
    """Walks the trees of snapshots; one that was seen under another snapshot is not looked at again."""

    repository: Repository
    progress: Progress
    used: UsedBlobs | None = None
    """Filled when given: a check of everything needs no list of all blobs."""
    findings: list[str] = field(default_factory=list)
    flawed: set[BlobId] = field(default_factory=set)
    """Trees that can be read, with nodes that cannot be restored as they are."""
    seen: set[BlobId] = field(default_factory=set)
    """Trees that are not looked at again."""

    def walk(self, tree: str, where: str) -> None:
        """Look at a tree and all below it; `where` names the snapshot in findings."""
        stack = [(tree, where)]
        while stack:
            tree, where = stack.pop()
            blob = BlobId(bytes.fromhex(tree))
            if blob in self.seen:
                continue
            self.progress.raise_if_cancelled()
            self.seen.add(blob)
            try:
                nodes = self.repository.read_tree_once(tree)
            except (DamageError, NotFoundError) as error:
                self.findings.append(f"{where}: tree {tree[:8]}: {error.message}")
                continue
            self._note(BlobKind.TREE, blob)
            self._look(blob, nodes, where)
            stack += [(node.subtree, f"{where}/{node.name}") for node in nodes if node.type == "dir" and node.subtree]

    def _look(self, tree: BlobId, nodes: list[Node], where: str) -> None:
        flaws = list(_order(nodes, where))
        for node in nodes:
            path = f"{where}/{node.name}"
            flaws += [f"{path}: {flaw}" for flaw in _flaws(node)]
            if node.type == "file" and node.content is not None:
                flaws += [f"{path}: {flaw}" for flaw in self._size_flaws(node, path)]
        if flaws:
            self.findings += flaws
            self.flawed.add(tree)

    def _size_flaws(self, node: Node, path: str) -> Iterator[str]:
        """Yield what is wrong with a file's size; a blob that is missing is a finding, but no flaw of the tree."""
        size = 0
        missing = []
        for name in node.content or ():
            blob_id = BlobId(bytes.fromhex(name))
            place = self.repository.index.find(BlobKind.DATA, blob_id)
            if place is None:
                missing.append(name[:8])
            else:
                size += place.plain_length
                self._note(BlobKind.DATA, blob_id, place.pack)
        if missing:
            more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
            self.findings.append(f"{path}: blob {missing[0]} is in no index{more}")
        elif size != node.size:
            yield f"has {node.size} bytes, its blobs have {size}"

    def _note(self, kind: BlobKind, blob_id: BlobId, pack: str | None = None) -> None:
        if self.used is None:
            return
        if pack is None:
            place = self.repository.index.find(kind, blob_id)
            pack = None if place is None else place.pack
        if pack is not None:
            self.used.add(kind, blob_id, pack)


def _order(nodes: list[Node], where: str) -> Iterator[str]:
    """Yield the first name that is not behind the one before it; `decode_tree` has refused duplicates."""
    last = b""
    for node in nodes:
        name = name_bytes(node.name)
        if name <= last:
            yield f"{where}/{node.name}: comes behind a later name, so that clients that search do not find it"
            return
        last = name


def _flaws(node: Node) -> Iterator[str]:
    """Yield why a node cannot be restored as it is; a phrase each."""
    if node.type not in _TYPES:
        yield f"is of the unknown type {node.type!r}"
    if node.type == "dir" and node.subtree is None:
        yield "a directory without a tree"
    if node.type != "dir" and node.subtree is not None:
        yield f"a {node.type} with a tree, which nobody restores"
    if node.type == "file" and node.content is None:
        yield "a file without content"
    if node.type != "file" and node.content:
        yield f"a {node.type} with the content of a file, which nobody restores"
    if node.type == "symlink" and (_target(node) == b"" or b"\0" in _target(node)):
        yield "a link whose target is impossible"
    if node.type != "symlink" and (node.linktarget or node.linktarget_raw):
        yield f"a {node.type} with the target of a link"


def _target(node: Node) -> bytes:
    return node.linktarget_raw if node.linktarget_raw is not None else name_bytes(node.linktarget)
