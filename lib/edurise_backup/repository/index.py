"""Which pack holds which blob.

Index files are JSON (restic's `doc/design.rst`, "Indexing"). In memory a blob
is one dictionary entry: its place is a single integer, so that an entry stays small.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

import msgspec

from edurise_backup.errors import DamageError
from edurise_backup.model.content import BlobId, BlobKind, HexId
from edurise_backup.pipeline.codec import OVERHEAD
from edurise_backup.repository.packs import PackedBlob, pack_size

_U32 = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]


class _IndexBlob(msgspec.Struct, omit_defaults=True):
    id: HexId
    type: str
    offset: _U32
    length: Annotated[int, msgspec.Meta(ge=1, le=(1 << 32) - 1)]
    uncompressed_length: _U32 = 0


class _IndexPack(msgspec.Struct):
    id: HexId
    blobs: list[_IndexBlob]


class _IndexFile(msgspec.Struct):
    packs: list[_IndexPack]
    supersedes: list[str] | None = None


_decoder = msgspec.json.Decoder(_IndexFile)
_encoder = msgspec.json.Encoder()
_KINDS = {"data": BlobKind.DATA, "tree": BlobKind.TREE}
_32 = (1 << 32) - 1


def encode_index(packs: Iterable[tuple[str, list[PackedBlob]]]) -> bytes:
    """Return the plaintext of an index file."""
    return _encoder.encode(
        {
            "packs": [
                _IndexPack(
                    pack_id,
                    [_IndexBlob(b.id.hex(), b.kind.word, b.offset, b.length, b.raw_length) for b in blobs],
                )
                for pack_id, blobs in packs
            ]
        }
    )


def decode_index(plaintext: bytes) -> Iterator[tuple[str, list[PackedBlob]]]:
    """Yield (pack id, its blobs); raises DamageError."""
    try:
        packs = _decoder.decode(plaintext).packs
        for pack in packs:
            yield (
                pack.id,
                [
                    PackedBlob(
                        _KINDS[blob.type],
                        BlobId(bytes.fromhex(blob.id)),
                        blob.offset,
                        blob.length,
                        blob.uncompressed_length,
                    )
                    for blob in pack.blobs
                ],
            )
    except (msgspec.DecodeError, ValueError, KeyError) as error:
        raise DamageError(f"an index file is not readable: {error}") from error


@dataclass(frozen=True, slots=True)
class Place:
    """Where a blob's sealed bytes lie."""

    pack: str
    offset: int
    length: int
    raw_length: int

    @property
    def plain_length(self) -> int:
        """Bytes of the plaintext."""
        return self.raw_length or self.length - OVERHEAD


class Index:
    """All blobs of a repository, in memory; lookups need no lock, additions are made by one thread at a time."""

    def __init__(self) -> None:
        self._places: tuple[dict[bytes, int], dict[bytes, int]] = ({}, {})
        self._duplicates: dict[tuple[BlobKind, bytes], list[int]] = {}
        self._packs: list[str] = []
        self._numbers: dict[str, int] = {}
        self._sizes: list[int] = []

    def __len__(self) -> int:
        return len(self._places[0]) + len(self._places[1])

    def __contains__(self, blob: tuple[BlobKind, BlobId]) -> bool:
        return blob[1] in self._places[blob[0]]

    @property
    def packs(self) -> list[str]:
        """The ids of all packs that the index knows."""
        return self._packs

    def add_pack(self, pack_id: str, blobs: Iterable[PackedBlob]) -> None:
        """Make a pack's blobs known; the first pack that has a blob is the one it is read from."""
        if pack_id in self._numbers:
            return  # two index files may list the same pack
        number = self._numbers[pack_id] = len(self._packs)
        self._packs.append(pack_id)
        blobs = list(blobs)
        self._sizes.append(pack_size(blobs))
        for blob in blobs:
            place = number << 96 | blob.offset << 64 | blob.length << 32 | blob.raw_length
            if self._places[blob.kind].setdefault(blob.id, place) != place:
                self._duplicates.setdefault((blob.kind, blob.id), []).append(place)

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield (pack id, bytes that it must have)."""
        yield from zip(self._packs, self._sizes, strict=True)

    def copies(self) -> Iterator[tuple[BlobKind, BlobId, list[Place]]]:
        """Yield every blob that lies in more than one pack, with all its places."""
        for kind, blob_id in self._duplicates:
            yield kind, BlobId(blob_id), self.all_places(kind, BlobId(blob_id))

    def find(self, kind: BlobKind, blob_id: BlobId) -> Place | None:
        """Return the blob's place, or None."""
        place = self._places[kind].get(blob_id)
        return None if place is None else self._unpacked(place)

    def all_places(self, kind: BlobKind, blob_id: BlobId) -> list[Place]:
        """Return every place of a blob: a second copy heals a damaged first one."""
        first = self._places[kind].get(blob_id)
        if first is None:
            return []
        return [self._unpacked(place) for place in (first, *self._duplicates.get((kind, blob_id), ()))]

    def blobs(self, kind: BlobKind) -> Iterable[bytes]:
        """Return the ids of all blobs of one kind."""
        return self._places[kind].keys()

    def _unpacked(self, place: int) -> Place:
        return Place(self._packs[place >> 96], place >> 64 & _32, place >> 32 & _32, place & _32)
