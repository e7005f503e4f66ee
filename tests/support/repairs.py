"""Damage and repair for tests: what is intact, and the repairs in short words."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edurise_backup.errors import BackupError
from edurise_backup.model.content import BlobId, BlobKind, Node
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import Entry, Store
from edurise_backup.repository.index_files import decode_index
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.packs import PackedBlob
from edurise_backup.repository.repairing.index_repair import IndexRepairPlan, apply_index_repair, plan_index_repair
from edurise_backup.repository.repairing.pack_repair import PackRepairPlan, plan_pack_repair
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Saved
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.sources.files import FilesSource
from edurise_backup.verification.choosing import choose_packs, repair_chosen
from tests.support.engine import AT_ONCE, PASSPHRASE, back_up_source
from tests.support.stores import MemoryStore

Contents = dict[str, tuple[Node, str]]
"""Path → node, and the digest of a file's bytes."""


class _Below(FilesSource):
    """Offers what lies in one directory as the root: the directories above, which others change, are left out."""

    def __init__(self, folder: Path) -> None:
        super().__init__([str(folder)])
        self._folder = folder

    def root(self) -> Entry:
        entry = super().root()
        for name in self._folder.parts[1:]:
            assert entry.children is not None
            (entry,) = [child for child in entry.children() if child.node.name == name]
        return entry


def back_up_below(repository: Repository, folder: Path, *, settings: WriterSettings) -> Saved:
    """Publish a snapshot of what lies in a directory; the same content gives the same trees, whenever it is called."""
    source = _Below(folder)
    return back_up_source(repository, source, source.paths, settings=settings)


def repair_index(store: Store, *, apply: bool = True, read_all_packs: bool = False) -> IndexRepairPlan:
    """Do what `repo repair index` does."""
    repository = Repository.open(store, PASSPHRASE)
    progress = SilentProgress()
    with repository.lock(exclusive=apply, settle=AT_ONCE) as lock:
        plan = plan_index_repair(repository, progress=progress, read_all_packs=read_all_packs)
        if apply and plan.changes:
            apply_index_repair(repository, plan, lock, progress=progress)
    return plan


def repair_packs(
    store: Store, *packs: str, apply: bool = True, read_data: bool | None = None, settings: WriterSettings | None = None
) -> PackRepairPlan:
    """Do what `repo repair packs` does; without packs every one is read unless told otherwise."""
    repository = Repository.open(store, PASSPHRASE)
    progress = SilentProgress()
    reads = not packs if read_data is None else read_data
    with repository.lock(exclusive=apply, settle=AT_ONCE) as lock:
        chosen = choose_packs(repository, packs, read_data=reads, progress=progress)
        plan = plan_pack_repair(repository, chosen.packs, progress=progress)
        if apply:
            repair_chosen(repository, chosen, plan, lock, progress=progress, settings=settings)
    return plan


def contents(store: Store, snapshot_id: SnapshotId) -> Contents:
    """Read all of a snapshot, each byte proved; raises what a restore raises."""
    repository = Repository.open(store, PASSPHRASE)
    repository.load_index(strict=False)
    found: Contents = {}
    stack = [(repository.load_snapshot(snapshot_id).tree, "")]
    while stack:
        tree, where = stack.pop()
        for node in repository.read_tree(tree):
            path = f"{where}/{node.name}"
            digest = hashlib.sha256()
            for name in node.content or ():
                digest.update(repository.read_blob(BlobKind.DATA, BlobId(bytes.fromhex(name))))
            found[path] = (node, digest.hexdigest())
            if node.subtree is not None:
                stack.append((node.subtree, path))
    return found


def intact(store: Store, expected: dict[SnapshotId, Contents]) -> set[SnapshotId]:
    """Return the snapshots that can be read whole, as they were."""
    whole = set()
    for snapshot_id, wanted in expected.items():
        try:
            if contents(store, snapshot_id) == wanted:
                whole.add(snapshot_id)
        except BackupError:
            continue
    return whole


def indexed(store: Store) -> dict[str, list[PackedBlob]]:
    """Return what all index files say, by pack."""
    box = Repository.open(store, PASSPHRASE).box
    return {pack: blobs for name in box.ids(Kind.INDEX) for pack, blobs in decode_index(box.load(Kind.INDEX, name))}


def packs_of(store: Store, kind: BlobKind) -> list[str]:
    """Return the packs with blobs of one kind, the largest first."""
    found = [pack for pack, blobs in indexed(store).items() if blobs[0].kind is kind]
    return sorted(found, key=lambda pack: (-store.size(object_name(Kind.PACK, pack)), pack))


def flip(store: MemoryStore, name: str, at: int) -> None:
    """Change one bit of the byte at `at`; negative counts from the end."""
    content = bytearray(store.objects[name])
    content[at] ^= 1
    store.objects[name] = bytes(content)


def flip_in_pack(store: MemoryStore, pack: str, at: int) -> str:
    """Change one bit of a pack; return the store's name of it."""
    name = object_name(Kind.PACK, pack)
    flip(store, name, at)
    return name


def below(store: MemoryStore, *folders: str) -> dict[str, bytes]:
    """Return the objects whose names begin with one of the folders."""
    return {name: content for name, content in store.objects.items() if name.split("/")[0] in folders}
