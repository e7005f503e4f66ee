"""Check a repository: every reference, every size, and on request every byte.

Findings are collected, not raised: one damaged pack must not hide another.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from edurise_backup.errors import BackupError, DamageError, NotFoundError
from edurise_backup.model.content import BlobId, BlobKind, Node
from edurise_backup.model.snapshot import Snapshot, SnapshotId, decode_snapshot
from edurise_backup.pipeline.codec import open_blob
from edurise_backup.ports import Progress
from edurise_backup.repository.index import Index, decode_index
from edurise_backup.repository.layout import Kind, object_id, object_name
from edurise_backup.repository.packs import PackedBlob, pack_size, read_header
from edurise_backup.repository.repository import Repository


@dataclass(slots=True)
class CheckResult:
    """What was looked at, and what is wrong; without findings everything looked at can be restored."""

    snapshots: int = 0
    packs: int = 0
    blobs: int = 0
    bytes_read: int = 0
    findings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """Harmless things, such as packs that no index knows (of an interrupted backup)."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def check(
    repository: Repository,
    *,
    progress: Progress,
    read_data: bool = False,
    snapshots: Iterable[str] | None = None,
) -> CheckResult:
    """Check the whole repository, or only what the given snapshots need."""
    return _Check(repository, progress).run(read_data, None if snapshots is None else list(snapshots))


class _Check:
    def __init__(self, repository: Repository, progress: Progress) -> None:
        self._repository = repository
        self._progress = progress
        self._result = CheckResult()
        self._packs: dict[str, list[PackedBlob]] = {}
        self._used: set[tuple[BlobKind, BlobId]] = set()

    def run(self, read_data: bool, chosen: list[str] | None) -> CheckResult:
        self._progress.phase("index")
        if chosen is None:
            self._check_keys()
        self._load_indexes()
        sizes = self._pack_sizes()
        self._progress.phase("trees")
        for snapshot_id, snapshot in self._snapshots(chosen):
            self._result.snapshots += 1
            self._check_tree(snapshot.tree, f"snapshot {snapshot_id[:8]}")
        packs = self._packs if chosen is None else self._needed_packs()
        self._check_sizes(packs, sizes, whole=chosen is None)
        self._result.packs = len(packs)
        self._result.blobs = sum(len(blobs) for blobs in packs.values())
        if read_data:
            present = {pack: blobs for pack, blobs in packs.items() if pack in sizes}
            self._progress.phase("read", bytes_total=sum(sizes[pack] for pack in present))
            self._read_packs(present)
        return self._result

    def _check_keys(self) -> None:
        """A damaged key is found now, not when it is the only one that somebody has left."""
        for key_id in self._repository.key_ids():
            try:
                self._repository.key_file(key_id)
            except BackupError as error:
                self._result.findings.append(f"key {key_id[:8]}: {error.message}")

    def _load_indexes(self) -> None:
        index = Index()
        for index_id in self._repository.box.ids(Kind.INDEX):
            try:
                for pack, blobs in decode_index(self._repository.box.load(Kind.INDEX, index_id)):
                    self._packs[pack] = blobs
                    index.add_pack(pack, blobs)
            except (DamageError, NotFoundError) as error:
                self._result.findings.append(f"index {index_id[:8]}: {error.message}")
        self._repository.index = index

    def _pack_sizes(self) -> dict[str, int]:
        names = self._repository.store.list(Kind.PACK)
        return {pack: size for name, size in names if (pack := object_id(name)) is not None}

    def _snapshots(self, chosen: list[str] | None) -> Iterable[tuple[SnapshotId, Snapshot]]:
        for name in self._repository.box.ids(Kind.SNAPSHOT) if chosen is None else chosen:
            try:
                yield SnapshotId(name), decode_snapshot(self._repository.box.load(Kind.SNAPSHOT, name))
            except (DamageError, NotFoundError) as error:
                self._result.findings.append(f"snapshot {name[:8]}: {error.message}")

    def _check_tree(self, tree: str, where: str) -> None:
        stack = [(tree, where)]
        while stack:
            tree, where = stack.pop()
            blob = (BlobKind.TREE, BlobId(bytes.fromhex(tree)))
            if blob in self._used:
                continue
            self._progress.raise_if_cancelled()
            self._used.add(blob)
            try:
                nodes = self._repository.read_tree(tree)
            except (DamageError, NotFoundError) as error:
                self._result.findings.append(f"{where}: tree {tree[:8]}: {error.message}")
                continue
            for node in nodes:
                path = f"{where}/{node.name}"
                if node.type == "dir":
                    if node.subtree is None:
                        self._result.findings.append(f"{path}: a directory without a tree")
                    else:
                        stack.append((node.subtree, path))
                elif node.subtree is not None:
                    self._result.findings.append(f"{path}: a {node.type} with a tree, which nobody restores")
                elif node.type == "file":
                    self._check_file(node, path)

    def _check_file(self, node: Node, path: str) -> None:
        if node.content is None:
            self._result.findings.append(f"{path}: a file without content")
            return
        size = 0
        for name in node.content:
            blob_id = BlobId(bytes.fromhex(name))
            self._used.add((BlobKind.DATA, blob_id))
            place = self._repository.index.find(BlobKind.DATA, blob_id)
            if place is None:
                self._result.findings.append(f"{path}: blob {name[:8]} is in no index")
                return
            size += place.plain_length
        if size != node.size:
            self._result.findings.append(f"{path}: has {node.size} bytes, its blobs have {size}")

    def _needed_packs(self) -> dict[str, list[PackedBlob]]:
        needed = set()
        for kind, blob_id in self._used:
            place = self._repository.index.find(kind, blob_id)
            if place is not None:
                needed.add(place.pack)
        return {pack: self._packs[pack] for pack in needed}

    def _check_sizes(self, packs: dict[str, list[PackedBlob]], sizes: dict[str, int], *, whole: bool) -> None:
        for pack, blobs in packs.items():
            expected = pack_size(blobs)
            if pack not in sizes:
                self._result.findings.append(f"pack {pack[:8]} is missing")
            elif sizes[pack] != expected:
                self._result.findings.append(f"pack {pack[:8]} has {sizes[pack]} bytes, its index says {expected}")
        unknown = len(sizes.keys() - self._packs.keys())
        if whole and unknown and not any(finding.startswith("index ") for finding in self._result.findings):
            self._result.remarks.append(f"{unknown} packs are in no index; the next prune removes them")

    def _read_packs(self, packs: dict[str, list[PackedBlob]]) -> None:
        with ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="check") as pool:
            for findings, size in pool.map(self._read_pack, packs.items()):
                self._result.findings += findings
                self._result.bytes_read += size

    def _read_pack(self, item: tuple[str, list[PackedBlob]]) -> tuple[list[str], int]:
        pack, blobs = item
        self._progress.raise_if_cancelled()
        try:
            content = self._repository.store.get(object_name(Kind.PACK, pack))
        except BackupError as error:
            return [f"pack {pack[:8]}: {error.message}"], 0
        self._progress.advance(bytes_done=len(content))
        findings = []
        if hashlib.sha256(content).hexdigest() != pack:
            findings.append(f"pack {pack[:8]} holds other bytes than those that were written")
        try:
            # stock restic's index files list a pack's blobs in any order
            if read_header(content, self._repository.box.key) != sorted(blobs, key=lambda blob: blob.offset):
                findings.append(f"pack {pack[:8]}: its header and the index disagree")
        except DamageError as error:
            findings.append(f"pack {pack[:8]}: {error.message}")
        view = memoryview(content)
        for blob in blobs:
            sealed = view[blob.offset : blob.offset + blob.length]
            try:
                open_blob(self._repository.box.key, sealed, wanted=blob.id, raw_length=blob.raw_length)
            except DamageError as error:
                findings.append(f"pack {pack[:8]}, {blob.kind.word} blob {blob.id.hex()[:8]}: {error.message}")
        return findings, len(content)
