"""A pack: sealed blobs, one after the other, then a sealed header that lists them, then the header's length.

Source: restic's `doc/design.rst`, "Pack Format". An entry is type (1 byte),
length (4, little endian), for compressed blobs the plain length (4), id (32).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from mmap import mmap
from typing import NamedTuple

from edurise_backup.errors import DamageError
from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.pipeline.codec import OVERHEAD, MasterKey
from edurise_backup.ports import Buffer

_PLAIN = struct.Struct("<BI32s")
_COMPRESSED = struct.Struct("<BII32s")
_LENGTH = struct.Struct("<I")
MAX_HEADER = 16 * 1024 * 1024
MAX_BLOBS = (MAX_HEADER - OVERHEAD) // _COMPRESSED.size


class PackedBlob(NamedTuple):
    """One blob in a pack: where its sealed bytes lie; `raw_length` is 0 when it is not compressed."""

    kind: BlobKind
    id: BlobId
    offset: int
    length: int
    raw_length: int

    @property
    def plain_length(self) -> int:
        """Bytes of the plaintext."""
        return self.raw_length or self.length - OVERHEAD


_LAST_BLOB = 4 * 1024 * 1024 + 64 * 1024


class PackBuffers:
    """Memory for packs that are being filled, used again and again: fresh memory costs more than filling it."""

    def __init__(self, pack_size: int) -> None:
        """Beyond a pack's size there is room for the blob that fills it; a larger one gets a pack of its own."""
        self._size = pack_size + _LAST_BLOB
        self._free: list[memoryview] = []

    def take(self, least: int) -> memoryview:
        """Return a buffer of the usual size, or of `least` bytes for what does not fit; any thread may."""
        if least > self._size:
            return memoryview(mmap(-1, least))
        try:
            return self._free.pop()
        except IndexError:
            return memoryview(mmap(-1, self._size))  # unlike a bytearray it takes memory only where it is filled

    def give_back(self, buffer: memoryview) -> None:
        """Take back a buffer that nobody looks at any more."""
        if len(buffer) == self._size:
            self._free.append(buffer)


@dataclass(slots=True)
class OpenPack:
    """A pack that is being filled; all its blobs are of one kind."""

    kind: BlobKind
    buffer: memoryview
    blobs: list[PackedBlob] = field(default_factory=list)
    size: int = 0
    unfilled: int = 0
    """Ranges that were given out and are not filled yet."""

    def has_room(self, length: int) -> bool:
        """Whether `length` more bytes fit."""
        return self.size + length <= len(self.buffer)

    def reserve(self, blob_id: BlobId, length: int, raw_length: int) -> memoryview:
        """Give out the range for one sealed blob, to be filled by the caller, in any thread."""
        start = self.size
        self.blobs.append(PackedBlob(self.kind, blob_id, start, length, raw_length))
        self.size += length
        return self.buffer[start : start + length]

    def seal(self, key: MasterKey) -> tuple[str, list[Buffer]]:
        """Return the pack's id and its pieces; the header is opened again before it is trusted."""
        plain = encode_header(self.blobs)
        header = key.seal(plain)
        if key.open(header) != plain:
            raise DamageError("a pack header came out damaged before it was written: this machine's memory is failing")
        pieces: list[Buffer] = [self.buffer[: self.size], header, _LENGTH.pack(len(header))]
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
        return digest.hexdigest(), pieces


def encode_header(blobs: list[PackedBlob]) -> bytes:
    """Return the header's plaintext."""
    return b"".join(
        _COMPRESSED.pack(2 + blob.kind, blob.length, blob.raw_length, blob.id)
        if blob.raw_length
        else _PLAIN.pack(blob.kind, blob.length, blob.id)
        for blob in blobs
    )


def pack_size(blobs: Sequence[PackedBlob]) -> int:
    """Return the bytes of a whole pack of these blobs."""
    return size_of_pack([blob.length for blob in blobs], [blob.raw_length for blob in blobs])


def size_of_pack(lengths: Sequence[int], raw_lengths: Sequence[int]) -> int:
    """Return the bytes of a whole pack of blobs with these lengths."""
    plain = raw_lengths.count(0)
    header = plain * _PLAIN.size + (len(raw_lengths) - plain) * _COMPRESSED.size
    return sum(lengths) + header + OVERHEAD + _LENGTH.size


def decode_header(plain: bytes) -> list[PackedBlob]:
    """Return the blobs that a header lists; raises DamageError."""
    blobs = []
    at = offset = 0
    while at < len(plain):
        kind = plain[at]
        entry = _COMPRESSED if kind in (2, 3) else _PLAIN
        if kind > 3 or at + entry.size > len(plain):
            raise DamageError("a pack header is not readable")
        fields = entry.unpack_from(plain, at)
        length, raw_length, blob = fields[1], fields[2] if len(fields) == 4 else 0, fields[-1]
        blobs.append(PackedBlob(BlobKind(kind & 1), BlobId(blob), offset, length, raw_length))
        offset += length
        at += entry.size
    return blobs


def header_length(tail: bytes, pack_size: int) -> int:
    """Return the sealed header's length, from the pack's last four bytes; raises DamageError."""
    (length,) = _LENGTH.unpack(tail[-4:]) if len(tail) >= 4 else (0,)
    if not OVERHEAD < length <= min(MAX_HEADER, pack_size - 4):
        raise DamageError(f"a pack's header cannot be {length} bytes long")
    return int(length)


def read_header(content: Buffer, key: MasterKey) -> list[PackedBlob]:
    """Return the blobs of a whole pack's bytes; raises DamageError when they do not fill it exactly."""
    return decode_header(header_plaintext(memoryview(content), key))


def header_plaintext(view: memoryview, key: MasterKey) -> bytes:
    """Return a whole pack's header, opened; raises DamageError when its blobs do not fill the pack exactly."""
    length = header_length(bytes(view[-4:]), len(view))
    plain = key.open(view[-4 - length : -4])
    if sum(blob.length for blob in decode_header(plain)) != len(view) - 4 - length:
        raise DamageError("a pack's header does not fit its length")
    return plain
