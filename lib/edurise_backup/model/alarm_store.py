"""When the store is full: a forecast by a trend that wild values do not move, taken at its pessimistic bound."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from edurise_backup.model.alarm_facts import Facts, Size, Store
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.robust import steepest_slope
from edurise_backup.model.words import shown

LITTLE_ROOM = 5 * 1024**3
"""Bytes: a store with less room is a warning, whatever the forecast says."""
NO_ROOM = 1024**3
"""Bytes: with less it is critical."""
FORECAST_SIZES = 3
FORECAST_SPAN = timedelta(days=2)
"""Fewer sizes, or over a shorter time, give no forecast."""
FORECAST_PATIENCE = timedelta(days=7)
"""A store without a forecast for so long is told of."""
_DAY = 86400.0
_REMEDY = "forget and prune what no policy keeps (`edurise-backup prune --dry-run`), or give the store more room"


def days_to_full(store: Store) -> float | None:
    """Return after how many days the store may be full at the earliest; None without a forecast.

    The growth is the upper 95 % bound of the trend. A store that does not grow gives infinity.
    """
    if store.free_bytes is None or not _enough(store.sizes):
        return None
    points = [(size.moment.timestamp() / _DAY, float(size.bytes)) for size in store.sizes]
    slope = steepest_slope(points)
    if slope is None:
        return None
    return store.free_bytes / slope if slope > 0 else float("inf")


def primary_lost(facts: Facts) -> Iterator[Alarm]:
    """The repository cannot be opened, or is another one than before: no backup can be taken."""
    if (lost := facts.primary) is None:
        return
    copies = f"; recoveries work meanwhile, from {', '.join(lost.copies)}" if lost.copies else ""
    yield Alarm(
        AlarmKind.PRIMARY_LOST,
        "repository",
        Severity.CRITICAL,
        f"the primary repository at {lost.location} cannot be used since {lost.since:%Y-%m-%d %H:%M} UTC: "
        f"{shown(lost.trouble)}",
        f"bring it back (a mount, a credential, the server), and make no new one in its place{copies}; when it is lost "
        "for good: docs/operations/copies.md, The primary is lost",
    )


def store_filling(facts: Facts) -> Iterator[Alarm]:
    """The store is nearly full, will be sooner than the objective, or cannot be seen."""
    store = facts.store
    if store is None:
        return
    if store.free_bytes is None:
        if facts.primary is not None:
            return  # `primary_lost` tells of it
        yield _alarm(store, Severity.WARNING, "how much room it has left cannot be seen", "mount or reach the store")
        return
    days = days_to_full(store)
    wanted = facts.aims.free / timedelta(days=1)
    left = f"{store.free_bytes / 1024**3:.1f} GiB are left"
    if days is not None and days < wanted:
        critical = days < wanted / 4 or store.free_bytes < NO_ROOM
        text = f"it may be full in {days:.0f} days, {left}; the objective is {wanted:.0f} days"
        yield _alarm(store, Severity.CRITICAL if critical else Severity.WARNING, text, _REMEDY)
    elif store.free_bytes < LITTLE_ROOM:
        yield _alarm(store, Severity.CRITICAL if store.free_bytes < NO_ROOM else Severity.WARNING, left, _REMEDY)
    elif days is None and store.sizes and facts.now - store.sizes[0].moment > FORECAST_PATIENCE:
        text = f"no forecast can be made of when it is full, {left}"
        remedy = "run `edurise-backup check` or `prune` now and then: they measure the repository"
        yield _alarm(store, Severity.INFO, text, remedy)


def _enough(sizes: tuple[Size, ...]) -> bool:
    return len(sizes) >= FORECAST_SIZES and sizes[-1].moment - sizes[0].moment >= FORECAST_SPAN


def _alarm(store: Store, severity: Severity, text: str, remedy: str) -> Alarm:
    return Alarm(AlarmKind.STORE_FILLING, "repository", severity, f"the store {store.address}: {text}", remedy)
