"""Remove data that no snapshot refers to: decide first, then act under the exclusive lock.

The order is the safety: what is still wanted from a pack is written again and
indexed before the old index goes, and no pack goes before the index that lists
it. A crash at any step leaves every snapshot whole and some data too much.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from edurise_backup.errors import ConflictError, DamageError
from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.ports import Progress
from edurise_backup.repository.index import Index, decode_index, encode_index
from edurise_backup.repository.layout import Kind, object_id, object_name
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.packs import PackedBlob
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.writer import INDEX_BLOBS, BlobWriter, WriterSettings

MAX_UNUSED = 0.05
"""A pack is written again when more than this share of it is unused."""

Blob = tuple[BlobKind, BlobId]


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What a prune will do; sizes in bytes."""

    remove: tuple[str, ...]
    """Packs of which nothing is wanted, or which no index knows."""
    repack: tuple[str, ...]
    keep: dict[str, list[PackedBlob]]
    wanted: dict[str, list[PackedBlob]]
    """Of the packs to write again: the blobs that are still referred to."""
    old_indexes: tuple[str, ...]
    used_blobs: int
    freed_bytes: int
    total_bytes: int


def used_blobs(repository: Repository, snapshots: Iterable[str], progress: Progress) -> set[Blob]:
    """Return every blob that the trees refer to; raises DamageError when a tree is missing."""
    used: set[Blob] = set()
    stack = [BlobId(bytes.fromhex(tree)) for tree in snapshots]
    while stack:
        tree = stack.pop()
        if (BlobKind.TREE, tree) in used:
            continue
        progress.raise_if_cancelled()
        used.add((BlobKind.TREE, tree))
        for node in repository.read_tree(tree.hex()):
            if node.type == "file":
                used.update((BlobKind.DATA, BlobId(bytes.fromhex(name))) for name in node.content or ())
            elif node.subtree is not None:
                stack.append(BlobId(bytes.fromhex(node.subtree)))
    return used


def plan_prune(repository: Repository, *, progress: Progress, max_unused: float = MAX_UNUSED) -> PrunePlan:
    """Say what a prune would do; raises ConflictError without snapshots, DamageError when wanted data is missing."""
    snapshots = repository.snapshots()
    indexes = tuple(repository.box.ids(Kind.INDEX))
    sizes = {pack: size for name, size in repository.store.list(Kind.PACK) if (pack := object_id(name)) is not None}
    if not snapshots and sizes:
        raise ConflictError(
            "the repository lists no snapshot, so a prune would remove everything",
            safe="nothing was removed",
            hint="check that the snapshots are there; to start anew, make a new repository",
        )
    repository.load_index()
    used = used_blobs(repository, (snapshot.tree for snapshot in snapshots.values()), progress)
    packs: dict[str, list[PackedBlob]] = {}
    for index_id in indexes:
        packs.update(decode_index(repository.box.load(Kind.INDEX, index_id)))
    return _decide(packs, sizes, used, _whole_copies(repository, used, sizes), indexes, max_unused)


def _whole_copies(repository: Repository, used: set[Blob], sizes: dict[str, int]) -> dict[Blob, str]:
    """Return the pack to keep of each wanted blob that lies in several: one whose copy was read and proved."""
    whole: dict[Blob, str] = {}
    for kind, blob_id, places in repository.index.copies():
        if (kind, blob_id) not in used:
            continue
        for place in places:
            if place.pack in sizes:
                with suppress(DamageError):
                    repository.read_copy(place, blob_id)
                    whole[kind, blob_id] = place.pack
                    break
        else:
            raise DamageError(
                f"every copy of the {kind.word} blob {blob_id.hex()[:8]} is damaged",
                safe="nothing was removed",
                hint="run `check --read-data` to see which snapshots are affected",
            )
    return whole


def _decide(
    packs: dict[str, list[PackedBlob]],
    sizes: dict[str, int],
    used: set[Blob],
    whole: dict[Blob, str],
    indexes: tuple[str, ...],
    max_unused: float,
) -> PrunePlan:
    left = set(used)
    remove = [pack for pack in sizes if pack not in packs]
    keep: dict[str, list[PackedBlob]] = {}
    wanted: dict[str, list[PackedBlob]] = {}
    freed = sum(sizes[pack] for pack in remove)
    for pack, blobs in packs.items():
        if pack not in sizes:
            continue  # a missing pack: what was only in it is reported below
        mine = [
            blob for blob in blobs if (blob.kind, blob.id) in left and whole.get((blob.kind, blob.id), pack) == pack
        ]
        left.difference_update((blob.kind, blob.id) for blob in mine)
        live = sum(blob.length for blob in mine)
        if not mine:
            remove.append(pack)
            freed += sizes[pack]
        elif sizes[pack] - live > max_unused * sizes[pack] + 4096 or len({blob.kind for blob in blobs}) > 1:
            wanted[pack] = mine
            freed += sizes[pack] - live
        else:
            keep[pack] = blobs
    if left:
        raise DamageError(
            f"{len(left)} blobs that snapshots refer to are in no pack",
            safe="nothing was removed",
            hint="run `check` to see which snapshots are affected",
        )
    return PrunePlan(tuple(remove), tuple(wanted), keep, wanted, indexes, len(used), freed, sum(sizes.values()))


def apply_prune(repository: Repository, plan: PrunePlan, lock: Lock, *, progress: Progress) -> None:
    """Do what the plan says; `lock` is the exclusive lock that was held while planning."""
    progress.phase("repack")
    new = _repack(repository, plan, progress)
    progress.phase("index")
    lock.confirm()
    old = set(plan.old_indexes)
    fresh = _save_indexes(repository, {**plan.keep, **new})
    for index_id in old - fresh:
        repository.store.delete(object_name(Kind.INDEX, index_id))
    progress.phase("delete")
    lock.confirm()
    for pack in (*plan.remove, *plan.repack):
        if pack not in new:
            repository.store.delete(object_name(Kind.PACK, pack))
    repository.store.sweep(Kind.PACK)
    repository.load_index()


def _repack(repository: Repository, plan: PrunePlan, progress: Progress) -> dict[str, list[PackedBlob]]:
    """Write the wanted blobs of the packs that go into new packs; each is proved by its id on the way."""
    kept = Index()
    for pack, blobs in plan.keep.items():
        kept.add_pack(pack, blobs)
    writer = BlobWriter(repository.box, kept, WriterSettings(), confirm=None)
    try:
        for blobs in plan.wanted.values():
            progress.raise_if_cancelled()
            for blob in blobs:
                writer.store(blob.kind, [repository.read_blob(blob.kind, blob.id)])
                progress.advance(bytes_done=blob.length)
    except BaseException:
        writer.abandon()
        raise
    writer.finish()
    new = dict(writer.written)
    _prove_kept(plan, kept, new)
    return new


def _prove_kept(plan: PrunePlan, kept: Index, new: dict[str, list[PackedBlob]]) -> None:
    """Raise DamageError when a wanted blob would be lost with its old pack: the last look before anything goes."""
    for pack, blobs in new.items():
        kept.add_pack(pack, blobs)
    lost = sum((blob.kind, blob.id) not in kept for blobs in plan.wanted.values() for blob in blobs)
    if lost:
        raise DamageError(f"{lost} blobs that snapshots refer to were not written again", safe="nothing was removed")


def _save_indexes(repository: Repository, packs: dict[str, list[PackedBlob]]) -> set[str]:
    saved = set()
    part: list[tuple[str, list[PackedBlob]]] = []
    for pack in packs.items():
        part.append(pack)
        if sum(len(blobs) for _, blobs in part) >= INDEX_BLOBS:
            saved.add(repository.box.save(Kind.INDEX, encode_index(part)))
            part = []
    if part:
        saved.add(repository.box.save(Kind.INDEX, encode_index(part)))
    return saved
