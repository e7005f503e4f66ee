"""How a transaction ended, and what an open one did until now.

Source of the layout: `xact.h` (`xl_xact_commit` and `xl_xact_abort`). A
transaction's deeds count only once its commit is seen; what its
subtransactions did is joined to it then, because each of them may still be
rolled back alone. (XLOG_XACT_ASSIGNMENT says earlier whose child it is, but
not whether it will live.)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import msgspec

from edurise_backup.postgres.wal.facts import File

COMMIT, ABORT, COMMIT_PREPARED, ABORT_PREPARED = 0x00, 0x20, 0x30, 0x40
ENDINGS = (COMMIT, ABORT, COMMIT_PREPARED, ABORT_PREPARED)
HAS_INFO = 0x80
HAS_DATABASE, HAS_CHILDREN, HAS_FILES, HAS_INVALIDATIONS, HAS_PREPARED, HAS_STATISTICS = 1, 2, 4, 8, 16, 256
_U32 = struct.Struct("<I")
_FILE = struct.Struct("<III")


@dataclass(frozen=True, slots=True)
class Ending:
    """What a commit or abort record says besides its time."""

    xid: int
    """Of a prepared transaction: its own, not that of the session that ended it."""
    children: tuple[int, ...]
    files: tuple[File, ...]
    """Removed with the end of the transaction."""


def parse_ending(main: bytes, xid: int, info: int, major: int) -> Ending:
    """Return what the main data of a commit or abort record says; raises struct.error when it is cut off."""
    if not info & HAS_INFO:
        return Ending(xid, (), ())
    flags, at = _U32.unpack_from(main, 8)[0], 12
    if flags & HAS_DATABASE:
        at += 8
    children: tuple[int, ...] = ()
    if flags & HAS_CHILDREN:
        count = _U32.unpack_from(main, at)[0]
        children = struct.unpack_from(f"<{_fitting(main, at, count, 4)}I", main, at + 4)
        at += 4 + 4 * count
    files: tuple[File, ...] = ()
    if flags & HAS_FILES:
        count = _fitting(main, at, _U32.unpack_from(main, at)[0], 12)
        files = tuple(File(*_FILE.unpack_from(main, at + 4 + 12 * index)) for index in range(count))
        at += 4 + 12 * count
    if flags & HAS_STATISTICS:
        at += 4 + _U32.unpack_from(main, at)[0] * (16 if major >= 18 else 12)
    if flags & HAS_INVALIDATIONS:
        at += 4 + _U32.unpack_from(main, at)[0] * 16
    if flags & HAS_PREPARED:
        xid = _U32.unpack_from(main, at)[0]
    return Ending(xid, children, files)


def _fitting(main: bytes, at: int, count: int, size: int) -> int:
    """Return the count of a list; raises struct.error when the record has no room for it."""
    if at + 4 + count * size > len(main):
        raise struct.error(f"a list of {count} does not fit")
    return int(count)


class RowWritten(msgspec.Struct, frozen=True):
    """What a transaction did to a row of pg_class."""

    how: str
    """insert, update or delete."""
    database: int
    oid: int
    name: str
    namespace: int
    number: int
    tablespace: int
    kind: str
    was: int = 0
    """The relfilenode before an update, where that is known."""


class OpenTransaction(msgspec.Struct):
    """What one transaction, or one subtransaction, did until now."""

    changes: dict[File, tuple[int, int]] = {}
    """Rows deleted and updated, by file."""
    created: list[File] = []
    """New main files."""
    databases: list[tuple[str, int]] = []
    """Databases created or dropped: which, and their oids."""
    truncated: list[int] = []
    """Oids of relations, told at wal_level=logical only."""
    rows: list[RowWritten] = []

    def count(self, changes: dict[File, tuple[int, int]]) -> None:
        """Add rows deleted and updated."""
        for file, (deleted, updated) in changes.items():
            before = self.changes.get(file, (0, 0))
            self.changes[file] = (before[0] + deleted, before[1] + updated)

    def join(self, other: OpenTransaction) -> None:
        """Take over what a subtransaction did."""
        self.count(other.changes)
        self.created += other.created
        self.databases += other.databases
        self.truncated += other.truncated
        self.rows += other.rows


def precedes(xid: int, other: int) -> bool:
    """Whether a transaction number is older than another; numbers begin anew after four thousand million."""
    return (xid - other) & 0xFFFFFFFF >= 0x8000_0000
