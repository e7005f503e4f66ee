"""Read trees: those read last are remembered, and neighbours in a pack are read together.

A backup, a check or a plan for a restore reads thousands of small trees that
lie side by side; a person who looks for one file reads a few.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.content import BlobId, BlobKind, Node, decode_tree
from edurise_backup.pipeline.codec import open_blob
from edurise_backup.repository.index import Index
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.objects import ObjectBox

_REMEMBERED_NODES = 50_000
_FEW = 16
"""So many trees are read one by one, and no byte beside them."""
_BLOCK = 1024 * 1024
_BLOCKS = 8


class Trees:
    """The trees of one repository; safe from any number of threads."""

    def __init__(self, box: ObjectBox, read_blob: Callable[[BlobKind, BlobId], bytes]) -> None:
        """`read_blob` finds a tree whose first copy is damaged, or says what is wrong."""
        self._box = box
        self._read_blob = read_blob
        self._guard = threading.Lock()
        self._index: Index | None = None
        """What all that is remembered was read by: another index may know that a pack has gone."""
        self._nodes: dict[BlobId, list[Node]] = {}
        self._count = 0
        self._reads = 0
        self._blocks: deque[tuple[str, int, bytes]] = deque(maxlen=_BLOCKS)
        """(pack, offset, bytes)"""

    def read(self, index: Index, blob: BlobId, *, remember: bool = True) -> list[Node]:
        """Return a tree's nodes; raises DamageError."""
        if index is not self._index:
            with self._guard:
                self._index, self._nodes, self._count = index, {}, 0
                self._blocks.clear()
        nodes = self._nodes.get(blob)
        if nodes is None:
            nodes = decode_tree(self._plaintext(index, blob))
            if remember:
                with self._guard:
                    self._remember(blob, nodes)
        return nodes

    def _remember(self, blob: BlobId, nodes: list[Node]) -> None:
        if blob in self._nodes or len(nodes) > _REMEMBERED_NODES // 2:
            return
        self._nodes[blob] = nodes
        self._count += len(nodes)
        while self._count > _REMEMBERED_NODES:
            self._count -= len(self._nodes.pop(next(iter(self._nodes))))

    def _plaintext(self, index: Index, blob: BlobId) -> bytes:
        number = index.number(BlobKind.TREE, blob)
        self._reads += 1
        if number is None or self._reads <= _FEW:
            return self._read_blob(BlobKind.TREE, blob)
        place = index.place(number)
        try:
            sealed = self._sealed(place.pack, place.offset, place.length, index.pack_size(index.pack_of(number)))
            return open_blob(self._box.key, sealed, wanted=blob, raw_length=place.raw_length)
        except (DamageError, NotFoundError):
            return self._read_blob(BlobKind.TREE, blob)

    def _sealed(self, pack: str, offset: int, length: int, size: int) -> memoryview:
        with self._guard:
            blocks = list(self._blocks)
        for its_pack, start, content in blocks:
            if its_pack == pack and start <= offset and offset + length <= start + len(content):
                return memoryview(content)[offset - start : offset - start + length]
        start = max(0, offset - _BLOCK // 2)  # a directory lies behind what it holds
        end = max(offset + length, min(size, start + _BLOCK))
        content = self._box.store.get(object_name(Kind.PACK, pack), offset=start, length=end - start)
        with self._guard:
            self._blocks.append((pack, start, content))
        return memoryview(content)[offset - start : offset - start + length]
