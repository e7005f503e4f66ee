"""Takes plaintext pieces, stores those that are new, and answers with their ids.

The way of a piece: hash → look up → compress → seal → open and hash again →
pack → write and fsync → index. Worker threads do everything up to the pack,
one thread writes full packs. Nothing refers to a pack before it is durable,
and nothing to an index before its packs are: a crash leaves data that the next
prune removes, never a reference to data that is missing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from edurise_backup.errors import BackupError, NotFoundError
from edurise_backup.model.content import BlobId, BlobKind, blob_id
from edurise_backup.pipeline.codec import OVERHEAD, Scratch, compress_if_smaller
from edurise_backup.pipeline.sealing import Sealing
from edurise_backup.pipeline.small_files import EMPTY, SealSettings, prove_before_writing
from edurise_backup.ports import Buffer, FileState
from edurise_backup.repository.index import Index
from edurise_backup.repository.index_files import encode_index
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.objects import ObjectBox
from edurise_backup.repository.packs import MAX_BLOBS, OpenPack, PackBuffers, PackedBlob

INDEX_BLOBS = 50_000
"""An index file lists at most about this many blobs, as stock restic's do."""


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """How blobs are stored; `pack_size` and `in_flight` in bytes."""

    pack_size: int = 16 * 1024 * 1024
    in_flight: int = 12 * 1024 * 1024
    level: int = 3
    check: bool = True
    """Open, decode and hash each blob again before its pack is written."""
    workers: int = os.cpu_count() or 2
    crew: int = (os.cpu_count() or 2) + 1
    """Processes for small files at most; they wait for the disk, too."""


@dataclass(slots=True)
class WriterStats:
    """What a writer added; bytes."""

    data_blobs: int = 0
    tree_blobs: int = 0
    plain_bytes: int = 0
    stored_bytes: int = 0
    sent_bytes: int = 0


class _Room:
    """Lets at most `limit` bytes be under way; one piece larger than that goes alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._used == 0 or self._used + size <= self._limit)
            self._used += size

    def give(self, size: int) -> None:
        with self._changed:
            self._used -= size
            self._changed.notify_all()


class _Scratches(threading.local):
    def __init__(self) -> None:
        self.own = Scratch()


class BlobWriter:
    """The repository's `ports.BlobSink`. After an error it takes nothing more and raises that error.

    `confirm` is the lock's: asked before each index file, because an index of packs that somebody's
    prune removed meanwhile would make later backups trust them. None: indexing is the caller's.
    """

    def __init__(
        self, box: ObjectBox, index: Index, settings: WriterSettings, *, confirm: Callable[[], None] | None
    ) -> None:
        self.stats = WriterStats()
        self._box = box
        self._index = index
        self._confirm = confirm
        self._settings = settings
        self._room = _Room(settings.in_flight)
        self._packs_under_way = threading.BoundedSemaphore(1)
        self._guard = threading.Lock()
        self._claimed: set[tuple[BlobKind, BlobId]] = set()
        self._open: dict[BlobKind, OpenPack] = {}
        self._buffers = PackBuffers(settings.pack_size)
        self.written: list[tuple[str, list[PackedBlob]]] = []
        """Durable packs that no index file lists yet; without `confirm` indexing them is the caller's."""
        self.index_files: list[str] = []
        """The ids of the index files that list the others."""
        self._failure: BaseException | None = None
        level = None if box.version == 1 else settings.level
        self._level = level
        self._scratch = _Scratches()
        self._sealing = Sealing(box.key, SealSettings(level, settings.check), members=settings.crew)
        self._workers = ThreadPoolExecutor(settings.workers, thread_name_prefix="seal")
        self._pack_writer = ThreadPoolExecutor(1, thread_name_prefix="pack")

    def store(self, kind: BlobKind, pieces: Sequence[Buffer]) -> Future[list[BlobId]]:
        """Store the new ones of `pieces`; blocks while too much is under way."""
        if self._failure is not None:
            raise self._failure
        size = sum(len(piece) for piece in pieces)
        self._room.take(size)
        future = self._workers.submit(self._store_all, kind, pieces)
        future.add_done_callback(lambda _: self._room.give(size))
        return future

    def finish(self) -> None:
        """Make everything durable and indexed; only then may something refer to the blobs. Raises the first error."""
        self._sealing.close()
        self._workers.shutdown(wait=True)
        for pack in self._open.values():
            if self._failure is None:
                self._send(pack)
        self._open.clear()
        self._pack_writer.shutdown(wait=True)
        if self._failure is not None:
            raise self._failure
        self._save_index()

    def abandon(self) -> None:
        """Stop without finishing; what was written already waits for a prune, or for the next run to use it."""
        self._failure = self._failure or BackupError("the writer was abandoned")
        self._sealing.close()
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._pack_writer.shutdown(wait=True, cancel_futures=True)

    def _store_all(self, kind: BlobKind, pieces: Sequence[Buffer]) -> list[BlobId]:
        try:
            ids = [blob_id(piece) for piece in pieces]
            for wanted, piece in zip(ids, pieces, strict=True):
                if self._claim(kind, wanted):
                    self._store(kind, wanted, piece)
        except BaseException as error:
            self._failure = self._failure or error  # of any class: a claimed blob that was not stored is missing
            raise
        return ids

    def _claim(self, kind: BlobKind, wanted: BlobId) -> bool:
        """Whether the caller is the one to store this blob."""
        blob = (kind, wanted)
        if blob in self._index:
            return False
        with self._guard:
            if blob in self._claimed:
                return False
            self._claimed.add(blob)
            return True

    def store_files(self, files: Sequence[FileState]) -> list[BlobId | None]:
        """Read small files and store the new ones; None for one that is not in that state any more."""
        if self._failure is not None:
            raise self._failure
        try:
            ids, sealed = self._sealing.work(files, self._claim_contents)
            for blob in sealed:
                pack, room = self._reserve(BlobKind.DATA, blob.id, len(blob.sealed), blob.raw_length, blob.plain_length)
                room[:] = blob.sealed
                self._filled(pack)
        except BaseException as error:
            self._failure = self._failure or error  # of any class: a claimed blob that was not stored is missing
            raise
        return ids

    def _claim_contents(self, ids: Sequence[BlobId | None]) -> list[bool]:
        return [name is not None and name != EMPTY and self._claim(BlobKind.DATA, name) for name in ids]

    def _store(self, kind: BlobKind, wanted: BlobId, plaintext: Buffer) -> None:
        if self._failure is not None:
            raise self._failure
        frame = None if self._level is None else compress_if_smaller(plaintext, self._level)
        content = plaintext if frame is None else frame
        raw_length = 0 if frame is None else len(plaintext)
        pack, room = self._reserve(kind, wanted, len(content) + OVERHEAD, raw_length, len(plaintext))
        self._box.key.seal_into(content, room)
        if self._settings.check:
            prove_before_writing(self._scratch.own, self._box.key, room, wanted=wanted, raw_length=raw_length)
        self._filled(pack)

    def _reserve(
        self, kind: BlobKind, wanted: BlobId, length: int, raw_length: int, plain_length: int
    ) -> tuple[OpenPack, memoryview]:
        """Give out a range of the open pack; the caller fills it and says so with `_filled`."""
        full = None
        with self._guard:
            pack = self._open.get(kind)
            if pack is not None and not pack.has_room(length):
                full = pack if pack.unfilled == 0 else None  # else whoever fills its last range sends it
                del self._open[kind]
                pack = None
            if pack is None:
                pack = self._open[kind] = OpenPack(kind, self._buffers.take(length))
            room = pack.reserve(wanted, length, raw_length)
            pack.unfilled += 1
            if pack.size >= self._settings.pack_size or len(pack.blobs) >= MAX_BLOBS:
                del self._open[kind]
            self._count(kind, plain_length, length)
        if full is not None:
            self._send(full)
        return pack, room

    def _filled(self, pack: OpenPack) -> None:
        """Note that a range is filled; the last one of a pack that is closed sends it."""
        with self._guard:
            pack.unfilled -= 1
            if pack.unfilled or self._open.get(pack.kind) is pack:
                return
        self._send(pack)

    def _count(self, kind: BlobKind, plain_length: int, length: int) -> None:
        self.stats.plain_bytes += plain_length
        self.stats.stored_bytes += length
        self.stats.data_blobs += kind is BlobKind.DATA
        self.stats.tree_blobs += kind is BlobKind.TREE

    def _send(self, pack: OpenPack) -> None:
        self._packs_under_way.acquire()
        try:
            self._pack_writer.submit(self._write, pack)
        except RuntimeError:  # the writer was abandoned meanwhile
            self._packs_under_way.release()

    def _write(self, pack: OpenPack) -> None:
        try:
            if self._failure is None:
                pack_id, pieces = pack.seal(self._box.key)
                self._box.store.put(object_name(Kind.PACK, pack_id), pieces)
                self._index_pack(pack_id, pack, sum(map(len, pieces)))
                self._buffers.give_back(pack.buffer)
        except BaseException as error:  # noqa: BLE001
            self._failure = self._failure or error  # the thread's border: raised again in `store` and `finish`
        finally:
            self._packs_under_way.release()

    def _index_pack(self, pack_id: str, pack: OpenPack, size: int) -> None:
        self.stats.sent_bytes += size
        self._index.add_pack(pack_id, pack.blobs)
        with self._guard:
            self._claimed.difference_update((blob.kind, blob.id) for blob in pack.blobs)
        self.written.append((pack_id, pack.blobs))
        if self._confirm is not None and sum(len(blobs) for _, blobs in self.written) >= INDEX_BLOBS:
            self._save_index()

    def _save_index(self) -> None:
        if self.written and self._confirm is not None:
            self.index_files.append(save_index(self._box, self.written, self._confirm))
            self.written = []


def save_index(box: ObjectBox, packs: list[tuple[str, list[PackedBlob]]], confirm: Callable[[], None]) -> str:
    """List durable packs in a new index file; raises LockedError when the lock that `confirm` proves was lost.

    A process that was frozen after it proved its lock may find packs gone: then the file must not stay.
    """
    confirm()
    index_id = box.save(Kind.INDEX, encode_index(packs))
    try:
        confirm()
    except BackupError:
        if any(not _is_there(box, object_name(Kind.PACK, pack)) for pack, _ in packs):
            box.store.delete(object_name(Kind.INDEX, index_id))
        raise
    return index_id


def _is_there(box: ObjectBox, name: str) -> bool:
    try:
        box.store.size(name)
    except NotFoundError:
        return False
    return True
