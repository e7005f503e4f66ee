"""Records about the cluster as a whole: checkpoints, restore points, settings, timelines.

Source of the layouts: `pg_control.h` and `xlog_internal.h`; what is read here
is the same in the releases 14 to 18.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime

from edurise_backup.postgres.wal.facts import Checkpoint, FullPageWrites, Parameters, RestorePoint, TimelineSwitch
from edurise_backup.postgres.wal.layout import moment

_SHUTDOWN, _ONLINE, _SWITCH, _PARAMETERS, _RESTORE_POINT, _FULL_PAGES, _RECOVERED = (
    *(0x00, 0x10, 0x40),
    *(0x60, 0x70, 0x80, 0x90),
)
OPERATIONS = (_SHUTDOWN, _ONLINE, _SWITCH, _PARAMETERS, _RESTORE_POINT, _FULL_PAGES, _RECOVERED)
_WAL_LEVELS = ("minimal", "replica", "logical")


@dataclass(slots=True)
class ClusterEvents:
    """What such records of one segment say, in the log's order."""

    restore_points: list[RestorePoint] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    timeline_switches: list[TimelineSwitch] = field(default_factory=list)
    parameters: list[Parameters] = field(default_factory=list)
    full_page_writes: list[FullPageWrites] = field(default_factory=list)
    switched: bool = False

    def take(self, main: bytes, operation: int, *, lsn: int, end: int) -> None:
        """Add what one record says; raises struct.error and ValueError when it is not laid out like one."""
        if operation in (_SHUTDOWN, _ONLINE):
            self._take_checkpoint(main, lsn, shutdown=operation == _SHUTDOWN)
        elif operation == _SWITCH:
            self.switched = True
        elif operation == _PARAMETERS:
            *values, level = struct.unpack_from("<6i", main)
            wal_level = _WAL_LEVELS[level] if 0 <= level < len(_WAL_LEVELS) else str(level)
            self.parameters.append(_parameters(lsn, values, wal_level))
        elif operation == _RESTORE_POINT:
            time, name = struct.unpack_from("<q64s", main)
            text = name.split(b"\0", 1)[0].decode("utf-8", "replace")
            self.restore_points.append(RestorePoint(text, moment(time), lsn, end))
        elif operation == _FULL_PAGES:
            self.full_page_writes.append(FullPageWrites(lsn, on=main[:1] == b"\x01"))
        else:
            time, timeline, previous = struct.unpack_from("<qII", main)
            self.timeline_switches.append(TimelineSwitch(lsn, moment(time), timeline, previous))

    def _take_checkpoint(self, main: bytes, lsn: int, *, shutdown: bool) -> None:
        redo, timeline, previous, seconds = struct.unpack_from("<QII48xq", main)
        try:
            time = datetime.fromtimestamp(seconds, UTC)
        except (OverflowError, OSError) as error:
            raise ValueError(f"a checkpoint at {seconds} s since 1970") from error
        self.checkpoints.append(Checkpoint(lsn, redo, time, timeline, shutdown))
        if timeline != previous:
            self.timeline_switches.append(TimelineSwitch(lsn, time, timeline, previous))


def _parameters(lsn: int, values: list[int], wal_level: str) -> Parameters:
    connections, workers, senders, prepared, locks = values
    return Parameters(
        lsn=lsn,
        max_connections=connections,
        max_worker_processes=workers,
        max_wal_senders=senders,
        max_prepared_transactions=prepared,
        max_locks_per_transaction=locks,
        wal_level=wal_level,
    )
