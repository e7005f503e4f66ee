"""Take a single record apart: its block references, page images and main data.

For the few records whose meaning is asked for; most are only counted (`columns`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

import zstandard

from edurise_backup.errors import DamageError
from edurise_backup.model.wal import format_lsn
from edurise_backup.postgres.wal.facts import File
from edurise_backup.postgres.wal.layout import PAGE, RECORD_HEADER
from edurise_backup.postgres.wal.records import Records

_MAX_BLOCK = 32
_MAIN_SHORT, _MAIN_LONG, _ORIGIN, _TOP_XID = 255, 254, 253, 252
_HAS_IMAGE, _SAME_FILE = 0x10, 0x80
_HOLE, _PGLZ, _ZSTD = 0x01, 0x04, 0x10
_BLOCK = struct.Struct("<BBH")
_IMAGE = struct.Struct("<HHB")
_FILE = struct.Struct("<III")
_U16, _U32 = struct.Struct("<H"), struct.Struct("<I")


class Image(NamedTuple):
    """A page as the record keeps it: without the hole of zeros in its middle, maybe compressed."""

    flags: int
    """As in PostgreSQL 15 and later."""
    hole_begin: int
    hole_length: int
    content: bytes

    @property
    def compressed(self) -> bool:
        """Whether `content` must be decompressed."""
        return bool(self.flags & 0x1C)

    def page(self) -> bytes | None:
        """Return the page of 8192 bytes, or None when it is compressed with LZ4 or cannot be decompressed."""
        length = PAGE - self.hole_length
        content: bytes | None = self.content
        if self.flags & _PGLZ:
            content = unpack_pglz(self.content, length)
        elif self.flags & _ZSTD:
            content = _unpack_zstd(self.content, length)
        elif self.compressed:
            return None
        if content is None or len(content) != length:
            return None
        return content[: self.hole_begin] + bytes(self.hole_length) + content[self.hole_begin :]


class Block(NamedTuple):
    """A page that the record changes."""

    fork: int
    file: File
    number: int
    image: Image | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Decoded:
    """A record, taken apart."""

    blocks: dict[int, Block]
    main: bytes


def decode(records: Records, row: int) -> Decoded:
    """Return a record's parts; raises DamageError when they are not where its headers say."""
    start, length = int(records.starts[row]), int(records.lengths[row])
    content = records.stream[start : start + length].tobytes()
    try:
        return _decode(content, records.major)
    except (struct.error, ValueError) as error:
        lsn = format_lsn(int(records.lsns[row]))
        raise DamageError(f"the record at {lsn} cannot be taken apart: {error}") from error


class _Reference(NamedTuple):
    id: int
    fork: int
    file: File
    number: int
    image: tuple[int, int, int, int] | None
    """Length, begin and length of the hole, flags."""
    data_length: int

    @property
    def length(self) -> int:
        """How many bytes it has behind the headers."""
        return self.data_length + (self.image[0] if self.image else 0)


def _decode(content: bytes, major: int) -> Decoded:
    references: list[_Reference] = []
    at, main_length, told = RECORD_HEADER, 0, 0
    while len(content) - at > told:  # a record without main data has no header for it
        kind = content[at]
        if kind <= _MAX_BLOCK:
            at = _reference(content, at, major, references)
            told += references[-1].length
        elif kind == _ORIGIN:
            at += 3
        elif kind == _TOP_XID:
            at += 5
        elif kind == _MAIN_SHORT:
            main_length, at = content[at + 1], at + 2
            break
        elif kind == _MAIN_LONG:
            main_length, at = _U32.unpack_from(content, at + 1)[0], at + 5
            break
        else:
            raise ValueError(f"unknown part {kind}")
    return _bodies(content, at, references, main_length)


def _reference(content: bytes, at: int, major: int, references: list[_Reference]) -> int:
    number, flags, data_length = _BLOCK.unpack_from(content, at)
    at += 4
    image = None
    if flags & _HAS_IMAGE:
        length, hole_begin, told = _IMAGE.unpack_from(content, at)
        at += 5
        if major == 14:  # one bit, for pglz, where later ones have three
            told = told & _HOLE | (_PGLZ if told & 0x02 else 0)
        hole_length = PAGE - length if told & _HOLE else 0
        if told & _HOLE and told & 0x1C:
            hole_length, at = _U16.unpack_from(content, at)[0], at + 2
        image = (length, hole_begin, hole_length, told)
    if flags & _SAME_FILE:
        if not references:
            raise ValueError("the first block reference names no file")
        file = references[-1].file
    else:
        file, at = File(*_FILE.unpack_from(content, at)), at + 12
    references.append(_Reference(number, flags & 0x0F, file, _U32.unpack_from(content, at)[0], image, data_length))
    return at + 4


def _bodies(content: bytes, at: int, references: list[_Reference], main_length: int) -> Decoded:
    blocks: dict[int, Block] = {}
    for reference in references:
        image = None
        if reference.image is not None:
            length, hole_begin, hole_length, flags = reference.image
            image = Image(flags, hole_begin, hole_length, content[at : at + length])
            at += length
        data = content[at : at + reference.data_length]
        at += reference.data_length
        blocks[reference.id] = Block(reference.fork, reference.file, reference.number, image, data)
    if at + main_length != len(content):
        raise ValueError(f"it has {len(content)} bytes, its parts {at + main_length}")
    return Decoded(blocks, content[at:])


def _unpack_zstd(content: bytes, length: int) -> bytes | None:
    try:
        return zstandard.ZstdDecompressor().decompress(content, max_output_size=length)
    except zstandard.ZstdError:
        return None


def unpack_pglz(content: bytes, length: int) -> bytes | None:
    """Return what PostgreSQL's own compression made small (`pg_lzcompress.c`), or None for what it never makes."""
    out = bytearray()
    at = 0
    while at < len(content) and len(out) < length:
        control, at = content[at], at + 1
        for bit in range(8):
            if at >= len(content) or len(out) >= length:
                break
            if not control >> bit & 1:
                out.append(content[at])
                at += 1
                continue
            at = _copy_match(content, at, out)
            if at < 0:
                return None
    return bytes(out) if len(out) == length else None


def _copy_match(content: bytes, at: int, out: bytearray) -> int:
    """Append what a tag repeats; return where the next one is, or -1 when it cannot be."""
    if at + 1 >= len(content):
        return -1
    count, distance = (content[at] & 0x0F) + 3, (content[at] & 0xF0) << 4 | content[at + 1]
    at += 2
    if count == 18:
        if at >= len(content):
            return -1
        count, at = count + content[at], at + 1
    if not 0 < distance <= len(out):
        return -1
    for _ in range(count):
        out.append(out[-distance])
    return at
