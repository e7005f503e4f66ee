"""The commits and aborts of a segment, all at once: their times and which must be looked at one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy

from edurise_backup.postgres.wal.columns import OPERATION, Flags, main_data, unaligned
from edurise_backup.postgres.wal.layout import RECORD_HEADER, Numbers
from edurise_backup.postgres.wal.records import Records
from edurise_backup.postgres.wal.transactions import (
    ABORT,
    ABORT_PREPARED,
    ENDINGS,
    HAS_CHILDREN,
    HAS_FILES,
    HAS_INFO,
    HAS_PREPARED,
)

_TRANSACTION = 1
_SECONDS_FROM_1970_TO_2000 = 946_684_800


@dataclass(frozen=True, slots=True)
class Endings:
    """The records that end transactions."""

    rows: Numbers
    """Which records: their places in `Records`."""
    times: Numbers
    """Microseconds since 2000."""
    aborted: Flags
    detailed: Flags
    """Whether the record names children, files, or another transaction that was prepared."""
    alone: Numbers
    """Numbers of the transactions that end here without any of that."""

    def per_second(self) -> tuple[tuple[int, int], ...]:
        """Return seconds since 1970 and how many commits each had."""
        seconds, counts = numpy.unique(self.times[~self.aborted] // 1_000_000, return_counts=True)
        return tuple(zip((seconds + _SECONDS_FROM_1970_TO_2000).tolist(), counts.tolist(), strict=True))


def read_endings(records: Records) -> Endings:
    """Return the commits and aborts, in the log's order."""
    operations = records.infos & OPERATION
    rows = numpy.flatnonzero((records.kinds == _TRANSACTION) & numpy.isin(operations, ENDINGS))
    begins, lengths = main_data(records, rows, records.starts[rows] + RECORD_HEADER)
    rows, begins, lengths = (column[lengths >= 8] for column in (rows, begins, lengths))
    words = unaligned(records)
    low, high = words[begins].astype(numpy.int64), words[begins + 4].astype(numpy.int64)
    informed = ((records.infos[rows] & HAS_INFO) != 0) & (lengths >= 12)
    flags = numpy.where(informed, words[begins + 8], 0)
    detailed = (flags & (HAS_CHILDREN | HAS_FILES | HAS_PREPARED)) != 0
    return Endings(
        rows=rows,
        times=high << 32 | low,
        aborted=numpy.isin(operations[rows], (ABORT, ABORT_PREPARED)),
        detailed=detailed,
        alone=records.xids[rows[~detailed]],
    )
