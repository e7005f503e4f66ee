"""From a segment's records to its facts.

Most records are only counted, all at once; what remains is gone through in
the log's order. Rows deleted and updated can be counted before that, because
whatever a transaction did comes before its end.
"""

from __future__ import annotations

import struct

import msgspec
import numpy

from edurise_backup.errors import DamageError
from edurise_backup.model.wal import format_lsn
from edurise_backup.postgres.wal import cluster_events
from edurise_backup.postgres.wal.cluster_events import ClusterEvents
from edurise_backup.postgres.wal.columns import HEAP, HEAP2, OPERATION, FirstFiles, Flags, count_changes, first_files
from edurise_backup.postgres.wal.decoding import decode
from edurise_backup.postgres.wal.endings import Endings, read_endings
from edurise_backup.postgres.wal.facts import Event, File, RelationChange
from edurise_backup.postgres.wal.judging import FIRST_OF_USERS, LARGE_OBJECTS, Commit, judge
from edurise_backup.postgres.wal.layout import Numbers, moment
from edurise_backup.postgres.wal.records import Records
from edurise_backup.postgres.wal.relations import PG_CLASS, Rows, follow_row
from edurise_backup.postgres.wal.transactions import (
    ABORT,
    ABORT_PREPARED,
    Ending,
    OpenTransaction,
    RowWritten,
    parse_ending,
    precedes,
)

XLOG, TRANSACTION, STORAGE, DATABASE, RELATION_MAP, STANDBY = 0, 1, 2, 4, 7, 8
_MOST_OPEN = 100_000
_MOST_ROWS_WRITTEN = 20_000


class Memory(msgspec.Struct):
    """What must be known of earlier segments; kept small by limits."""

    open: dict[int, OpenTransaction] = {}
    rows: Rows = {}
    pg_class: dict[int, int] = {}
    """The file number of pg_class in databases where it was rewritten."""


class Meaning:
    """What the records of one segment mean; `memory` is brought up to date."""

    def __init__(self, records: Records, memory: Memory, *, threshold: int) -> None:
        self.cluster = ClusterEvents()
        self.events: list[Event] = []
        self.relations: list[RelationChange] = []
        self.forgotten = 0
        self.endings: Endings = read_endings(records)
        self._records = records
        self._memory = memory
        self._threshold = threshold
        self._read()

    def _read(self) -> None:
        records = self._records
        if not len(records):
            return
        heaps = numpy.flatnonzero((records.kinds == HEAP) | (records.kinds == HEAP2) | (records.kinds == XLOG))
        files = first_files(records, heaps)
        self._count(files)
        self._forget()
        of_pg_class = files.rows[self._names_pg_class(files)]
        for row in self._notable(of_pg_class).tolist():
            try:
                self._take(row)
            except (struct.error, IndexError, ValueError) as error:
                lsn = format_lsn(int(records.lsns[row]))
                raise DamageError(f"the record at {lsn} is not laid out as it should be: {error}") from error

    # what is counted

    def _count(self, files: FirstFiles) -> None:
        """Count changed rows, but not those of a transaction that ends here, alone, with too few to be told."""
        records = self._records
        peoples = (files.numbers >= FIRST_OF_USERS) | (files.numbers == LARGE_OBJECTS)
        changing = files.only((records.kinds[files.rows] == HEAP) & peoples)
        xids = records.xids[changing.rows]
        known, inverse, counts = numpy.unique(xids, return_inverse=True, return_counts=True)
        small = (counts < self._threshold) & numpy.isin(known, self.endings.alone)
        small &= ~numpy.isin(known, numpy.fromiter(self._memory.open, numpy.int64, len(self._memory.open)))
        for xid, changes in count_changes(records, changing, dropped=small[inverse]).items():
            self._open(xid).count(changes)

    def _forget(self) -> None:
        """Let go of the oldest of too many open transactions."""
        for xid in list(self._memory.open)[: max(0, len(self._memory.open) - _MOST_OPEN)]:
            del self._memory.open[xid]
            self.forgotten += 1

    # what is gone through

    def _names_pg_class(self, files: FirstFiles) -> Flags:
        numbers = self._memory.pg_class
        own: Flags = files.numbers == PG_CLASS
        for database, number in numbers.items():
            own &= files.databases != database
            own |= (files.databases == database) & (files.numbers == number)
        return own

    def _notable(self, of_pg_class: Numbers) -> Numbers:
        records = self._records
        kinds, operations = records.kinds, records.infos & 0xF0
        always = numpy.isin(kinds, (DATABASE, RELATION_MAP)) | ((kinds == STORAGE) & (operations == 0x10))
        always |= (kinds == XLOG) & numpy.isin(operations, cluster_events.OPERATIONS)
        always |= (kinds == STANDBY) & (operations == 0x10)
        always |= (kinds == HEAP) & (operations & OPERATION == 0x30)
        always[of_pg_class] = True
        asked = numpy.unique(records.xids[always])
        open_now = numpy.fromiter(self._memory.open, numpy.int64, len(self._memory.open))
        told = self.endings.detailed | numpy.isin(records.xids[self.endings.rows], numpy.union1d(asked, open_now))
        always[self.endings.rows[told]] = True
        return numpy.flatnonzero(always)

    def _take(self, row: int) -> None:
        take = {
            XLOG: self._take_cluster,
            TRANSACTION: self._take_ending,
            STORAGE: self._take_file,
            DATABASE: self._take_database,
            RELATION_MAP: self._take_map,
            STANDBY: self._take_running,
            HEAP: self._take_heap,
            HEAP2: self._take_pg_class,
        }[int(self._records.kinds[row])]
        take(row, int(self._records.infos[row]), int(self._records.xids[row]))

    def _take_cluster(self, row: int, info: int, xid: int) -> None:
        lsn, end = int(self._records.lsns[row]), self._records.end(row)
        if info & 0xF0 in cluster_events.OPERATIONS:
            self.cluster.take(decode(self._records, row).main, info & 0xF0, lsn=lsn, end=end)
        else:
            self._take_pg_class(row, info, xid)

    def _take_file(self, row: int, info: int, xid: int) -> None:
        *file, fork = struct.unpack_from("<4I", decode(self._records, row).main)
        if fork == 0 and xid:
            self._open(xid).created.append(File(*file))

    def _take_database(self, row: int, info: int, xid: int) -> None:
        dropped = info & 0xF0 == (0x10 if self._records.major == 14 else 0x20)
        database = struct.unpack_from("<I", decode(self._records, row).main)[0]
        if xid:
            self._open(xid).databases.append(("drop database" if dropped else "create database", database))

    def _take_map(self, row: int, info: int, xid: int) -> None:
        """Learn where pg_class is from the map of the few catalogs whose file pg_class itself cannot name."""
        main = decode(self._records, row).main
        database = struct.unpack_from("<I", main)[0]
        for oid, number in struct.iter_unpack("<II", main[20 : 20 + (len(main) - 20) // 8 * 8]):
            if oid == PG_CLASS and number != self._memory.pg_class.get(database, PG_CLASS):
                self._memory.pg_class[database] = number
                for key in [key for key in self._memory.rows if key[0] == database]:
                    del self._memory.rows[key]

    def _take_running(self, row: int, info: int, xid: int) -> None:
        """Drop what no longer runs: a server that crashed leaves transactions without an end."""
        oldest = struct.unpack_from("<16xI", decode(self._records, row).main)[0]
        for open_xid in [open_xid for open_xid in self._memory.open if precedes(open_xid, oldest)]:
            del self._memory.open[open_xid]

    def _take_heap(self, row: int, info: int, xid: int) -> None:
        if info & OPERATION != 0x30:
            self._take_pg_class(row, info, xid)
            return
        main = decode(self._records, row).main
        count = struct.unpack_from("<4xI", main)[0]
        if xid:
            self._open(xid).truncated += struct.unpack_from(f"<{min(count, len(main) // 4)}I", main, 12)

    def _take_pg_class(self, row: int, info: int, xid: int) -> None:
        decoded = decode(self._records, row)
        heap = int(self._records.kinds[row]) == HEAP
        written = follow_row(self._memory.rows, decoded, heap=heap, info=info, major=self._records.major)
        if written is not None and xid:
            transaction = self._open(xid)
            if len(transaction.rows) < _MOST_ROWS_WRITTEN:
                transaction.rows.append(written)

    # ends of transactions

    def _take_ending(self, row: int, info: int, xid: int) -> None:
        main = decode(self._records, row).main
        ending = parse_ending(main, xid, info, self._records.major)
        did = self._closed(ending)
        if info & OPERATION in (ABORT, ABORT_PREPARED):
            return
        time = moment(struct.unpack_from("<q", main)[0])
        commit = Commit(ending.xid, time, int(self._records.lsns[row]), self._records.end(row), ending.files)
        self.events += judge(commit, did, threshold=self._threshold)
        self.relations += [_change(written, commit.end) for written in did.rows if written.how != "delete"]

    def _closed(self, ending: Ending) -> OpenTransaction:
        """Take the transaction and its children out of memory, joined in the order of their numbers."""
        did = OpenTransaction()
        for xid in (ending.xid, *ending.children):
            if (part := self._memory.open.pop(xid, None)) is not None:
                did.join(part)
        return did

    def _open(self, xid: int) -> OpenTransaction:
        return self._memory.open.setdefault(xid, OpenTransaction())


def _change(written: RowWritten, lsn: int) -> RelationChange:
    return RelationChange(
        database=written.database,
        oid=written.oid,
        name=written.name,
        namespace=written.namespace,
        number=written.number,
        tablespace=written.tablespace,
        kind=written.kind,
        lsn=lsn,
    )
