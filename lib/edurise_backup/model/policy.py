"""Which snapshots a policy keeps, and why: pure rules, with stock restic's meaning.

Source: restic's `internal/data/snapshot_policy.go`. Snapshots are judged newest
first; each rule keeps the newest snapshot of each of its periods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.model.words import span

FUTURE = timedelta(hours=1)
"""What is dated later than this from now was written by a wrong clock, or ours is wrong."""


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


@dataclass(frozen=True, slots=True)
class Dated:
    """What the rules look at: a snapshot, or a backup as a whole."""

    id: str
    moment: datetime
    tags: tuple[str, ...] = ()


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
    dated = [Dated(key, _moment(snapshot), tuple(snapshot.tags or ())) for key, snapshot in ordered]
    reasons = reasons_to_keep(dated, policy)
    return [Decision(snapshot_id, snapshot, tuple(reasons[snapshot_id])) for snapshot_id, snapshot in ordered]


def reasons_to_keep(newest_first: Sequence[Dated], policy: RetentionPolicy) -> dict[str, list[str]]:
    """Return, for each point of one group, why the policy keeps it; without reasons it goes."""
    reasons: dict[str, list[str]] = {point.id: [] for point in newest_first}
    newest = newest_first[0].moment if newest_first else None
    for point in newest_first:
        if policy.tags:
            reasons[point.id] += [f"has the tag {tag}" for tag in policy.tags if tag in point.tags]
        if policy.within and newest and newest - point.moment <= policy.within:
            reasons[point.id].append(f"within {span(policy.within)} of the newest")
    for count, period, name in _rules(policy):
        _apply_rule(newest_first, reasons, count, period, name)
    return reasons


def _apply_rule(
    ordered: Sequence[Dated],
    reasons: dict[str, list[str]],
    count: int,
    period: Period,
    name: str,
) -> None:
    last: object = None
    for number, point in enumerate(ordered):
        if count == 0:
            return
        this = period(point.moment, number)
        if this != last:
            reasons[point.id].append(name)
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
