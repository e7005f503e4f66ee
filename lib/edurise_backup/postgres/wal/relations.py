"""Follow the rows of pg_class through the log: they say which relation a file belongs to.

A record holds a whole row only when it is new. An update on the same page
holds the middle that changed, so the row before it must be known: the page's
image, which the log holds since the last checkpoint, gives it. What was not
seen (a gap, an image compressed with LZ4) stays unknown, and is not guessed.
"""

from __future__ import annotations

import struct

from edurise_backup.postgres.wal.decoding import Block, Decoded
from edurise_backup.postgres.wal.transactions import RowWritten

PG_CLASS = 1259
"""The oid of pg_class, and its file's number until it is rewritten."""
_INSERT, _DELETE, _UPDATE, _HOT_UPDATE, _INPLACE = 0x00, 0x10, 0x20, 0x40, 0x70
_PREFIX, _SUFFIX = 0x20, 0x40
_MOST_ROWS = 4096
_TUPLE_HEADER = 23
_FIXED = struct.Struct("<I64sIIIIIII")
"""oid, relname, relnamespace, reltype, reloftype, relowner, relam, relfilenode, reltablespace."""
_KIND_AT, _KIND_AT_18 = 115, 119

Rows = dict[tuple[int, int, int], bytes]
"""Database, page and line of a row, and what it holds; the most recently seen."""


def follow_row(rows: Rows, decoded: Decoded, *, heap: bool, info: int, major: int) -> RowWritten | None:
    """Return what a record about a page of pg_class did to a row, if it did and the row is known.

    `rows` is brought up to date. Raises struct.error for a record that is cut off.
    """
    for block in decoded.blocks.values():
        if block.fork == 0:
            _remember_page(rows, block)
    if not heap or 0 not in decoded.blocks:
        return None
    operation, block, main = info & 0x70, decoded.blocks[0], decoded.main
    if operation == _INSERT:
        content = _inserted(rows, block, main)
        return _row("insert", block, content, b"", major)
    if operation in (_UPDATE, _HOT_UPDATE):
        before, content = _updated(rows, block, decoded.blocks.get(1, block), main)
        return _row("update", block, content, before, major)
    if operation == _DELETE:
        line = struct.unpack_from("<H", main, 4)[0]
        return _row("delete", block, rows.get(_key(block, line), b""), b"", major)
    if operation == _INPLACE and block.data:
        _remember(rows, _key(block, struct.unpack_from("<H", main)[0]), block.data)
    return None


def _inserted(rows: Rows, block: Block, main: bytes) -> bytes:
    key = _key(block, struct.unpack_from("<H", main)[0])
    if len(block.data) > 5:
        _remember(rows, key, block.data[_bitmap_end(block.data, 0) :])
    return rows.get(key, b"")


def _updated(rows: Rows, block: Block, old: Block, main: bytes) -> tuple[bytes, bytes]:
    """Return the row before and after; nothing for what is not known."""
    old_line, flags, new_line = struct.unpack_from("<4xHxB4xH", main)
    before, key = rows.get(_key(old, old_line), b""), _key(block, new_line)
    if block.data:
        rows.pop(key, None)
        prefix = suffix = at = 0
        if flags & _PREFIX:
            prefix, at = struct.unpack_from("<H", block.data, at)[0], at + 2
        if flags & _SUFFIX:
            suffix, at = struct.unpack_from("<H", block.data, at)[0], at + 2
        if len(before) >= prefix + suffix:
            middle = block.data[_bitmap_end(block.data, at) :]
            _remember(rows, key, before[:prefix] + middle + before[len(before) - suffix :])
    return before, rows.get(key, b"")


def _bitmap_end(data: bytes, at: int) -> int:
    """Return where a row's values begin behind its header (`xl_heap_header`) and its map of nulls."""
    return at + 5 + max(0, data[at + 4] - _TUPLE_HEADER)


def _remember_page(rows: Rows, block: Block) -> None:
    page = block.image.page() if block.image is not None else None
    if page is None:
        return
    end = min(int.from_bytes(page[12:14], "little"), len(page))
    for line, at in enumerate(range(24, end - 3, 4), start=1):
        pointer = int.from_bytes(page[at : at + 4], "little")
        begin, state, length = pointer & 0x7FFF, pointer >> 15 & 3, pointer >> 17
        if state == 1 and begin + length <= len(page) and length > _TUPLE_HEADER:
            _remember(rows, _key(block, line), page[begin + page[begin + 22] : begin + length])


def _remember(rows: Rows, key: tuple[int, int, int], content: bytes) -> None:
    rows.pop(key, None)  # to the end of the order
    rows[key] = content
    if len(rows) > _MOST_ROWS:
        del rows[next(iter(rows))]


def _key(block: Block, line: int) -> tuple[int, int, int]:
    return block.file.database, block.number, line


def _row(how: str, block: Block, content: bytes, before: bytes, major: int) -> RowWritten | None:
    kind_at = _KIND_AT_18 if major >= 18 else _KIND_AT
    if len(content) <= kind_at:
        return None
    oid, name, namespace, _, _, _, _, number, tablespace = _FIXED.unpack_from(content)
    return RowWritten(
        how=how,
        database=block.file.database,
        oid=oid,
        name=name.split(b"\0", 1)[0].decode("utf-8", "replace"),
        namespace=namespace,
        number=number,
        tablespace=tablespace,
        kind=chr(content[kind_at]),
        was=_FIXED.unpack_from(before)[7] if len(before) > kind_at else 0,
    )
