"""Write a log byte by byte, as PostgreSQL would, so that a test can say what is in it."""

from __future__ import annotations

import struct

from edurise_backup.model.wal import Segment
from tests.support.wal import SIZE

IDENTIFIER = 7_000_000_000_000_000_001
_MAGIC = {14: 0xD10D, 15: 0xD110, 16: 0xD113, 17: 0xD116, 18: 0xD118}
_PAGE = 8192
_CONTINUES, _LONG, _OVERWRITES = 1, 2, 8


def _shifted(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = [_shifted(byte) for byte in range(256)]


def crc32c(content: bytes) -> int:
    """Return the checksum, a byte at a time."""
    state = 0xFFFFFFFF
    for byte in content:
        state = (state >> 8) ^ _TABLE[(state ^ byte) & 0xFF]
    return state ^ 0xFFFFFFFF


class LogWriter:
    """A log that begins with a segment."""

    def __init__(self, segment: Segment, *, major: int = 15) -> None:
        self._start = segment.start(SIZE)
        self._timeline = segment.timeline
        self._magic = _MAGIC[major]
        self._out = bytearray()
        self._previous = self._start - 1000
        self._flags = 0

    @property
    def end(self) -> int:
        """The position behind the last record."""
        return self._start + len(self._out)

    def segment(self, step: int = 0) -> bytes:
        """Return one segment, zeros at its end."""
        return bytes(self._out[step * SIZE : (step + 1) * SIZE]).ljust(SIZE, b"\0")

    def record(
        self, *, kind: int = 11, info: int = 0, xid: int = 0, body: bytes = b"", raw: bytes | None = None
    ) -> int:
        """Append a record with main data (`raw`: with just these bytes behind its header); return its position."""
        content = _record(self._previous, kind, info, xid, _main(body) if raw is None else raw)
        self._begin_page(0)
        self._previous = self.end
        self._put(content)
        self._out += bytes(-len(self._out) % 8)
        return self._previous

    def cut_off(self, *, body: bytes, written: int) -> None:
        """Append what a crash left of a record: at least `written` bytes, up to the end of a page."""
        self._begin_page(0)
        content = _record(self._previous, 11, 0, 0, _main(body))
        room = -len(self._out) % _PAGE
        while room < written:
            room += _PAGE - 24
        self._put(content[:room], length=len(content))
        self._flags = _OVERWRITES

    def _put(self, content: bytes, *, length: int | None = None) -> None:
        left = len(content) if length is None else length
        at = 0
        while at < len(content):
            self._begin_page(left - at)
            room = -len(self._out) % _PAGE or _PAGE
            self._out += content[at : at + room]
            at += room

    def _begin_page(self, remaining: int) -> None:
        if len(self._out) % _PAGE:
            return
        flags = self._flags | (_CONTINUES if remaining else 0)
        self._flags = 0
        long = len(self._out) % SIZE == 0
        flags |= _LONG if long else 0
        told = remaining if flags & _CONTINUES else 0
        self._out += struct.pack("<HHIQI4x", self._magic, flags, self._timeline, self.end, told)
        if long:
            self._out += struct.pack("<QII", IDENTIFIER, SIZE, _PAGE)


def _main(body: bytes) -> bytes:
    if not body:
        return b""
    return (bytes([255, len(body)]) if len(body) < 256 else b"\xfe" + struct.pack("<I", len(body))) + body


def _record(previous: int, kind: int, info: int, xid: int, rest: bytes) -> bytes:
    header = struct.pack("<IIQBB2x", 24 + len(rest), xid, previous, info, kind)
    return header + struct.pack("<I", crc32c(rest + header)) + rest
