"""Files that are read and sealed in processes of their own (`machine/crew`), or here while that is not worth it.

Run as a program this is such a process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from mmap import mmap
from typing import TypeAlias

import msgspec

from edurise_backup.machine.crew import Crew, Member
from edurise_backup.machine.serving import Messages, serve
from edurise_backup.model.compression import Compression
from edurise_backup.model.content import BlobId
from edurise_backup.model.paging import Paged
from edurise_backup.model.status import Status
from edurise_backup.pipeline import large_files, small_files
from edurise_backup.pipeline.chunker import ChunkSizes
from edurise_backup.pipeline.codec import MasterKey
from edurise_backup.pipeline.large_files import Ended, LargeFiles, Opened, Part
from edurise_backup.pipeline.sealer import SealedBlob, Sealer, SealSettings
from edurise_backup.pipeline.small_files import LiveFiles, SmallFiles, unread
from edurise_backup.ports import CHANGED, FileState, LiveFile, StoredFile

_WORTH_IT = 8 * 1024 * 1024
"""So many bytes are worked on in this process, and each file of a batch counts as some thousand more.

Starting a process takes as long.
"""
_A_FILE = 16 * 1024
_PAGE_CHECKSUMS = "edurise_backup.postgres.page_checksum_columns"
"""Numpy comes with it, which costs a process more than all else that it loads."""
_SEGMENT = 16 * 1024 * 1024
"""Bytes of a live file that is read before a process would have started: an unchanged cluster has but its log's end."""
MOST_OF_A_BATCH = 4 * 1024 * 1024
"""Bytes that the files of a batch may have together."""

Claim = Callable[[Sequence[BlobId | None]], list[bool]]
"""Says of each blob whether it is to be sealed."""
Take = Callable[[Sequence[SealedBlob], memoryview], None]
"""Takes sealed blobs; their bytes lie one behind the other, and stay only until this returns."""


class _Setup(msgspec.Struct, array_like=True):
    key: bytes
    compression: Compression
    check: bool
    sizes: tuple[int, int, int]


class _Batch(msgspec.Struct, array_like=True, tag=True):
    files: list[tuple[bytes, Status]]
    """Paths in the file system's bytes."""


class _LiveBatch(msgspec.Struct, array_like=True, tag=True):
    files: list[tuple[bytes, Paged]]


class _File(msgspec.Struct, array_like=True, tag=True):
    path: bytes
    paged: Paged | None


_Order: TypeAlias = _Batch | _LiveBatch | _File


class Sealing:
    """Works on files; safe from any number of threads, each of which waits for its own."""

    def __init__(self, key: MasterKey, settings: SealSettings, sizes: ChunkSizes, *, members: int) -> None:
        self._key = key
        self._settings = settings
        setup = _Setup(
            key.to_bytes(), settings.compression, settings.check, (sizes.minimum, sizes.average, sizes.maximum)
        )
        arena = max(large_files.room_for(sizes), MOST_OF_A_BATCH)
        self._crew = Crew(__name__, setup, members=members, arena=arena)
        self._guard = threading.Lock()
        self._bytes = 0

    def batch(self, files: Sequence[FileState], claim: Claim, take: Take) -> list[BlobId | None]:
        """Read small files and return their ids; what was claimed is taken. Raises DamageError, BackupError."""
        needed = small_files.room_for(files)
        if not self._worth_it(needed + _A_FILE * len(files)) or needed > MOST_OF_A_BATCH:
            return self._batch_here(files, claim, take, memoryview(mmap(-1, needed)))
        with self._crew.member() as member:
            member.send(_Batch([(os.fsencode(file.path), file.status) for file in files]))
            ids = member.receive(list[BlobId | None])
            _take_claimed(member, ids, claim, take)
        return ids

    def live(self, files: Sequence[LiveFile], claim: Claim, take: Take) -> list[StoredFile | None]:
        """Read small files that may change meanwhile; the chunks that were claimed are taken."""
        needed = small_files.room_for_live(files)
        if not self._worth_it(needed + _A_FILE * len(files)) or needed > MOST_OF_A_BATCH:
            room = memoryview(mmap(-1, max(1, needed)))
            work = LiveFiles(Sealer(self._key, self._settings, room))
            found = work.read(files)
            blobs = work.seal(claim(_ids_of(found)))
            take(blobs, room[: sum(blob.length for blob in blobs)])
            return found
        self._prepare(files[0].paged)
        with self._crew.member() as member:
            member.send(_LiveBatch([(os.fsencode(file.path), file.paged) for file in files]))
            found = member.receive(list[StoredFile | None])
            _take_claimed(member, _ids_of(found), claim, take)
        return found

    def file(
        self, path: str, paged: Paged | None, claim: Claim, take: Take, advance: Callable[[int], None]
    ) -> StoredFile | None:
        """Read a large file; None while no other process is worth it: then the caller must read it."""
        expected = paged.end - paged.begin if paged is not None and paged.end is not None else 0
        if 0 < expected <= _SEGMENT and not self._crew.begun:
            return None
        if not self._worth_it(max(_WORTH_IT // 4, expected)):
            return None
        self._prepare(paged)
        with self._crew.member() as member:
            member.send(_File(os.fsencode(path), paged))
            opened = member.receive(Opened)
            if opened.status is None:
                return unread(opened.errno, paged)
            ids: list[BlobId] = []
            size = 0
            while True:
                part = member.receive(Part)
                if part.errno:
                    return StoredFile(None, [], size, os.strerror(part.errno))
                if not part.ids:
                    break
                advance(part.size)
                _take_claimed(member, part.ids, claim, take)
                ids += part.ids
                size += part.size
            ended = member.receive(Ended)
        return StoredFile(opened.status, ids, size, "" if ended.still else CHANGED, ended.damaged)

    def close(self) -> None:
        """End the processes."""
        self._crew.close()

    def _prepare(self, paged: Paged | None) -> None:
        if paged is not None and paged.check is not None:
            self._crew.will_need(_PAGE_CHECKSUMS)

    def _worth_it(self, size: int) -> bool:
        with self._guard:
            self._bytes += size
            return self._bytes > _WORTH_IT and bool(self._crew.room)

    def _batch_here(
        self, files: Sequence[FileState], claim: Claim, take: Take, room: memoryview
    ) -> list[BlobId | None]:
        work = SmallFiles(Sealer(self._key, self._settings, room))
        ids = work.read(files)
        blobs = work.seal(claim(ids))
        take(blobs, room[: sum(blob.length for blob in blobs)])
        return ids


def _ids_of(files: Sequence[StoredFile | None]) -> list[BlobId]:
    return [blob for file in files if file is not None for blob in file.blobs]


def _take_claimed(member: Member, ids: Sequence[BlobId | None], claim: Claim, take: Take) -> None:
    member.send(claim(ids))
    blobs = member.receive(list[SealedBlob])
    take(blobs, member.arena[: sum(blob.length for blob in blobs)])


def _work(setup: _Setup, messages: Messages) -> None:
    key = MasterKey.from_bytes(setup.key)
    sealer = Sealer(key, SealSettings(setup.compression, setup.check), messages.arena)
    small, live, large = SmallFiles(sealer), LiveFiles(sealer), LargeFiles(sealer, ChunkSizes(*setup.sizes))
    while True:
        order: _Order = messages.next(_Order)  # type: ignore[arg-type]  # a union is no class to mypy
        if isinstance(order, _Batch):
            messages.answer(small.read, [FileState(os.fsdecode(path), status) for path, status in order.files])
            messages.answer(small.seal, messages.next(list[bool]))
        elif isinstance(order, _LiveBatch):
            messages.answer(live.read, [LiveFile(os.fsdecode(path), paged) for path, paged in order.files])
            messages.answer(live.seal, messages.next(list[bool]))
        else:
            _large(large, order, messages)


def _large(file: LargeFiles, order: _File, messages: Messages) -> None:
    opened = file.open(os.fsdecode(order.path), order.paged)
    messages.say(opened)
    while opened.status is not None:
        part = file.next()
        messages.say(part)
        if part.errno:
            return
        if not part.ids:
            messages.say(file.ended())
            return
        messages.answer(file.seal, messages.next(list[bool]))


if __name__ == "__main__":
    serve(_Setup, _work)
