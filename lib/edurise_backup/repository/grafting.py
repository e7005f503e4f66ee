"""Change a few names of a large tree: only the directories on the way to them are read and written again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future

import msgspec

from edurise_backup.model.content import BlobId, BlobKind, Node, blob_id, encode_tree, name_bytes
from edurise_backup.ports import BlobSink

Names = tuple[str, ...]
Change = Mapping[Names, Node | None]
"""What a path becomes: a node in that directory, or nothing."""


def graft(
    sink: BlobSink,
    read_tree: Callable[[str], list[Node]],
    tree: str | None,
    change: Change,
    *,
    folder: Callable[[str], Node],
) -> str:
    """Return the tree (hex id) that `tree` (None: an empty one) becomes; its new parts are with the sink.

    `folder` makes the node of a directory that is missing on the way. A
    directory in which nothing is left goes, too. Raises DamageError.
    """
    return _Graft(sink, read_tree, folder).run(tree, change)


class _Graft:
    def __init__(self, sink: BlobSink, read_tree: Callable[[str], list[Node]], folder: Callable[[str], Node]) -> None:
        self._sink = sink
        self._read = read_tree
        self._folder = folder
        self._stored: list[Future[list[BlobId]]] = []

    def run(self, tree: str | None, change: Change) -> str:
        found, _ = self._changed(tree, change)
        for stored in self._stored:
            stored.result()
        return found

    def _changed(self, tree: str | None, change: Change) -> tuple[str, bool]:
        """Return the changed tree, and whether anything is in it."""
        nodes = {node.name: node for node in (self._read(tree) if tree else ())}
        below: dict[str, dict[Names, Node | None]] = {}
        for names, node in change.items():
            if len(names) > 1:
                below.setdefault(names[0], {})[names[1:]] = node
            elif node is None:
                nodes.pop(names[0], None)
            else:
                nodes[names[0]] = node
        for name, inner in below.items():
            self._change_folder(nodes, name, inner)
        plaintext = encode_tree(sorted(nodes.values(), key=lambda node: name_bytes(node.name)))
        self._stored.append(self._sink.store(BlobKind.TREE, [plaintext]))
        return blob_id(plaintext).hex(), bool(nodes)

    def _change_folder(self, nodes: dict[str, Node], name: str, change: Change) -> None:
        before = nodes.get(name)
        if before is None and not any(change.values()):
            return
        subtree, filled = self._changed(before.subtree if before else None, change)
        if not filled:
            nodes.pop(name, None)
            return
        # a new node: what was read of the tree before is remembered, and stays as it is
        nodes[name] = msgspec.structs.replace(before or self._folder(name), subtree=subtree)
