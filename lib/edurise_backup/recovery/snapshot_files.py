"""Snapshots as a tree of files that is read piece by piece: what a mounted repository shows.

`ids/ID` holds each snapshot; `snapshots/TIME` and `hosts/HOST/TIME` are links to
it, and `latest` in both is the newest. Only the trees and blobs that somebody
asks for are read; caches of bounded size keep the last ones.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from edurise_backup.errors import DamageError
from edurise_backup.model.content import GO_DIR, BlobId, BlobKind, Node
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.recovery.planning import blob_lengths
from edurise_backup.repository.repository import Repository

_FOLDER_NODES = 200_000
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class _Recent(Generic[Key, Value]):
    """Keeps the values that were used last, up to a weight in all; safe for any number of threads."""

    def __init__(self, limit: int, weigh: Callable[[Value], int]) -> None:
        self._limit = limit
        self._weigh = weigh
        self._weight = 0
        self._kept: OrderedDict[Key, Value] = OrderedDict()
        self._guard = threading.Lock()

    def get(self, key: Key, load: Callable[[], Value]) -> Value:
        """Return the value; `load` brings one that is not kept, perhaps in two threads at once."""
        with self._guard:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = load()
        with self._guard:
            if key not in self._kept:
                self._kept[key] = value
                self._weight += self._weigh(value)
            while self._weight > self._limit and self._kept:
                self._weight -= self._weigh(self._kept.popitem(last=False)[1])
        return value


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file's blobs, and where each one begins."""

    blobs: tuple[BlobId, ...]
    starts: tuple[int, ...]
    size: int


class SnapshotFiles:
    """The tree; the index must be loaded. Raises OSError's subclasses for what is not there, DamageError.

    `cache_bytes` bounds the blobs that are kept in memory.
    """

    def __init__(self, repository: Repository, snapshots: Mapping[SnapshotId, Snapshot], *, cache_bytes: int) -> None:
        self._repository = repository
        self._made = _top_folders(snapshots)
        self._folders: _Recent[str, dict[str, Node]] = _Recent(_FOLDER_NODES, lambda folder: len(folder) + 1)
        self._blobs: _Recent[BlobId, bytes] = _Recent(cache_bytes, len)

    def node(self, path: str) -> Node:
        """Return what lies at an absolute path; raises FileNotFoundError, NotADirectoryError."""
        found = _ROOT
        at = ""
        for name in filter(None, path.split("/")):
            below = self._children(at, found).get(name)
            if below is None:
                raise FileNotFoundError(path)
            at, found = f"{at}/{name}", below
        return found

    def names(self, path: str) -> list[str]:
        """Return what a directory holds."""
        node = self.node(path)
        return list(self._children("/".join(["", *filter(None, path.split("/"))]), node))

    def open(self, path: str) -> OpenFile:
        """Return a file that can be read; raises IsADirectoryError, PermissionError for what is no file."""
        node = self.node(path)
        if node.type == "dir":
            raise IsADirectoryError(path)
        if node.type != "file":
            raise PermissionError(path)
        blobs, starts, at = [], [], 0
        for blob_id, length in blob_lengths(self._repository, node):
            blobs.append(blob_id)
            starts.append(at)
            at += length
        if at != node.size:
            raise DamageError(f"{path} has {node.size} bytes, its blobs have {at}", hint="run `check`")
        return OpenFile(tuple(blobs), tuple(starts), at)

    def read(self, file: OpenFile, offset: int, size: int) -> bytes:
        """Return the bytes from `offset`, fewer than `size` only at the end; each blob is proved by its id."""
        end = min(offset + size, file.size)
        number = bisect_right(file.starts, offset) - 1
        parts = []
        while offset < end:
            start = file.starts[number]
            part = self._blob(file.blobs[number])[offset - start : end - start]
            parts.append(part)
            offset += len(part)
            number += 1
        return b"".join(parts)

    def _blob(self, blob_id: BlobId) -> bytes:
        return self._blobs.get(blob_id, lambda: self._repository.read_blob(BlobKind.DATA, blob_id))

    def _children(self, path: str, node: Node) -> Mapping[str, Node]:
        if node.type != "dir":
            raise NotADirectoryError(path)
        made = self._made.get(path)
        if made is not None:
            return made
        tree = node.subtree
        if tree is None:
            return {}
        return self._folders.get(tree, lambda: {child.name: child for child in self._repository.read_tree(tree)})


_LONG_AGO = "1970-01-01T00:00:00Z"


def _folder(name: str, *, time: str = _LONG_AGO, tree: str | None = None) -> Node:
    mode = GO_DIR | 0o555
    return Node(
        name=name, type="dir", mode=mode, mtime=time, atime=time, ctime=time, uid=0, gid=0, content=None, subtree=tree
    )


def _link(name: str, target: str, time: str) -> Node:
    return Node(
        name=name, type="symlink", mode=0o777, mtime=time, atime=time, ctime=time, uid=0, gid=0, content=None,
        linktarget=target,
    )  # fmt: skip


_ROOT = _folder("")


def _top_folders(snapshots: Mapping[SnapshotId, Snapshot]) -> dict[str, dict[str, Node]]:
    """Return what is above the snapshots' own trees: path → name → node. `snapshots` come oldest first."""
    digits = 8
    while len({key[:digits] for key in snapshots}) < len(snapshots):
        digits += 1
    folders: dict[str, dict[str, Node]] = {
        "": {name: _folder(name) for name in ("ids", "snapshots", "hosts")},
        "/ids": {},
        "/snapshots": {},
        "/hosts": {},
    }
    for key, snapshot in snapshots.items():
        short = key[:digits]
        folders["/ids"][short] = _folder(short, time=snapshot.time, tree=snapshot.tree)
        host = _as_name(snapshot.hostname)
        folders["/hosts"][host] = _folder(host)
        hosted = folders.setdefault(f"/hosts/{host}", {})
        _add_link(folders["/snapshots"], snapshot, f"../ids/{short}")
        _add_link(hosted, snapshot, f"../../ids/{short}")
    return folders


def _add_link(folder: dict[str, Node], snapshot: Snapshot, target: str) -> None:
    name = first = snapshot.time[:19]
    number = 1
    while name in folder:
        number += 1
        name = f"{first}-{number}"
    folder[name] = _link(name, target, snapshot.time)
    folder["latest"] = _link("latest", target, snapshot.time)


def _as_name(host: str) -> str:
    name = host.replace("/", "_").replace("\0", "_")
    return name if name not in ("", ".", "..") else "unknown"
