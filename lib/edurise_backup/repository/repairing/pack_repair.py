"""Salvage what is whole from damaged packs, then take them out of the repository; their bytes are kept.

The order is the safety: the damaged bytes are kept → whole blobs are in new
packs → these are indexed → the damaged packs leave the index → they go. A crash
at any step leaves each whole blob where it was, or in two places.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from edurise_backup.errors import BackupError, CancelledError, DamageError, NotFoundError
from edurise_backup.pipeline.codec import open_blob
from edurise_backup.ports import Progress
from edurise_backup.repository.index import Index
from edurise_backup.repository.layout import Kind, object_id, object_name
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.removals import take_away
from edurise_backup.repository.repairing.affected import Affected, Availability, Blob, find_affected
from edurise_backup.repository.repairing.examining import ExaminedPack, examine_pack, indexed_blobs, lost_blobs
from edurise_backup.repository.repairing.writing import keep_copy, save_index_files, unindex
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.writer import BlobWriter, WriterSettings


@dataclass(slots=True)
class PackRepairPlan:
    """What a repair of packs will do, and what stays missing after it."""

    packs: list[ExaminedPack] = field(default_factory=list)
    """Damaged packs, with what is whole in them."""
    sound: list[str] = field(default_factory=list)
    """Packs that were looked into and are not damaged: they stay."""
    missing: list[str] = field(default_factory=list)
    """Packs that are not there: nothing can be salvaged; `repair index` takes them out of the index."""
    unread: dict[str, str] = field(default_factory=dict)
    """Packs that the store failed to read: id → why. They stay as they are."""
    lost: frozenset[Blob] = frozenset()
    """Blobs that are whole nowhere."""
    affected: Affected = field(default_factory=Affected)
    """What cannot be restored once the plan is done."""
    unreadable_snapshots: list[str] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.packs)


def plan_pack_repair(repository: Repository, packs: Collection[str], *, progress: Progress) -> PackRepairPlan:
    """Look into the packs and say what a repair would do; nothing is written.

    Raises DamageError when an index file is not readable: it may list the
    packs, so it must be repaired first.
    """
    plan = PackRepairPlan()
    chosen = sorted(set(packs))
    progress.phase("packs")
    try:
        indexed = indexed_blobs(repository.box, chosen, progress=progress)
    except DamageError as error:
        raise DamageError(
            f"the index is damaged: {error.message}", safe="nothing was changed", hint="run `repair index` first"
        ) from error
    for pack in chosen:
        try:
            examined = examine_pack(repository.box, pack, indexed.get(pack), progress=progress)
        except NotFoundError:
            plan.missing.append(pack)
        except CancelledError:
            raise
        except BackupError as error:
            plan.unread[pack] = error.message
        else:
            if examined.sound:
                plan.sound.append(pack)
            else:
                plan.packs.append(examined)
    _find_affected(repository, plan, progress)
    return plan


def apply_pack_repair(
    repository: Repository,
    plan: PackRepairPlan,
    lock: Lock,
    *,
    progress: Progress,
    settings: WriterSettings | None = None,
) -> list[str]:
    """Do what the plan says; return the names under which the damaged packs are kept.

    `lock` is the exclusive lock that was held while planning.
    """
    bad = {examined.pack for examined in plan.packs}
    if not bad:
        return []
    progress.phase("salvage", bytes_total=sum(examined.size for examined in plan.packs))
    lock.confirm()
    # The writer knows no blob: a copy elsewhere was not read, and may be damaged as well.
    writer = BlobWriter(repository.box, Index(), settings or WriterSettings(), confirm=None)
    kept = []
    try:
        for examined in plan.packs:
            kept.append(_salvage(repository, examined, writer, progress))
    except BaseException:
        writer.abandon()
        raise
    writer.finish()
    _prove_salvaged(plan, writer)
    progress.phase("index")
    lock.confirm()
    save_index_files(repository.box, writer.written)
    unindex(repository.box, bad)
    lock.confirm()
    for pack in sorted(bad):
        take_away(repository.box, [object_name(Kind.PACK, pack)])
    repository.load_index()
    return kept


def _find_affected(repository: Repository, plan: PackRepairPlan, progress: Progress) -> None:
    """Fill in what is lost, and whom that affects, as it will be without the damaged packs."""
    progress.phase("affected")
    after = Repository(repository.box, repository.config, key_id=repository.key_id)
    index = after.load_index(without={examined.pack for examined in plan.packs})
    plan.lost = lost_blobs(after, index, plan.packs, progress=progress)
    present = {object_id(name) for name, _ in repository.store.list(Kind.PACK)}
    gone = frozenset(pack for pack in index.packs if pack not in present)
    for examined in plan.packs:
        index.add_pack(examined.pack, examined.whole)
    snapshots = repository.readable_snapshots(plan.unreadable_snapshots)
    available = Availability(index, gone, plan.lost)
    plan.affected = find_affected(repository, snapshots, available, progress=progress)


def _salvage(repository: Repository, examined: ExaminedPack, writer: BlobWriter, progress: Progress) -> str:
    """Keep a damaged pack's bytes, then give its whole blobs to the writer; return the name that it is kept under."""
    content = repository.store.get(object_name(Kind.PACK, examined.pack))
    kept = keep_copy(repository.store, examined.pack, content)
    view = memoryview(content)
    for blob in examined.whole:
        progress.raise_if_cancelled()
        sealed = view[blob.offset : blob.offset + blob.length]
        plaintext = open_blob(repository.box.key, sealed, wanted=blob.id, raw_length=blob.raw_length)
        writer.store(blob.kind, [plaintext])
    progress.advance(bytes_done=len(content))
    return kept


def _prove_salvaged(plan: PackRepairPlan, writer: BlobWriter) -> None:
    """Raise DamageError when a whole blob did not get into a new pack: the last look before anything goes."""
    written = {(blob.kind, blob.id) for _, blobs in writer.written for blob in blobs}
    wanted = {(blob.kind, blob.id) for examined in plan.packs for blob in examined.whole}
    if not wanted <= written:
        raise DamageError(f"{len(wanted - written)} blobs were not salvaged", safe="nothing was removed")
