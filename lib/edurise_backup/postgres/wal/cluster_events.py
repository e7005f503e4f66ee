"""Records about the cluster as a whole: restore points, and the switch that ends a segment early.

Source of the layouts: `pg_control.h` and `xlog_internal.h`; what is read here
is the same in the releases 14 to 18.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from edurise_backup.postgres.wal.facts import RestorePoint
from edurise_backup.postgres.wal.layout import moment

_SWITCH, _RESTORE_POINT = 0x40, 0x70
OPERATIONS = (_SWITCH, _RESTORE_POINT)


@dataclass(slots=True)
class ClusterEvents:
    """What such records of one segment say, in the log's order."""

    restore_points: list[RestorePoint] = field(default_factory=list)
    switched: bool = False

    def take(self, main: bytes, operation: int, *, lsn: int, end: int) -> None:
        """Add what one record says; raises struct.error and ValueError when it is not laid out like one."""
        if operation == _SWITCH:
            self.switched = True
            return
        time, name = struct.unpack_from("<q64s", main)
        text = name.split(b"\0", 1)[0].decode("utf-8", "replace")
        self.restore_points.append(RestorePoint(text, moment(time), lsn, end))
