"""What the catalog knows of a cluster's log; positions as PostgreSQL writes them are integers here, times aware UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from edurise_backup.model.wal import Lsn, Timeline, parse_history


class WalState(StrEnum):
    """Where a reception stands."""

    STARTING = "starting"
    RECEIVING = "receiving"
    WAITING = "waiting"
    """It cannot go on now, and tries again; `trouble` says why."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class WalStatus:
    """A row of `wal_sources`; bytes."""

    source: str
    system_identifier: str
    segment_size: int
    timeline: Timeline
    method: str
    slot: str
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    state: WalState
    ship_seconds: int
    spool_limit_bytes: int
    trouble: str = ""
    hint: str = ""
    trouble_since: datetime | None = None
    server_lsn: Lsn | None = None
    received_lsn: Lsn | None = None
    shipped_lsn: Lsn | None = None
    """Up to here the log is in the repository."""
    shipped_at: datetime | None = None
    last_commit_at: datetime | None = None
    """The latest commit that is in the repository."""
    exposed_since: datetime | None = None
    """The server has written since then what is not in the repository; None: nothing would be lost now."""
    spool_bytes: int = 0
    server_wal_bytes: int | None = None
    slot_status: str = ""
    slot_safe_bytes: int | None = None
    beat_at: datetime | None = None
    quarantined: int = 0
    conflicts: int = 0

    def exposure(self, now: datetime) -> timedelta:
        """Return how much would be lost if the server burned now: the age of the oldest write that is nowhere else.

        A reception that has said nothing for a while is as exposed as that.
        """
        since = self.exposed_since or self.seen_at
        return max(timedelta(0), now - since)

    @property
    def lag_bytes(self) -> int:
        """What the server has written beyond what is in the repository."""
        return max(0, (self.server_lsn or 0) - (self.shipped_lsn or self.server_lsn or 0))


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A row of `wal_segments`."""

    source: str
    system_identifier: str
    timeline: Timeline
    number: int
    name: str
    complete: bool
    follows: bool
    begin_lsn: Lsn
    end_lsn: Lsn
    shipped_at: datetime
    first_commit_at: datetime | None = None
    last_commit_at: datetime | None = None
    commits: int = 0
    aborts: int = 0
    activity: tuple[tuple[int, int], ...] = ()
    points: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """A restore point that somebody has named."""

    name: str
    at: datetime
    lsn: Lsn


@dataclass(frozen=True, slots=True)
class WalEvent:
    """A row of `wal_events`: a deed of one committed transaction."""

    source: str
    timeline: Timeline
    at: datetime
    xid: int
    commit_lsn: Lsn
    commit_end: Lsn
    kind: str
    database: str = ""
    relation: str = ""
    rows: int = 0
    certain: bool = True
    said: str = ""
    """The deed in the words of a person: `DROP TABLE public.submissions`."""


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """A row of `wal_timelines`."""

    timeline: Timeline
    parent: Timeline
    switch_lsn: Lsn
    reason: str = ""


def branch_of(timeline: Timeline, history: bytes) -> TimelineRow | None:
    """Return where a timeline left its parent, by its history file; None for one without. Raises DamageError."""
    way = parse_history(timeline, history)
    if len(way) < 2 or way[-2].end is None:
        return None
    return TimelineRow(timeline, way[-2].timeline, way[-2].end, way[-2].reason)


@dataclass(frozen=True, slots=True)
class BaseBackup:
    """Where a base backup begins and ends; `backup_id` is None where no job is known, as in a repository alone."""

    source: str
    snapshot_id: str
    system_identifier: str
    timeline: Timeline
    start_lsn: Lsn
    stop_lsn: Lsn
    start_at: datetime
    stop_at: datetime
    segment_size: int
    server_version: str
    method: str
    damaged: int = 0
    backup_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """What one segment brought, for the catalog."""

    segment: SegmentRow
    events: tuple[WalEvent, ...] = field(default_factory=tuple)
    reader: bytes = b""
