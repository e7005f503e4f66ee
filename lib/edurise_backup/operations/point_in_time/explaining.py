"""What a moment is: whether it can be brought back, from what, how far that is, and what happened around it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import InputError
from edurise_backup.model.recovery_window import RecoveryWindow, nearest_moments
from edurise_backup.model.wal import Lsn
from edurise_backup.model.wal_status import BaseBackup, SegmentRow, WalEvent
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.point_in_time.windows import only_cluster, windows_of

AROUND = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Explained:
    """A moment of a cluster."""

    source: str
    moment: datetime
    window: RecoveryWindow | None
    """None: it cannot be brought back."""
    base: BaseBackup | None
    """What a recovery would begin with."""
    nearest: tuple[datetime, ...]
    """When it cannot be: the last moment before it that can, and the first behind it."""
    replay_bytes: int
    """WAL that a recovery would replay."""
    commits_before: int
    """Commits of the segment of that moment, up to it."""
    last_commit_before: datetime | None
    events: tuple[WalEvent, ...]
    """What happened around it, oldest first."""


def explain_time(source: str, moment: datetime, *, settings: Settings | None = None) -> Explained:
    """Explain a moment (aware); raises InputError without a zone, NotFoundError."""
    settings = settings or load_settings()
    if moment.tzinfo is None:
        raise InputError(
            f"{moment} has no time zone", safe="nothing was done", hint="write it with an offset: …+00:00, or …Z"
        )
    name = only_cluster(settings, source).name
    with open_catalog(settings) as catalog:
        return explain(catalog, name, moment)


def explain(catalog: Catalog, source: str, moment: datetime) -> Explained:
    """Explain a moment of a cluster, by the catalog."""
    windows = windows_of(catalog, source).windows
    able = [one for one in windows if one.holds(moment)]
    window = max(able, key=lambda one: one.timeline, default=None)
    base = window.base_at(moment) if window else None
    segment = _segment_of(catalog, window, moment) if window else None
    events = catalog.wal.events(source, since=moment - AROUND, until=moment + AROUND)
    reached = segment.end_lsn if segment else (base.stop_lsn if base else Lsn(0))
    before = [
        (second, count) for second, count in (segment.activity if segment else ()) if second <= moment.timestamp()
    ]
    return Explained(
        source=source,
        moment=moment,
        window=window,
        base=base,
        nearest=() if window else nearest_moments(windows, moment),
        replay_bytes=max(0, reached - base.start_lsn) if base else 0,
        commits_before=sum(count for _, count in before),
        last_commit_before=_last_before(segment, moment),
        events=tuple(reversed(events)),
    )


def _segment_of(catalog: Catalog, window: RecoveryWindow, moment: datetime) -> SegmentRow | None:
    rows = catalog.wal.segments(window.source, window.system_identifier, until=moment)
    held = [row for row in rows if row.timeline <= window.timeline and row.begin_lsn < window.end_lsn]
    return max(held, key=lambda row: (row.number, row.timeline), default=None)


def _last_before(segment: SegmentRow | None, moment: datetime) -> datetime | None:
    if segment is None or segment.first_commit_at is None or segment.last_commit_at is None:
        return None
    if segment.last_commit_at <= moment:
        return segment.last_commit_at
    seconds = [second for second, _ in segment.activity if second <= moment.timestamp()]
    return datetime.fromtimestamp(max(seconds), moment.tzinfo) if seconds else None
