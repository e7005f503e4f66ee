"""Takes plaintext pieces, stores those that are new, and answers with their ids.

The way of a piece: hash → look up → compress → seal → open and hash again →
pack → write and fsync → index. Worker threads do everything up to the pack,
one thread writes full packs, several where they go over a network. Nothing
refers to a pack before it is durable, and nothing to an index before its packs
are: a crash leaves data that the next prune removes, never a reference to data
that is missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from edurise_backup.errors import BackupError
from edurise_backup.machine.cores import cores
from edurise_backup.model.compression import AUTO, TREES, Compression
from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.model.location import directory_of
from edurise_backup.model.paging import Paged
from edurise_backup.pipeline.chunker import ChunkSizes, id_of
from edurise_backup.pipeline.codec import OVERHEAD, Scratch, compress_if_smaller
from edurise_backup.pipeline.sealer import SealedBlob, SealSettings, prove_before_writing
from edurise_backup.pipeline.sealing import Sealing
from edurise_backup.pipeline.small_files import EMPTY
from edurise_backup.ports import Buffer, FileState, LiveFile, StoredFile
from edurise_backup.repository.filling import Filling
from edurise_backup.repository.index import Index
from edurise_backup.repository.index_files import encode_index
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.objects import ObjectBox
from edurise_backup.repository.packs import PackedBlob
from edurise_backup.repository.removals import take_away

INDEX_BLOBS = 50_000
"""An index file lists at most about this many blobs, as stock restic's do."""
_PACKS_AT_ONCE = 4
"""Packs that go over a network at the same time, as many as rclone sends; each takes its size of memory."""


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """How files are cut and blobs stored; `pack_size` and `in_flight` in bytes."""

    pack_size: int = 16 * 1024 * 1024
    in_flight: int = 64 * 1024 * 1024
    sizes: ChunkSizes = field(default_factory=ChunkSizes)
    compression: Compression = AUTO
    check: bool = True
    """Open, decode and hash each blob again before its pack is written."""
    workers: int = field(default_factory=cores)
    crew: int = field(default_factory=lambda: cores() + 2)
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
        self._guard = threading.Lock()
        self._claimed: set[tuple[BlobKind, BlobId]] = set()
        self._packs = Filling(
            box.store,
            box.key,
            pack_size=settings.pack_size,
            written=self._index_pack,
            at_once=_PACKS_AT_ONCE if directory_of(box.store.address) is None else 1,
        )
        self.written: list[tuple[str, list[PackedBlob]]] = []
        """Durable packs that no index file lists yet; without `confirm` indexing them is the caller's."""
        self.index_files: list[str] = []
        """The ids of the index files that list the others."""
        off = Compression(None)  # version 1 of the format knows no compression
        self._compression = {
            BlobKind.DATA: off if box.version == 1 else settings.compression,
            BlobKind.TREE: off if box.version == 1 else TREES,
        }
        self._scratch = _Scratches()
        seal = SealSettings(self._compression[BlobKind.DATA], settings.check)
        self._sealing = Sealing(box.key, seal, settings.sizes, members=settings.crew)
        self._workers = ThreadPoolExecutor(settings.workers, thread_name_prefix="seal")

    def store(self, kind: BlobKind, pieces: Sequence[Buffer]) -> Future[list[BlobId]]:
        """Store the new ones of `pieces`; blocks while too much is under way."""
        self._raise_if_failed()
        size = sum(len(piece) for piece in pieces)
        self._room.take(size)
        future = self._workers.submit(self._store_all, kind, pieces)
        future.add_done_callback(lambda _: self._room.give(size))
        return future

    def store_files(self, files: Sequence[FileState]) -> list[BlobId | None]:
        """Read small files and store the new ones; None for one that is not in that state any more."""
        self._raise_if_failed()
        with self._failing():
            return self._sealing.batch(files, self._claim_contents, self._take_over)

    def store_live(self, files: Sequence[LiveFile]) -> list[StoredFile | None]:
        """Read small files that may change meanwhile, and store the new ones of their chunks."""
        self._raise_if_failed()
        with self._failing():
            return self._sealing.live(files, self._claim_contents, self._take_over)

    def store_file(self, path: str, advance: Callable[[int], None], paged: Paged | None = None) -> StoredFile | None:
        """Read a large file in a process of its own and store it; None while that is not worth it."""
        self._raise_if_failed()
        with self._failing():
            return self._sealing.file(path, paged, self._claim_contents, self._take_over, advance)

    def finish(self) -> None:
        """Make everything durable and indexed; only then may something refer to the blobs. Raises the first error."""
        self._sealing.close()
        self._workers.shutdown(wait=True)
        self._packs.finish()
        self._save_index()

    def abandon(self) -> None:
        """Stop without finishing; what was written already waits for a prune, or for the next run to use it."""
        self._packs.failure = self._packs.failure or BackupError("the writer was abandoned")
        self._sealing.close()
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._packs.abandon()

    def _raise_if_failed(self) -> None:
        if self._packs.failure is not None:
            raise self._packs.failure

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Take nothing more after an error of any class: a claimed blob that was not stored is missing."""
        try:
            yield
        except BaseException as error:
            self._packs.failure = self._packs.failure or error
            raise

    def _store_all(self, kind: BlobKind, pieces: Sequence[Buffer]) -> list[BlobId]:
        with self._failing():
            ids = [id_of(piece) for piece in pieces]
            for wanted, piece in zip(ids, pieces, strict=True):
                if self._claim(kind, wanted):
                    self._store(kind, wanted, piece)
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

    def _claim_contents(self, ids: Sequence[BlobId | None]) -> list[bool]:
        return [name is not None and name != EMPTY and self._claim(BlobKind.DATA, name) for name in ids]

    def _store(self, kind: BlobKind, wanted: BlobId, plaintext: Buffer) -> None:
        self._raise_if_failed()
        frame = compress_if_smaller(plaintext, self._compression[kind])
        content = plaintext if frame is None else frame
        raw_length = 0 if frame is None else len(plaintext)
        blob = SealedBlob(wanted, len(content) + OVERHEAD, raw_length, len(plaintext))
        pack, room, _ = self._packs.reserve(kind, [blob])
        self._box.key.seal_into(content, room)
        if self._settings.check:
            prove_before_writing(self._scratch.own, self._box.key, room, wanted=wanted, raw_length=raw_length)
        self._packs.filled(pack)
        self._count(kind, [blob])

    def _take_over(self, blobs: Sequence[SealedBlob], content: memoryview) -> None:
        """Copy blobs that were sealed elsewhere, one behind the other, into packs."""
        left = blobs
        while left:
            pack, room, count = self._packs.reserve(BlobKind.DATA, left)
            room[:] = content[: len(room)]
            self._packs.filled(pack)
            left, content = left[count:], content[len(room) :]
        self._count(BlobKind.DATA, blobs)

    def _count(self, kind: BlobKind, blobs: Sequence[SealedBlob]) -> None:
        with self._guard:
            self.stats.plain_bytes += sum(blob.plain_length for blob in blobs)
            self.stats.stored_bytes += sum(blob.length for blob in blobs)
            self.stats.data_blobs += len(blobs) if kind is BlobKind.DATA else 0
            self.stats.tree_blobs += len(blobs) if kind is BlobKind.TREE else 0

    def _index_pack(self, pack_id: str, blobs: list[PackedBlob], size: int) -> None:
        self.stats.sent_bytes += size
        self._index.add_pack(pack_id, blobs)
        with self._guard:
            self._claimed.difference_update((blob.kind, blob.id) for blob in blobs)
        self.written.append((pack_id, blobs))
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
        if not all(box.has(Kind.PACK, pack) for pack, _ in packs):
            take_away(box, [object_name(Kind.INDEX, index_id)])
        raise
    return index_id
