"""Write the wanted blobs of packs that go into new packs: as they are sealed, each opened and proved on the way.

Only adds: packs first, then the index files that list them. A crash leaves
blobs that lie in two packs.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from edurise_backup.errors import DamageError
from edurise_backup.model.content import BlobKind
from edurise_backup.pipeline.codec import opened_blob
from edurise_backup.ports import Buffer, Progress
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.objects import ObjectBox
from edurise_backup.repository.packs import MAX_BLOBS, OpenPack, PackBuffers, PackedBlob
from edurise_backup.repository.prune_plan import PrunePlan
from edurise_backup.repository.reachability import read_sealed
from edurise_backup.repository.survey import Survey
from edurise_backup.repository.writer import INDEX_BLOBS, WriterSettings, save_index

_BLOBS, _BYTES = 256, 8 * 1024 * 1024
"""What is proved side by side before it is packed."""
_PACK_SIZE = WriterSettings().pack_size


def repack(plan: PrunePlan, lock: Lock, progress: Progress) -> None:
    """Write again what the plan says, and have its survey know the new packs; `lock` may be shared.

    Raises DamageError when a blob has no whole copy, LockedError when the lock was lost.
    """
    if not plan.fates.repack:
        return
    progress.phase("repack", bytes_total=plan.fates.repack_bytes)
    survey = plan.survey
    packs = _NewPacks(survey.box, lock)
    with ThreadPoolExecutor(WriterSettings().workers, thread_name_prefix="prove") as pool:
        batch, waiting = list[tuple[int, memoryview | None]](), 0
        for item in read_sealed(survey.box, survey.index, _wanted(plan)):
            batch.append(item)
            waiting += len(item[1] or b"")
            if len(batch) >= _BLOBS or waiting >= _BYTES:
                _write(survey, packs, batch, pool, progress)
                batch, waiting = [], 0
        _write(survey, packs, batch, pool, progress)
    survey.load(packs.finish())
    for pack in packs.sizes:
        survey.stored[survey.number(bytes.fromhex(pack))] = packs.sizes[pack]


def _wanted(plan: PrunePlan) -> list[int]:
    index = plan.survey.index
    return [number for pack in sorted(plan.fates.repack) for number in index.blob_range(pack) if plan.kept[number]]


def _write(
    survey: Survey,
    packs: _NewPacks,
    batch: list[tuple[int, memoryview | None]],
    pool: ThreadPoolExecutor,
    progress: Progress,
) -> None:
    for blob, sealed in pool.map(partial(_proved, survey), batch):
        progress.raise_if_cancelled()
        packs.add(blob, sealed)
        progress.advance(bytes_done=len(sealed))


def _proved(survey: Survey, item: tuple[int, memoryview | None]) -> tuple[PackedBlob, Buffer]:
    """Return a blob and its sealed bytes, which were opened; bytes that are None are read again, alone."""
    number, sealed = item
    blob, place = survey.index.blob(number), survey.index.place(number)
    if sealed is None:
        name = object_name(Kind.PACK, place.pack)
        sealed = memoryview(survey.box.store.get(name, offset=place.offset, length=place.length))
    try:
        opened_blob(survey.box.key, sealed, wanted=blob.id, raw_length=blob.raw_length)
    except DamageError as error:
        raise DamageError(
            f"pack {place.pack[:8]}: {error.message}",
            safe="nothing was removed",
            hint="run `check --read-data` to see which snapshots are affected",
        ) from error
    return blob, sealed


class _NewPacks:
    """Fills packs, trees apart from data, and lists the durable ones in index files."""

    def __init__(self, box: ObjectBox, lock: Lock) -> None:
        self._box = box
        self._lock = lock
        self._open: dict[BlobKind, OpenPack] = {}
        self._buffers = PackBuffers(_PACK_SIZE)
        self._unlisted: list[tuple[str, list[PackedBlob]]] = []
        self._index_files: list[str] = []
        self.sizes: dict[str, int] = {}
        """The new packs, with their bytes in the store."""

    def add(self, blob: PackedBlob, sealed: Buffer) -> None:
        pack = self._open.get(blob.kind)
        if pack is None or not pack.has_room(len(sealed)):
            if pack is not None:
                self._send(pack)
            pack = self._open[blob.kind] = OpenPack(blob.kind, self._buffers.take(len(sealed)))
        pack.reserve(blob.id, len(sealed), blob.raw_length)[:] = sealed
        if pack.size >= _PACK_SIZE or len(pack.blobs) >= MAX_BLOBS:
            self._send(self._open.pop(blob.kind))

    def finish(self) -> list[str]:
        """Make everything durable and indexed; return the new index files."""
        for pack in self._open.values():
            self._send(pack)
        self._save_index()
        return self._index_files

    def _send(self, pack: OpenPack) -> None:
        pack_id, pieces = pack.seal(self._box.key)
        self._box.store.put(object_name(Kind.PACK, pack_id), pieces)
        self.sizes[pack_id] = sum(map(len, pieces))
        self._buffers.give_back(pack.buffer)
        self._unlisted.append((pack_id, pack.blobs))
        if sum(len(blobs) for _, blobs in self._unlisted) >= INDEX_BLOBS:
            self._save_index()

    def _save_index(self) -> None:
        if self._unlisted:
            self._index_files.append(save_index(self._box, self._unlisted, self._lock.confirm))
            self._unlisted = []
