"""What the page Point in time reads: windows, activity and deeds of a cluster, of one moment."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import streamlit as st

from dashboard import queries
from edurise_backup.model.recovery_window import RecoveryWindow
from edurise_backup.model.wal import format_lsn
from edurise_backup.model.wal_status import WalEvent, WalStatus
from edurise_backup.operations.point_in_time.explaining import Explained, explain
from edurise_backup.operations.point_in_time.windows import windows_of

SPANS = {1: "The last hour", 24: "The last day", 168: "The last week", 744: "The last month"}
_BUCKETS = 240
_EVENTS = 200


@dataclass(frozen=True, slots=True)
class Moments:
    """A cluster's moments within a span of time."""

    as_of: datetime
    since: datetime
    windows: tuple[RecoveryWindow, ...]
    """All of them, also those outside of the span."""
    activity: tuple[tuple[datetime, int], ...]
    """Commits by the beginning of equal stretches of time."""
    events: tuple[WalEvent, ...]
    """Newest first."""


def clusters() -> list[str]:
    """Return the configured clusters' names."""
    return [one.name for one in queries.settings().clusters]


@st.cache_data(ttl=queries.FRESH, show_spinner=False)
def status(source: str) -> WalStatus | None:
    """Return how the reception of a cluster's log stands; raises UnreachableError or TransientError."""
    return next((one for one in queries.catalog().wal.statuses() if one.source == source), None)


@st.cache_data(ttl=timedelta(seconds=10), show_spinner=False)
def moments(source: str, hours: int) -> Moments:
    """Return a cluster's moments of the last hours; raises UnreachableError or TransientError."""
    now, catalog = datetime.now(UTC), queries.catalog()
    since = now - timedelta(hours=hours)
    windows = windows_of(catalog, source).windows
    system = max(windows, key=lambda one: one.end_at).system_identifier if windows else ""
    rows = catalog.wal.segments(source, system, since=since)
    return Moments(
        as_of=now,
        since=since,
        windows=windows,
        activity=_activity([pair for row in rows for pair in row.activity], since, now),
        events=catalog.wal.events(source, since=since, limit=_EVENTS),
    )


def explained(source: str, moment: datetime) -> Explained:
    """Return what a moment is; raises UnreachableError or TransientError."""
    return explain(queries.catalog(), source, moment)


def _activity(pairs: list[tuple[int, int]], since: datetime, now: datetime) -> tuple[tuple[datetime, int], ...]:
    length = max(1, int((now - since).total_seconds()) // _BUCKETS)
    counted: Counter[int] = Counter()
    for second, count in pairs:
        counted[second // length] += count
    first, last = int(since.timestamp()) // length, int(now.timestamp()) // length
    return tuple((datetime.fromtimestamp(at * length, UTC), counted[at]) for at in range(first + 1, last + 1))


def just_before(event: WalEvent) -> str:
    """Return the exact target of the moment just before a deed; pure."""
    return f"before lsn:{format_lsn(event.commit_lsn)}"


def event_label(event: WalEvent) -> str:
    """Return a deed in a list of choices; pure."""
    database = f" in {event.database}" if event.database else ""
    return f"{event.at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + f" · xid {event.xid} · {event.said}{database}"
