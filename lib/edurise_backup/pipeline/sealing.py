"""Batches of small files, sealed here or in processes of their own (`machine/crew`).

Run as a program this is such a process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

import msgspec

from edurise_backup.machine.crew import Crew, Messages, serve
from edurise_backup.model.content import BlobId
from edurise_backup.model.status import Status
from edurise_backup.pipeline.codec import MasterKey
from edurise_backup.pipeline.small_files import SealedBatch, SealSettings, SmallFiles
from edurise_backup.ports import FileState

_BATCHES_ALONE = 8
"""So many batches are worked on in this process: starting others costs more than a few hundred files."""

Claim = Callable[[Sequence[BlobId | None]], list[bool]]
"""Says of each blob whether it is to be sealed."""
_State = tuple[bytes, Status]
"""A `FileState` with the path in the file system's bytes."""


class _Setup(msgspec.Struct, array_like=True):
    key: bytes
    level: int | None
    check: bool


class Sealing:
    """Works on batches; safe from any number of threads, each of which waits for its own batch."""

    def __init__(self, key: MasterKey, settings: SealSettings, *, members: int) -> None:
        self._key = key
        self._settings = settings
        self._crew = Crew(__name__, _Setup(key.to_bytes(), settings.level, settings.check), members=members)
        self._guard = threading.Lock()
        self._batches = 0

    def work(self, files: Sequence[FileState], claim: Claim) -> tuple[list[BlobId | None], SealedBatch]:
        """Return the files' ids, and the sealed blobs that were claimed; raises DamageError, BackupError."""
        with self._guard:
            self._batches += 1
            alone = self._batches <= _BATCHES_ALONE or not self._crew.room
        if alone:
            small_files = SmallFiles(self._key, self._settings)
            ids = small_files.read(files)
            return ids, small_files.seal(claim(ids))
        with self._crew.member() as member:
            member.send([(os.fsencode(file.path), file.status) for file in files])
            ids = member.receive(list[BlobId | None])
            wanted = claim(ids)
            member.send(wanted)
            return ids, member.receive(SealedBatch)

    def close(self) -> None:
        """End the processes."""
        self._crew.close()


def _work(setup: _Setup, messages: Messages) -> None:
    key = MasterKey.from_bytes(setup.key)
    small_files = SmallFiles(key, SealSettings(setup.level, setup.check))
    while True:
        files = [FileState(os.fsdecode(path), status) for path, status in messages.next(list[_State])]
        messages.answer(small_files.read, files)
        messages.answer(small_files.seal, messages.next(list[bool]))


if __name__ == "__main__":
    serve(_Setup, _work)
