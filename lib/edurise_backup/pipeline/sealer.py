"""Compress, seal and prove many blobs, one behind the other in one piece of memory, for one thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from edurise_backup.errors import DamageError
from edurise_backup.model.compression import Compression
from edurise_backup.model.content import BlobId
from edurise_backup.pipeline.codec import OVERHEAD, MasterKey, Scratch, compress_if_smaller
from edurise_backup.ports import Buffer


@dataclass(frozen=True, slots=True)
class SealSettings:
    """How blobs are stored."""

    compression: Compression
    check: bool
    """Open, decode and hash each blob again."""


class SealedBlob(NamedTuple):
    """A blob as it is stored; `raw_length` is 0 when it is not compressed."""

    id: BlobId
    length: int
    raw_length: int
    plain_length: int


class Sealer:
    """Seals into `room`, which must have space for what is given at a time and OVERHEAD for each blob."""

    def __init__(self, key: MasterKey, settings: SealSettings, room: memoryview) -> None:
        self._key = key
        self._settings = settings
        self._scratch = Scratch()
        self._room = room

    def seal(self, chosen: Iterable[tuple[BlobId, Buffer]]) -> list[SealedBlob]:
        """Seal each content, named by its id; the room holds them until the next call.

        Raises DamageError when the check fails.
        """
        blobs, end = [], 0
        for name, content in chosen:
            blob = self._sealed(content, name, end)
            blobs.append(blob)
            end += blob.length
        return blobs

    def _sealed(self, content: Buffer, name: BlobId, start: int) -> SealedBlob:
        frame = compress_if_smaller(content, self._settings.compression)
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
