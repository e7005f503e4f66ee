"""Look at many records at once: the file that each touches first, its main data, its counts.

The layout is that of `xlogrecord.h`: block references come first, then the
replication origin, the top transaction's number, and the main data's length;
the main data ends the record.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from edurise_backup.postgres.wal.facts import File
from edurise_backup.postgres.wal.layout import RECORD_HEADER, Numbers
from edurise_backup.postgres.wal.records import Records

HEAP2, HEAP = 9, 10
DELETE, UPDATE, HOT_UPDATE = 0x10, 0x20, 0x40
OPERATION = 0x70
_MAIN_SHORT, _MAIN_LONG, _ORIGIN, _TOP_XID = 255, 254, 253, 252
_HAS_IMAGE = 0x10
_SPECULATIVE, _MOVED = 0x08, 0x10

Flags = NDArray[numpy.bool_]


@dataclass(frozen=True, slots=True)
class FirstFiles:
    """The relation file of the first block reference of some records, which all have one."""

    rows: Numbers
    """Which records: their places in `Records`."""
    tablespaces: Numbers
    databases: Numbers
    numbers: Numbers
    behind: Numbers
    """The offset behind that block reference."""

    def file(self, index: int) -> File:
        """Return one record's file."""
        return File(int(self.tablespaces[index]), int(self.databases[index]), int(self.numbers[index]))

    def only(self, mask: Flags | Numbers) -> FirstFiles:
        """Return some of them."""
        columns = (self.rows, self.tablespaces, self.databases, self.numbers, self.behind)
        return FirstFiles(*(column[mask] for column in columns))


def unaligned(records: Records) -> Numbers:
    """Return the stream as numbers of four bytes that begin at every byte."""
    stream = records.stream
    return numpy.ndarray((len(stream) - 3,), "<u4", stream.data, 0, (1,))


def first_files(records: Records, rows: Numbers) -> FirstFiles:
    """Return the first file of those of the records that have a block reference."""
    places = records.starts[rows] + RECORD_HEADER
    has = (records.stream[places] == 0) & (records.lengths[rows] >= RECORD_HEADER + 20)
    rows, places = rows[has], places[has]
    image = (records.stream[places + 1] & _HAS_IMAGE) != 0
    told = records.stream[places + 8]
    compressed = (told & (0x02 if records.major == 14 else 0x1C)) != 0
    hole = (told & 0x01) != 0
    at = places + 4 + numpy.where(image, numpy.where(compressed & hole, 7, 5), 0)
    words = unaligned(records)
    return FirstFiles(
        rows,
        words[at].astype(numpy.int64),
        words[at + 4].astype(numpy.int64),
        words[at + 8].astype(numpy.int64),
        at + 16,
    )


def main_data(records: Records, rows: Numbers, behind: Numbers) -> tuple[Numbers, Numbers]:
    """Return offset and length of each record's main data; `behind`: the offset behind its block references.

    A record without any, or with more block references, has the length 0.
    """
    stream, places = records.stream, behind.copy()
    places += numpy.where(stream[places] == _ORIGIN, 3, 0)
    places += numpy.where(stream[places] == _TOP_XID, 5, 0)
    short, long = stream[places] == _MAIN_SHORT, stream[places] == _MAIN_LONG
    words = unaligned(records)
    lengths = numpy.where(short, stream[places + 1], numpy.where(long, words[places + 1], 0)).astype(numpy.int64)
    ends = records.starts[rows] + records.lengths[rows]
    begins = ends - lengths
    fits = begins >= records.starts[rows] + RECORD_HEADER
    return numpy.where(fits, begins, ends), numpy.where(fits, lengths, 0)


def count_changes(records: Records, files: FirstFiles, *, dropped: Flags) -> dict[int, dict[File, tuple[int, int]]]:
    """Return how many rows each transaction deleted and updated, by file.

    `dropped`: of each of `files`, whether nobody asks for its transaction.
    """
    operations = records.infos[files.rows] & OPERATION
    changing = (records.kinds[files.rows] == HEAP) & numpy.isin(operations, (DELETE, UPDATE, HOT_UPDATE)) & ~dropped
    files, operations = files.only(changing), operations[changing]
    if not len(files.rows):
        return {}
    deletes, updates = _told_apart(records, files, operations)
    columns = (records.xids[files.rows], files.tablespaces, files.databases, files.numbers)
    order = numpy.lexsort(columns)
    ordered = [column[order] for column in columns]
    begins = numpy.flatnonzero(
        numpy.concatenate([[True], numpy.any([column[1:] != column[:-1] for column in ordered], axis=0)])
    )
    counts = zip(
        *(column[begins].tolist() for column in ordered),
        numpy.add.reduceat(deletes[order], begins).tolist(),
        numpy.add.reduceat(updates[order], begins).tolist(),
        strict=True,
    )
    found: dict[int, dict[File, tuple[int, int]]] = {}
    for xid, tablespace, database, number, deleted, updated in counts:
        found.setdefault(xid, {})[File(tablespace, database, number)] = (deleted, updated)
    return found


def _told_apart(records: Records, files: FirstFiles, operations: Numbers) -> tuple[Numbers, Numbers]:
    """Return 1 or 0 for each change: whether it deleted a row, whether it updated one.

    A row that moves to another partition is deleted here and inserted there:
    that is an update. A speculative insertion taken back is nothing.
    """
    deletes = operations == DELETE
    begins, lengths = main_data(records, files.rows, files.behind)
    flags = numpy.where(deletes & (lengths >= 8), records.stream[begins + 7], 0)
    moved = (flags & _MOVED) != 0
    taken_back = (flags & _SPECULATIVE) != 0
    return (deletes & ~moved & ~taken_back).astype(numpy.int64), (~deletes | moved).astype(numpy.int64)
