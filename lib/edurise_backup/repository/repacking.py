"""Write the wanted blobs of packs that go into new packs: as they are sealed, each opened and proved on the way.

Only adds: packs first, then the index files that list them. A crash leaves
blobs that lie in two packs.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
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

_BLOBS, _BYTES, _PART = 2048, 8 * 1024 * 1024, 64
"""So much is proved at once before it is packed, in parts of 64 blobs."""
_PACK_SIZE = WriterSettings().pack_size
_Sealed = tuple[int, memoryview | None]
"""A blob's number, and its sealed bytes."""


def repack(plan: PrunePlan, lock: Lock, progress: Progress) -> None:
    """Write again what the plan says, and have its survey know the new packs; `lock` may be shared.

    Raises DamageError when a blob has no whole copy, LockedError when the lock was lost.
    """
    if not plan.fates.repack:
        return
    progress.phase("repack", bytes_total=plan.fates.repack_bytes)
    survey = plan.survey
    with (
        ThreadPoolExecutor(1, thread_name_prefix="pack") as writer,
        ThreadPoolExecutor(WriterSettings().workers, thread_name_prefix="prove") as pool,
    ):
        packs = _NewPacks(survey.box, lock, writer)
        batch, waiting = list[_Sealed](), 0
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
    survey: Survey, packs: _NewPacks, batch: list[_Sealed], pool: ThreadPoolExecutor, progress: Progress
) -> None:
    """Prove a batch, each worker a part of it, then pack it in its order."""
    parts = [batch[start : start + _PART] for start in range(0, len(batch), _PART)]
    for proved in pool.map(partial(_prove, survey), parts):
        progress.raise_if_cancelled()
        for blob, sealed in proved:
            packs.add(blob, sealed)
        progress.advance(bytes_done=sum(len(sealed) for _, sealed in proved))


def _prove(survey: Survey, part: list[_Sealed]) -> list[tuple[PackedBlob, Buffer]]:
    """Return blobs and their sealed bytes, which were opened; bytes that are None are read again, alone."""
    proved = list[tuple[PackedBlob, Buffer]]()
    for number, sealed in part:
        blob, pack = survey.index.blob(number), survey.index.pack_id(survey.index.pack_of(number))
        if sealed is None:
            name = object_name(Kind.PACK, pack)
            sealed = memoryview(survey.box.store.get(name, offset=blob.offset, length=blob.length))
        try:
            opened_blob(survey.box.key, sealed, wanted=blob.id, raw_length=blob.raw_length)
        except DamageError as error:
            raise DamageError(
                f"pack {pack[:8]}: {error.message}",
                safe="nothing was removed",
                hint="run `check --read-data` to see which snapshots are affected",
            ) from error
        proved.append((blob, sealed))
    return proved


class _NewPacks:
    """Fills packs, trees apart from data; has one written at a time, and lists the durable ones in index files."""

    def __init__(self, box: ObjectBox, lock: Lock, writer: ThreadPoolExecutor) -> None:
        self._box = box
        self._lock = lock
        self._writer = writer
        self._under_way: Future[None] | None = None
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
        self._wait()
        self._save_index()
        return self._index_files

    def _send(self, pack: OpenPack) -> None:
        self._wait()
        self._under_way = self._writer.submit(self._write, pack)

    def _wait(self) -> None:
        """Wait until the pack that is being written is durable; raises what kept it from being so."""
        if self._under_way is not None:
            self._under_way.result()

    def _write(self, pack: OpenPack) -> None:
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
