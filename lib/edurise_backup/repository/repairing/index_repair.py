"""Make the index true again: packs that no index file lists are read by their headers, missing packs drop out.

First everything is looked at and a plan made, which can be shown. New index
files are durable before an old one goes, and a pack that the index knows is
never taken out while its object is there: what restored before still restores.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from edurise_backup.errors import DamageError, NotFoundError, TransientError
from edurise_backup.machine.cores import cores
from edurise_backup.ports import Progress
from edurise_backup.repository.index import Index
from edurise_backup.repository.index_files import decode_index
from edurise_backup.repository.layout import Kind, object_id, object_name
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.objects import ObjectBox
from edurise_backup.repository.packs import PackedBlob, decode_header, encode_header, header_length, pack_size
from edurise_backup.repository.removals import take_away
from edurise_backup.repository.repairing.affected import Affected, Availability, find_affected
from edurise_backup.repository.repairing.examining import indexed_alike
from edurise_backup.repository.repairing.writing import keep_copy, save_index_files
from edurise_backup.repository.repository import Repository

_BATCH = 256
_TAIL = 64 * 1024


@dataclass(slots=True)
class IndexRepairPlan:
    """What a repair of the index will do, and what stays missing after it."""

    packs: int = 0
    """Packs that the store has."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Index files that go because they cannot be read: id → why."""
    superseded: dict[str, frozenset[str]] = field(default_factory=dict)
    """Index files that go because they list missing packs: id → packs to list anew."""
    found: dict[str, bytes] = field(default_factory=dict)
    """Packs to be listed anew from their own headers: id → the header's plaintext."""
    missing: list[str] = field(default_factory=list)
    """Packs that drop out: the index knows them, the store does not have them."""
    headless: dict[str, str] = field(default_factory=dict)
    """Packs that no index knows and whose header cannot be read: id → why. They stay as they are."""
    disagreeing: list[str] = field(default_factory=list)
    """Packs whose header is not what the index says; `repair packs` salvages them. They stay as they are."""
    affected: Affected = field(default_factory=Affected)
    """What cannot be restored once the plan is done."""
    unreadable_snapshots: list[str] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.unreadable or self.superseded or self.found)


def plan_index_repair(repository: Repository, *, progress: Progress, read_all_packs: bool = False) -> IndexRepairPlan:
    """Say what a repair of the index would do; nothing is written.

    `read_all_packs` compares the headers of packs that the index knows, too.
    Raises what the store raises: a listing that fails is no empty one.
    """
    plan = IndexRepairPlan()
    progress.phase("index")
    sizes = {pack: size for name, size in repository.store.list(Kind.PACK) if (pack := object_id(name)) is not None}
    plan.packs = len(sizes)
    index = _read_index_files(repository.box, sizes, plan, progress)
    _confirm_missing(repository, plan)
    known = dict(index.sizes())
    wanted = [pack for pack in sizes if read_all_packs or pack not in known]
    progress.phase("headers")
    for pack, header in _headers(repository.box, wanted, sizes, progress):
        if pack in known:
            if not isinstance(header, list) or not _as_indexed(index, pack, header, known[pack]):
                plan.disagreeing.append(pack)
        elif isinstance(header, list):
            plan.found[pack] = encode_header(header)  # a tenth of the memory that the objects take
            index.add_pack(pack, header)
        else:
            plan.headless[pack] = header.message
    progress.phase("affected")
    snapshots = repository.readable_snapshots(plan.unreadable_snapshots)
    plan.affected = find_affected(repository, snapshots, Availability(index), progress=progress)
    return plan


def apply_index_repair(repository: Repository, plan: IndexRepairPlan, lock: Lock, *, progress: Progress) -> list[str]:
    """Do what the plan says; return the names under which unreadable index files are kept.

    `lock` is the exclusive lock that was held while planning. A crash leaves
    old and new index files side by side, which say the same.
    """
    box = repository.box
    progress.phase("index")
    lock.confirm()
    save_index_files(box, _anew(box, plan))
    lock.confirm()
    kept = []
    for index_id in plan.unreadable:
        content = box.store.get(object_name(Kind.INDEX, index_id))
        if content:
            kept.append(keep_copy(box.store, index_id, content))
    take_away(box, [object_name(Kind.INDEX, index_id) for index_id in (*plan.unreadable, *plan.superseded)])
    repository.load_index()
    return kept


def _read_index_files(box: ObjectBox, sizes: dict[str, int], plan: IndexRepairPlan, progress: Progress) -> Index:
    """Return what the readable index files say about packs that are there."""
    index = Index()
    missing: set[str] = set()
    superseded = []
    for index_id in box.ids(Kind.INDEX):
        progress.raise_if_cancelled()
        try:
            listed = list(decode_index(box.load(Kind.INDEX, index_id)))
        except NotFoundError:  # replaced since the listing
            continue
        except DamageError as error:
            plan.unreadable[index_id] = error.message
            continue
        absent = {pack for pack, _ in listed if pack not in sizes}
        if absent:
            missing |= absent
            superseded.append(index_id)
            continue
        for pack, blobs in listed:
            index.add_pack(pack, blobs)
    for index_id in superseded:
        plan.superseded[index_id] = frozenset(_carry_over(box, index_id, index, missing))
    plan.missing = sorted(missing)
    return index


def _carry_over(box: ObjectBox, index_id: str, index: Index, missing: set[str]) -> Iterator[str]:
    """Yield the packs that only this index file lists, or lists in another way, and make them known."""
    known = dict(index.sizes())
    for pack, blobs in decode_index(box.load(Kind.INDEX, index_id)):
        if pack in missing or (pack in known and _as_indexed(index, pack, blobs, known[pack])):
            continue
        index.add_pack(pack, blobs)
        yield pack


def _as_indexed(index: Index, pack: str, blobs: list[PackedBlob], size: int) -> bool:
    return pack_size(blobs) == size and indexed_alike(index, pack, blobs)


def _confirm_missing(repository: Repository, plan: IndexRepairPlan) -> None:
    """Ask for each missing pack by its name: a listing that is cut short must not cost the index anything (S-09)."""
    for pack in plan.missing:
        try:
            repository.store.size(object_name(Kind.PACK, pack))
        except NotFoundError:
            continue
        raise TransientError(
            f"{repository.store.address} does not list the pack {pack[:12]}, but has it",
            safe="nothing was changed",
            hint="see why the store's listing is incomplete, then try again",
        )


def _headers(
    box: ObjectBox, packs: list[str], sizes: dict[str, int], progress: Progress
) -> Iterator[tuple[str, list[PackedBlob] | DamageError]]:
    """Yield each pack with the blobs that its header lists, or with why it cannot be read."""

    def read(pack: str) -> tuple[str, list[PackedBlob] | DamageError]:
        progress.raise_if_cancelled()
        try:
            return pack, read_stored_header(box, pack, sizes[pack])
        except DamageError as error:
            return pack, error

    with ThreadPoolExecutor(cores(), thread_name_prefix="header") as pool:
        for at in range(0, len(packs), _BATCH):
            yield from pool.map(read, packs[at : at + _BATCH])


def read_stored_header(box: ObjectBox, pack: str, size: int) -> list[PackedBlob]:
    """Return the blobs of a pack of `size` bytes, reading little more than its header; raises DamageError."""
    name = object_name(Kind.PACK, pack)
    tail = box.store.get(name, offset=max(size - _TAIL, 0), length=min(size, _TAIL))
    length = header_length(tail[-4:], size)
    if length + 4 > len(tail):
        tail = box.store.get(name, offset=size - length - 4, length=length + 4)
    blobs = decode_header(box.key.open(tail[-4 - length : -4]))
    if sum(blob.length for blob in blobs) != size - 4 - length:
        raise DamageError("a pack's header does not fit its length")
    return blobs


def _anew(box: ObjectBox, plan: IndexRepairPlan) -> Iterator[tuple[str, list[PackedBlob]]]:
    for index_id, carried in plan.superseded.items():
        if carried:
            yield from (item for item in decode_index(box.load(Kind.INDEX, index_id)) if item[0] in carried)
    for pack, header in plan.found.items():
        yield pack, decode_header(header)
