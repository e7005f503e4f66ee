"""Which moments can be brought back: pure, from base backups, the segments that are there, and the timelines.

A window begins where a base backup is consistent (its end) and goes on for as
long as no segment is missing on the way; where one is, it ends, and the next
one begins with the next base backup. Each timeline has windows of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from edurise_backup.model.wal import Branch, Lsn, Timeline, last_segment
from edurise_backup.model.wal_status import BaseBackup, TimelineRow


@dataclass(frozen=True, slots=True)
class Stretch:
    """A segment that is there, or the beginning of one."""

    timeline: Timeline
    number: int
    end_lsn: Lsn
    """Up to here it can be replayed."""
    complete: bool = True
    first_commit_at: datetime | None = None
    last_commit_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecoveryWindow:
    """An unbroken span of moments on a timeline."""

    source: str
    system_identifier: str
    timeline: Timeline
    bases: tuple[BaseBackup, ...]
    """Those that it can begin with, oldest first."""
    begin_at: datetime
    begin_lsn: Lsn
    end_at: datetime
    """The last commit that can be reached."""
    end_lsn: Lsn
    broken_at: Lsn | None
    """Where the first missing segment begins, when the log goes on behind it; None: it ends there for now."""

    def holds(self, moment: datetime) -> bool:
        """Whether a moment can be brought back."""
        return self.begin_at <= moment <= self.end_at

    def base_before(self, lsn: int) -> BaseBackup | None:
        """Return the newest base backup that is consistent at or before a position."""
        return next((base for base in reversed(self.bases) if base.stop_lsn <= lsn), None)

    def base_at(self, moment: datetime) -> BaseBackup | None:
        """Return the newest base backup that had ended by a moment."""
        return next((base for base in reversed(self.bases) if base.stop_at <= moment), None)


def ways_of(rows: Iterable[TimelineRow], timelines: Iterable[int]) -> dict[Timeline, tuple[Branch, ...]]:
    """Return the way to each timeline, oldest stretch first; a timeline without a parent that is known begins at 0."""
    parents = {row.timeline: row for row in rows}
    return {Timeline(timeline): _way(Timeline(timeline), parents) for timeline in {*timelines, *parents}}


def _way(timeline: Timeline, parents: Mapping[Timeline, TimelineRow]) -> tuple[Branch, ...]:
    way: list[Branch] = []
    end: Lsn | None = None
    seen: set[Timeline] = set()
    while timeline not in seen:
        seen.add(timeline)
        parent = parents.get(timeline)
        way.append(Branch(timeline, parent.switch_lsn if parent else Lsn(0), end, parent.reason if parent else ""))
        if parent is None:
            break
        timeline, end = parent.parent, parent.switch_lsn
    return tuple(reversed(way))


def find_windows(
    bases: Sequence[BaseBackup], stretches: Sequence[Stretch], rows: Iterable[TimelineRow], size: int
) -> tuple[RecoveryWindow, ...]:
    """Return every window, by timeline and then by time; `size`: bytes of a segment. All is of one cluster."""
    ways = ways_of(rows, [*(base.timeline for base in bases), *(one.timeline for one in stretches)])
    there = {(one.timeline, one.number): one for one in stretches}
    found: list[RecoveryWindow] = []
    for timeline, way in sorted(ways.items()):
        last = max((one.number for one in stretches if _on_way(one, way, size)), default=-1)
        found += _windows_on(timeline, way, _bases_on(bases, way), there, last, size)
    return tuple(found)


def _bases_on(bases: Sequence[BaseBackup], way: Sequence[Branch]) -> list[BaseBackup]:
    ends = {branch.timeline: branch.end for branch in way}
    reached = [
        base
        for base in bases
        if base.timeline in ends and ((end := ends[base.timeline]) is None or base.stop_lsn <= end)
    ]
    return sorted(reached, key=lambda base: (base.stop_lsn, base.stop_at))


def _on_way(one: Stretch, way: Sequence[Branch], size: int) -> bool:
    return timeline_at(way, one.number, size) == one.timeline


def timeline_at(way: Sequence[Branch], number: int, size: int) -> Timeline:
    """Return on which timeline a segment is read along a way: the newest one that begins before its end."""
    last = (number + 1) * size - 1
    return next((branch.timeline for branch in reversed(way) if branch.begin <= last), way[0].timeline)


def _windows_on(
    timeline: Timeline,
    way: Sequence[Branch],
    bases: Sequence[BaseBackup],
    there: Mapping[tuple[Timeline, int], Stretch],
    last: int,
    size: int,
) -> list[RecoveryWindow]:
    windows: list[RecoveryWindow] = []
    index = 0
    while index < len(bases):
        first = bases[index]
        run: list[Stretch] = []
        number = last_segment(first.timeline, first.stop_lsn, size).number
        inside = there.get((timeline_at(way, number, size), number))
        run += [inside] if inside else []
        while (one := there.get((timeline_at(way, number + 1, size), number + 1))) is not None:
            run.append(one)
            number += 1
            if not one.complete:
                break
        reached = (number + 1) * size
        together = [base for base in bases[index:] if base.stop_lsn <= reached]
        windows.append(_window(timeline, together or [first], run, number < last, Lsn(reached)))
        index += max(1, len(together))
    return windows


def _window(
    timeline: Timeline, bases: Sequence[BaseBackup], run: Sequence[Stretch], broken: bool, reached: Lsn
) -> RecoveryWindow:
    first, newest = bases[0], bases[-1]
    commits = [one.last_commit_at for one in run if one.last_commit_at is not None]
    ends = [one.end_lsn for one in run]
    return RecoveryWindow(
        source=first.source,
        system_identifier=first.system_identifier,
        timeline=timeline,
        bases=tuple(bases),
        begin_at=first.stop_at,
        begin_lsn=first.stop_lsn,
        end_at=max([*commits, newest.stop_at]),
        end_lsn=max([*ends, newest.stop_lsn]),
        broken_at=reached if broken else None,
    )


def nearest_moments(windows: Sequence[RecoveryWindow], moment: datetime) -> tuple[datetime, ...]:
    """Return the moments next to one that cannot be brought back: the last before it and the first behind it."""
    before = [window.end_at for window in windows if window.end_at < moment]
    behind = [window.begin_at for window in windows if window.begin_at > moment]
    return (*([max(before)] if before else []), *([min(behind)] if behind else []))
