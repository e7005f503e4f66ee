"""Small files: read, hashed, compressed and sealed many at a time, here or in a process of its own.

A small file costs Python more than it costs the machine, and one process runs
Python on one core only. So the work on a batch is one object, `SmallFiles`,
that needs nothing but a key: `machine/crew` keeps several of them in
processes of their own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import NamedTuple

import msgspec

from edurise_backup.errors import DamageError
from edurise_backup.model.content import BlobId, blob_id
from edurise_backup.pipeline.codec import OVERHEAD, MasterKey, Scratch, compress_if_smaller
from edurise_backup.ports import FileState

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
EMPTY = blob_id(b"")
"""Answered for a file without content, which has no blob."""


@dataclass(frozen=True, slots=True)
class SealSettings:
    """How blobs are stored; `level` is None in a repository that does not compress."""

    level: int | None
    check: bool
    """Open, decode and hash each blob again."""


class SealedBlob(NamedTuple):
    """A blob as it is stored; `raw_length` is 0 when it is not compressed."""

    id: BlobId
    length: int
    raw_length: int
    plain_length: int


class SealedBatch(msgspec.Struct, array_like=True, frozen=True):
    """Sealed blobs, and their bytes one behind the other; these stay as they are until the next batch."""

    blobs: list[SealedBlob]
    content: memoryview


class SmallFiles:
    """The work on one batch after the other, for one thread."""

    def __init__(self, key: MasterKey, settings: SealSettings) -> None:
        self._key = key
        self._settings = settings
        self._scratch = Scratch()
        self._room = memoryview(b"")
        self._contents: list[bytes | None] = []
        self._ids: list[BlobId | None] = []

    def read(self, files: Sequence[FileState]) -> list[BlobId | None]:
        """Return the id of each file's content; None where the file is not as described."""
        self._contents = [content_of(file) for file in files]
        self._ids = [None if content is None else blob_id(content) for content in self._contents]
        return self._ids

    def seal(self, wanted: Sequence[bool]) -> SealedBatch:
        """Return the wanted ones of the contents that were read last; raises DamageError when the check fails."""
        chosen = [
            (name, content)
            for content, name, yes in zip(self._contents, self._ids, wanted, strict=True)
            if yes and content and name
        ]
        most = sum(len(content) + OVERHEAD for _, content in chosen)
        if len(self._room) < most:
            self._room = memoryview(mmap(-1, most))
        blobs, end = [], 0
        for name, content in chosen:
            blob = self._sealed(content, name, end)
            blobs.append(blob)
            end += blob.length
        return SealedBatch(blobs, self._room[:end])

    def _sealed(self, content: bytes, name: BlobId, start: int) -> SealedBlob:
        level = self._settings.level
        frame = None if level is None else compress_if_smaller(content, level)
        plaintext = content if frame is None else frame
        raw_length = 0 if frame is None else len(content)
        room = self._room[start : start + len(plaintext) + OVERHEAD]
        self._key.seal_into(plaintext, room)
        if self._settings.check:
            prove_before_writing(self._scratch, self._key, room, wanted=name, raw_length=raw_length)
        return SealedBlob(name, len(room), raw_length, len(content))


def prove_before_writing(
    scratch: Scratch, key: MasterKey, sealed: bytes | memoryview, *, wanted: BlobId, raw_length: int
) -> None:
    """Open, decode and hash a blob before it is written; raises DamageError.

    zstd has written frames that do not decode, and memory flips bits (restic issues 4523, 4677, 4529).
    """
    try:
        scratch.open_blob(key, sealed, wanted=wanted, raw_length=raw_length)
    except DamageError as error:
        raise DamageError(
            f"a blob came out damaged before it was written: {error.message}",
            safe="everything that was published before; the damaged blob was not stored",
            hint="test this machine's memory, then run the backup again",
        ) from error


def content_of(file: FileState) -> bytes | None:
    """Return a file's bytes; None when it cannot be read, or is in another state after the last byte."""
    try:
        descriptor = os.open(file.path, _FLAGS)
    except OSError:
        return None
    found = file.status
    try:
        content = os.read(descriptor, found.st_size + 1)
        now = os.fstat(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    same = (
        now.st_ctime_ns == found.st_ctime_ns
        and now.st_mtime_ns == found.st_mtime_ns
        and now.st_ino == found.st_ino
        and now.st_dev == found.st_dev
        and now.st_mode == found.st_mode
        and now.st_size == found.st_size == len(content)
    )
    return content if same else None
