"""Which snapshots a policy keeps, and why: pure rules, with stock restic's meaning.

Source: restic's `internal/data/snapshot_policy.go`. Snapshots are judged newest
first; each rule keeps the newest snapshot of each of its periods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edurise_backup.model.snapshot import Snapshot, SnapshotId


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How many periods to keep a snapshot of; -1 means all, 0 that the rule is off."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: timedelta | None = None
    tags: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether no rule keeps anything."""
        return self == RetentionPolicy()


@dataclass(frozen=True, slots=True)
class Decision:
    """One snapshot's fate; without reasons it goes."""

    id: SnapshotId
    snapshot: Snapshot
    reasons: tuple[str, ...]

    @property
    def keep(self) -> bool:
        """Whether any rule keeps it."""
        return bool(self.reasons)


Period = Callable[[datetime, int], object]


def _rules(policy: RetentionPolicy) -> list[tuple[int, Period, str]]:
    return [
        (policy.last, lambda _, number: number, "last snapshot"),
        (policy.hourly, lambda at, _: (at.year, at.month, at.day, at.hour), "hourly snapshot"),
        (policy.daily, lambda at, _: (at.year, at.month, at.day), "daily snapshot"),
        (policy.weekly, lambda at, _: at.isocalendar()[:2], "weekly snapshot"),
        (policy.monthly, lambda at, _: (at.year, at.month), "monthly snapshot"),
        (policy.yearly, lambda at, _: at.year, "yearly snapshot"),
    ]


def apply_policy(snapshots: Iterable[tuple[SnapshotId, Snapshot]], policy: RetentionPolicy) -> list[Decision]:
    """Judge the snapshots of one group, newest first."""
    ordered = sorted(snapshots, key=lambda item: (item[1].nanoseconds, item[0]), reverse=True)
    reasons: dict[SnapshotId, list[str]] = {snapshot_id: [] for snapshot_id, _ in ordered}
    newest = _moment(ordered[0][1]) if ordered else None
    for snapshot_id, snapshot in ordered:
        reasons[snapshot_id] += [f"has the tag {tag}" for tag in policy.tags if tag in (snapshot.tags or [])]
        if policy.within and newest and newest - _moment(snapshot) <= policy.within:
            reasons[snapshot_id].append(f"within {policy.within}")
    for count, period, name in _rules(policy):
        _apply_rule(ordered, reasons, count, period, name)
    return [Decision(snapshot_id, snapshot, tuple(reasons[snapshot_id])) for snapshot_id, snapshot in ordered]


def _apply_rule(
    ordered: list[tuple[SnapshotId, Snapshot]],
    reasons: dict[SnapshotId, list[str]],
    count: int,
    period: Period,
    name: str,
) -> None:
    last: object = None
    for number, (snapshot_id, snapshot) in enumerate(ordered):
        if count == 0:
            return
        this = period(_moment(snapshot), number)
        if this != last:
            reasons[snapshot_id].append(name)
            last = this
            count -= 1


def group_snapshots(
    snapshots: dict[SnapshotId, Snapshot],
) -> dict[tuple[str, ...], list[tuple[SnapshotId, Snapshot]]]:
    """Group by host and paths, as stock restic does by default."""
    groups: dict[tuple[str, ...], list[tuple[SnapshotId, Snapshot]]] = {}
    for snapshot_id, snapshot in snapshots.items():
        groups.setdefault((snapshot.hostname, *sorted(snapshot.paths)), []).append((snapshot_id, snapshot))
    return groups


def _moment(snapshot: Snapshot) -> datetime:
    return datetime.fromtimestamp(snapshot.nanoseconds / 1e9, UTC)
