"""Packs that are being filled, by any number of threads, and the threads that write full ones.

A thread takes a range of an open pack, fills it in its own time and says so;
whoever fills the last range of a full pack sends it. A pack is durable before
anybody hears of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from edurise_backup.model.content import BlobKind
from edurise_backup.pipeline.codec import MasterKey
from edurise_backup.pipeline.sealer import SealedBlob
from edurise_backup.ports import Store
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.packs import MAX_BLOBS, OpenPack, PackBuffers, PackedBlob

Written = Callable[[str, list[PackedBlob], int], None]
"""Hears of a durable pack: its id, its blobs, its bytes. Called by one thread at a time."""


class Filling:
    """The open packs of one writer, one for each kind of blob."""

    def __init__(self, store: Store, key: MasterKey, *, pack_size: int, written: Written, at_once: int = 1) -> None:
        """`at_once` packs are written at the same time: one for a disk, more where each waits for a network."""
        self.failure: BaseException | None = None
        """What ended it: no pack is written any more."""
        self._store = store
        self._key = key
        self._pack_size = pack_size
        self._written = written
        self._guard = threading.Lock()
        self._open: dict[BlobKind, OpenPack] = {}
        self._buffers = PackBuffers(pack_size)
        self._telling = threading.Lock()
        self._under_way = threading.BoundedSemaphore(at_once)
        self._writer = ThreadPoolExecutor(at_once, thread_name_prefix="pack")

    def reserve(self, kind: BlobKind, blobs: Sequence[SealedBlob]) -> tuple[OpenPack, memoryview, int]:
        """Give out the range of the open pack for the first ones of `blobs`, and say how many those are.

        The caller fills it and says so with `filled`.
        """
        full = None
        with self._guard:
            pack = self._open.get(kind)
            if pack is not None and not pack.has_room(blobs[0].length):
                full = pack if pack.unfilled == 0 else None  # else whoever fills its last range sends it
                del self._open[kind]
                pack = None
            if pack is None:
                pack = self._open[kind] = OpenPack(kind, self._buffers.take(blobs[0].length))
            start, count = pack.size, 0
            for blob in blobs:
                if count and (pack.size >= self._pack_size or not pack.has_room(blob.length)):
                    break
                pack.reserve(blob.id, blob.length, blob.raw_length)
                count += 1
                if len(pack.blobs) >= MAX_BLOBS:
                    break
            room = pack.buffer[start : pack.size]
            pack.unfilled += 1
            if pack.size >= self._pack_size or len(pack.blobs) >= MAX_BLOBS:
                del self._open[kind]
        if full is not None:
            self._send(full)
        return pack, room, count

    def filled(self, pack: OpenPack) -> None:
        """Note that a range is filled; the last one of a pack that is closed sends it."""
        with self._guard:
            pack.unfilled -= 1
            if pack.unfilled or self._open.get(pack.kind) is pack:
                return
        self._send(pack)

    def finish(self) -> None:
        """Write what is left, and wait until all is durable; nobody may reserve any more. Raises the first error."""
        for pack in self._open.values():
            if self.failure is None:
                self._send(pack)
        self._open.clear()
        self._writer.shutdown(wait=True)
        if self.failure is not None:
            raise self.failure

    def abandon(self) -> None:
        """Write nothing more."""
        self._writer.shutdown(wait=True, cancel_futures=True)

    def _send(self, pack: OpenPack) -> None:
        self._under_way.acquire()
        try:
            self._writer.submit(self._write, pack)
        except RuntimeError:  # the writer was abandoned meanwhile
            self._under_way.release()

    def _write(self, pack: OpenPack) -> None:
        try:
            if self.failure is None:
                pack_id, pieces = pack.seal(self._key)
                self._store.put(object_name(Kind.PACK, pack_id), pieces)
                with self._telling:
                    self._written(pack_id, pack.blobs, sum(map(len, pieces)))
                self._buffers.give_back(pack.buffer)
        except BaseException as error:  # noqa: BLE001
            self.failure = self.failure or error  # the thread's border: raised again in `finish`
        finally:
            self._under_way.release()
