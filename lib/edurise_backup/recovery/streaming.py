"""Single files of a snapshot as streams of proved bytes; nothing of them touches a disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from edurise_backup.errors import NotFoundError
from edurise_backup.model.content import BlobKind, Node
from edurise_backup.recovery.planning import blob_lengths
from edurise_backup.repository.repository import Repository

_AHEAD = 4
"""Blobs that are read and decoded before they are asked for."""


class SnapshotFiles:
    """The files of one tree, by absolute path."""

    def __init__(self, repository: Repository, tree: str) -> None:
        self._repository = repository
        self._tree = tree

    def open(self, path: str) -> Iterator[bytes]:
        """Yield the file's bytes, a blob at a time; raises NotFoundError, DamageError."""
        node = self._find(path)
        if node.type != "file":
            raise NotFoundError(f"{path} is not a file in the snapshot")
        blobs = [blob_id for blob_id, _ in blob_lengths(self._repository, node)]
        with ThreadPoolExecutor(2, thread_name_prefix="stream") as pool:
            ahead: deque[Future[bytes]] = deque()
            for blob_id in blobs:
                ahead.append(pool.submit(self._repository.read_blob, BlobKind.DATA, blob_id))
                if len(ahead) > _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def read(self, path: str) -> bytes:
        """Return a whole small file."""
        return b"".join(self.open(path))

    def names(self, path: str) -> list[str]:
        """Return the names of the folders in a folder."""
        node = self._find(path)
        return [child.name for child in self._repository.read_tree(node.subtree or "") if child.type == "dir"]

    def _find(self, path: str) -> Node:
        tree: str | None = self._tree
        found: Node | None = None
        for name in path.strip("/").split("/"):
            nodes = self._repository.read_tree(tree) if tree else []
            found = next((node for node in nodes if node.name == name), None)
            if found is None:
                raise NotFoundError(f"the snapshot has no {path}", hint="`edurise-backup repo ls` lists what it has")
            tree = found.subtree
        assert found is not None
        return found
