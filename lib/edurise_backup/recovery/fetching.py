"""Read runs of blobs out of packs and have them written, each blob proved by its id, many runs at once."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from edurise_backup.errors import DamageError
from edurise_backup.machine.crew import Crew
from edurise_backup.model.content import BlobKind
from edurise_backup.pipeline.codec import MasterKey
from edurise_backup.ports import Progress
from edurise_backup.recovery.planning import WantedBlob
from edurise_backup.recovery.writing import (
    BlobOrder,
    PieceTaker,
    RunOrder,
    RunWriter,
    ordered,
    write_pieces,
    written_by,
)
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.runs import GAP, runs

Lost = Callable[[WantedBlob, DamageError], None]
"""Hears of a blob that no pack has whole; what it raises ends the work."""


class Fetcher:
    """Brings blobs to whoever takes their pieces; `gap` is what may be read over between two of them."""

    def __init__(
        self, repository: Repository, pieces: PieceTaker, *, progress: Progress, lost: Lost, gap: int = GAP
    ) -> None:
        self._repository = repository
        self._pieces = pieces
        self._progress = progress
        self._lost = lost
        self._gap = gap
        self._own = _OwnWriters(repository.box.key, pieces)

    def run(self, packs: Mapping[str, list[WantedBlob]], *, workers: int, crew: Crew | None = None) -> None:
        """Bring every blob to all its places; with a crew its members write."""
        pool = ThreadPoolExecutor(workers, thread_name_prefix="restore")
        try:
            under_way: deque[Future[None]] = deque()
            for pack, blobs in packs.items():
                for run in runs(blobs, gap=self._gap):
                    if len(under_way) >= 2 * workers:
                        under_way.popleft().result()
                    under_way.append(pool.submit(self._bring, pack, run, crew))
            for future in under_way:
                future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _bring(self, pack: str, blobs: list[WantedBlob], crew: Crew | None) -> None:
        self._progress.raise_if_cancelled()
        order = self._order(pack, blobs)
        if crew is None:
            result = self._own.writer.write(order)
        else:
            with crew.member() as member:
                result = written_by(member, order)
        self._pieces.take_over(result.troubles)
        for number in result.damaged:
            self._bring_from_elsewhere(blobs[number], order.blobs[number])
        self._progress.advance(bytes_done=result.written)

    def _order(self, pack: str, blobs: list[WantedBlob]) -> RunOrder:
        start = blobs[0].place.offset
        length = blobs[-1].place.offset + blobs[-1].place.length - start
        name = object_name(Kind.PACK, pack)
        file = self._repository.store.file_of(name)
        # what is not there is empty: each blob is then looked for elsewhere
        sealed = self._repository.read_range(name, start, length) if file is None else b""
        return RunOrder(
            None if file is None else os.fsencode(file), sealed, start, length, [ordered(blob, start) for blob in blobs]
        )

    def _bring_from_elsewhere(self, blob: WantedBlob, order: BlobOrder) -> None:
        """Write a blob whose copy in this pack is damaged: the store, or another pack, may have a whole one."""
        try:
            data = self._repository.read_blob(BlobKind.DATA, blob.id)
        except DamageError as error:
            self._lost(blob, error)
            return
        write_pieces(self._pieces, order.pieces, data)
        self._progress.advance(bytes_done=len(data) * len(blob.pieces))


class _OwnWriters(threading.local):
    def __init__(self, key: MasterKey, pieces: PieceTaker) -> None:
        self.writer = RunWriter(key, pieces)
