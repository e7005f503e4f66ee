"""Index files: which packs there are, and which blobs lie in them.

JSON as restic's `doc/design.rst`, "Indexing", defines it.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.objects import ObjectBox
from edurise_backup.repository.packs import PackedBlob

_U32 = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]
_ID = 32


class _IndexBlob(msgspec.Struct, omit_defaults=True, gc=False):
    id: str
    type: str
    offset: _U32
    length: Annotated[int, msgspec.Meta(ge=1, le=(1 << 32) - 1)]
    uncompressed_length: _U32 = 0


class _IndexPack(msgspec.Struct, gc=False):
    id: str
    blobs: list[_IndexBlob]


class _IndexFile(msgspec.Struct):
    packs: list[_IndexPack]
    supersedes: list[str] | None = None


_decoder = msgspec.json.Decoder(_IndexFile)
_encoder = msgspec.json.Encoder()
_KINDS = {"data": BlobKind.DATA, "tree": BlobKind.TREE}


def encode_index(packs: Iterable[tuple[str, Sequence[PackedBlob]]]) -> bytes:
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


@dataclass(frozen=True, slots=True)
class ListedPack:
    """A pack as an index file lists it: ids joined, all else in columns, in the file's order."""

    id: bytes
    ids: bytes
    kinds: bytes
    offsets: array[int]
    lengths: array[int]
    raw_lengths: array[int]

    def blobs(self) -> list[PackedBlob]:
        """Return the blobs one by one."""
        return [
            PackedBlob(_KIND_OF[kind], BlobId(self.ids[at * _ID : at * _ID + _ID]), offset, length, raw_length)
            for at, (kind, offset, length, raw_length) in enumerate(
                zip(self.kinds, self.offsets, self.lengths, self.raw_lengths, strict=True)
            )
        ]


_KIND_OF = (BlobKind.DATA, BlobKind.TREE)


def listed_packs(plaintext: bytes) -> list[ListedPack]:
    """Return the packs of an index file; raises DamageError."""
    try:
        return [_listed(pack) for pack in _decoder.decode(plaintext).packs]
    except (msgspec.DecodeError, ValueError, KeyError) as error:
        raise DamageError(f"an index file is not readable: {error}") from error


def _listed(pack: _IndexPack) -> ListedPack:
    blobs = pack.blobs
    ids = bytes.fromhex("".join([blob.id for blob in blobs]))
    if len(pack.id) != 2 * _ID or any(len(blob.id) != 2 * _ID for blob in blobs):
        raise ValueError("an id of the wrong length")
    return ListedPack(
        bytes.fromhex(pack.id),
        ids,
        bytes([_KINDS[blob.type] for blob in blobs]),
        array("I", [blob.offset for blob in blobs]),
        array("I", [blob.length for blob in blobs]),
        array("I", [blob.uncompressed_length for blob in blobs]),
    )


def decode_index(plaintext: bytes) -> Iterator[tuple[str, list[PackedBlob]]]:
    """Yield (pack id, its blobs); raises DamageError."""
    for pack in listed_packs(plaintext):
        yield pack.id.hex(), pack.blobs()


def read_listed(
    box: ObjectBox, seen: set[str], *, strict: bool, without: Collection[str], damage: list[str]
) -> Iterator[ListedPack]:
    """Yield the packs of all index files that are not in `seen`, and put those there; packs in `without` are left out.

    One that is not readable raises DamageError; not `strict`, it is told in `damage`, a sentence each.
    """
    for index_id in box.ids(Kind.INDEX):
        if index_id in seen:
            continue
        try:
            packs = listed_packs(box.load(Kind.INDEX, index_id))
        except DamageError as error:
            if strict:
                raise
            damage.append(f"index {index_id[:8]}: {error.message}; run `check`")
        except NotFoundError:  # a prune beside us has replaced it since the listing
            pass
        else:
            seen.add(index_id)
            yield from (pack for pack in packs if not without or pack.id.hex() not in without)
