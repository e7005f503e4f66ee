"""Make a repository of many blobs without their data: what a prune looks at is there, what it does not is a hole.

Real are the key, index files, trees in their packs, and a snapshot, all written
by our own writer. The packs of data are sparse files of exactly the size that
their index says, with random ids: nobody who only plans reads them. A share of
the blobs is in use: some packs are not used at all, six times as many are used
by half, and what is not used stands in trees that no snapshot refers to, as
after a forget. No blob lies in two packs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import msgspec

from edurise_backup.model.content import GO_DIR, BlobId, BlobKind, Node, blob_id, encode_tree
from edurise_backup.model.snapshot import Snapshot
from edurise_backup.repository.keys import ScryptCost
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.packs import PackedBlob, pack_size
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.writer import INDEX_BLOBS, BlobWriter, WriterSettings, save_index
from edurise_backup.stores.local import LocalStore
from tests.benchmarks.measuring import answer_with, asked

PASSPHRASE = "benchmark"
QUICK = ScryptCost(n=1 << 10, r=8, p=1)
_SMALL_FILES, _LARGE_FILES, _LARGE = 18, 2, 11
"""In each directory: files of one blob, and files of so many blobs."""
_BELOW = 100
"""Directories in a directory."""
_TIME = "2024-01-01T00:00:00Z"


class Shape(msgspec.Struct, kw_only=True):
    """What is made: about `blobs` blobs, trees among them, `pack_blobs` in a pack of data."""

    place: str
    blobs: int
    used: float = 0.9
    pack_blobs: int = 64
    seed: int = 1


class Made(msgspec.Struct):
    """How much there is of the data; trees are counted by who loads the index."""

    data_blobs: int
    used_data_blobs: int


class _Trees:
    """Fills directories with files of given blobs, and those into directories, up to one root."""

    def __init__(self, sink: BlobWriter, mark: str) -> None:
        self._sink = sink
        self._mark = mark
        self._blobs: list[BlobId] = []
        self._levels: list[list[Node]] = []
        self.count = 0

    def add(self, blobs: list[BlobId]) -> None:
        """Refer to these blobs."""
        self.count += len(blobs)
        self._blobs += blobs
        while len(self._blobs) >= _SMALL_FILES + _LARGE_FILES * _LARGE:
            self._close_files()

    def root(self) -> str:
        """Close all that is open; return the tree on top of everything."""
        if self._blobs:
            self._close_files()
        level = 0
        while level < len(self._levels) - 1 or len(self._levels[level]) > 1:
            self._close(level)
            level += 1
        (top,) = self._levels[-1]
        assert top.subtree is not None
        return top.subtree

    def _close_files(self) -> None:
        files = []
        for number in range(_SMALL_FILES + _LARGE_FILES):
            size = 1 if number < _SMALL_FILES else _LARGE
            content, self._blobs = self._blobs[:size], self._blobs[size:]
            if content:
                files.append(_node(f"file-{self._mark}-{number:02}", content))
        self._store(files, 0)

    def _close(self, level: int) -> None:
        nodes, self._levels[level] = self._levels[level], []
        if nodes:
            self._store(nodes, level + 1)

    def _store(self, nodes: list[Node], level: int) -> None:
        """Store a tree, and put its directory into one of `level`."""
        plaintext = encode_tree(nodes)
        self._sink.store(BlobKind.TREE, [plaintext])
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(_node(f"folder-{len(self._levels[level]):02}", blob_id(plaintext)))
        if len(self._levels[level]) == _BELOW:
            self._close(level)


def _node(name: str, content: list[BlobId] | BlobId) -> Node:
    is_file = isinstance(content, list)
    return Node(
        name=name,
        type="file" if is_file else "dir",
        mode=0o644 if is_file else GO_DIR | 0o755,
        mtime=_TIME,
        atime=_TIME,
        ctime=_TIME,
        uid=1000,
        gid=1000,
        user="learner",
        group="learner",
        inode=int.from_bytes(name.encode()[-4:]),
        device_id=64768,
        size=len(content) * 500_000 if is_file else 0,
        links=is_file,
        content=[blob.hex() for blob in content] if isinstance(content, list) else None,
        subtree=None if isinstance(content, list) else content.hex(),
    )


def make(shape: Shape) -> Made:
    """Make the repository."""
    repository, _ = Repository.create(LocalStore(Path(shape.place)), PASSPHRASE, cost=QUICK)
    with repository.lock(settle=timedelta(0)) as lock:
        with repository.writer(lock, WriterSettings(check=False)) as sink:
            used, unused = _Trees(sink, "used"), _Trees(sink, "unused")
            _make_data(repository, lock, shape, used, unused)
            tree = used.root()
            if unused.count:
                unused.root()
        repository.publish(Snapshot(time=_TIME, tree=tree, paths=["/made"], hostname="benchmark"), lock)
    return Made(used.count + unused.count, used.count)


def _make_data(repository: Repository, lock: Lock, shape: Shape, used: _Trees, unused: _Trees) -> None:
    """Make packs of data, list them in index files, and have the trees refer to their blobs."""
    for folder in range(256):
        Path(shape.place, Kind.PACK, f"{folder:02x}").mkdir(parents=True, exist_ok=True)
    random = Random(shape.seed + 1)
    listed: list[tuple[str, list[PackedBlob]]] = []
    for pack, blobs in _packs(shape):
        _make_hole(Path(shape.place, object_name(Kind.PACK, pack)), pack_size(blobs))
        listed.append((pack, blobs))
        if len(listed) * shape.pack_blobs >= INDEX_BLOBS:
            save_index(repository.box, listed, lock.confirm)
            listed = []
        ids, chance = [blob.id for blob in blobs], random.random()
        if chance < (1 - shape.used) / 4:
            unused.add(ids)
        elif chance < (1 - shape.used) * 1.75:
            used.add(ids[::2])
            unused.add(ids[1::2])
        else:
            used.add(ids)
    if listed:
        save_index(repository.box, listed, lock.confirm)


def _packs(shape: Shape) -> Iterator[tuple[str, list[PackedBlob]]]:
    """Yield (pack id, blobs): each blob about 256 KiB, half as long as its plaintext."""
    random = Random(shape.seed)
    in_directory = _SMALL_FILES + _LARGE_FILES * _LARGE
    data = shape.blobs * in_directory // (in_directory + 1)
    for first in range(0, data, shape.pack_blobs):
        blobs, offset = [], 0
        ids = random.randbytes(32 * min(shape.pack_blobs, data - first))
        for at in range(0, len(ids), 32):
            length = 65536 + int.from_bytes(ids[at : at + 2]) * 6
            blobs.append(PackedBlob(BlobKind.DATA, BlobId(ids[at : at + 32]), offset, length, 2 * length))
            offset += length
        yield random.randbytes(32).hex(), blobs


def _make_hole(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    try:
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    answer_with(make(asked(Shape)))
