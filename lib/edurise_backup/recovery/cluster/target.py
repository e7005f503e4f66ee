"""The way of a recovery through the log: which timelines, which segments, and what is impossible, before it begins.

The server would take any file of a name that it can think of. It is given
exactly those on the way: a segment of a timeline that was left is cut where
it was left, so that nothing is replayed that the way does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edurise_backup.errors import DamageError, InputError, NotFoundError
from edurise_backup.model.cluster import ClusterRecord
from edurise_backup.model.recovery_target import TargetMoment, TimelineChoice
from edurise_backup.model.wal import (
    Branch,
    Lsn,
    Segment,
    Timeline,
    WalFileKind,
    format_lsn,
    history_name,
    parse_history,
    parse_lsn,
    parse_wal_name,
    segments_between,
)

_UNTOUCHED = "nothing was restored or changed"


@dataclass(frozen=True, slots=True)
class Step:
    """A segment on the way: the name that the server asks for, and the archive's file that has it."""

    name: str
    segment: Segment
    stored: str | None
    """None: only the base backup itself has it."""
    cut: Lsn | None = None
    """Where its timeline was left: what is behind belongs to another branch."""


@dataclass(frozen=True, slots=True)
class Route:
    """The unbroken run of segments from the base backup's start along a way of timelines."""

    way: tuple[Branch, ...]
    start: Lsn
    steps: tuple[Step, ...]
    missing: str | None
    """The segment after the last one, when later ones exist."""
    histories: tuple[str, ...]
    size: int

    @property
    def timeline(self) -> Timeline:
        """The timeline that is recovered along."""
        return self.way[-1].timeline

    @property
    def end(self) -> Lsn:
        """Behind the last byte of the last segment; the log itself may end earlier in it."""
        return self.steps[-1].segment.end(self.size) if self.steps else self.start

    def timeline_at(self, lsn: int) -> Timeline:
        """Return the timeline that a position of the way lies on."""
        return next((branch.timeline for branch in self.way if branch.holds(lsn)), self.timeline)


def plan_route(
    names: Iterable[str], read: Callable[[str], bytes], record: ClusterRecord, target: TargetMoment
) -> Route:
    """Choose the timeline and find the log that leads to the target; `names`: of the archive, `read` one of them.

    Raises InputError for a target that cannot be, NotFoundError for one that the archive does not reach,
    DamageError for a gap before it.
    """
    size = record.segment_size
    found = {name: file for name in names if (file := parse_wal_name(name, size)) is not None}
    histories = {file.timeline: name for name, file in found.items() if file.kind is WalFileKind.HISTORY}
    way = _choose_way(record, target.timeline, {one: read(name) for one, name in histories.items()})
    complete = {file.segment for file in found.values() if file.segment and file.kind is WalFileKind.SEGMENT}
    partial = {file.segment for file in found.values() if file.segment and file.kind is WalFileKind.PARTIAL}
    steps, missing = _steps(way, record, complete, partial)
    route = Route(way, parse_lsn(record.start_lsn), tuple(steps), missing, tuple(sorted(histories.values())), size)
    _refuse_impossible(route, record, target)
    return route


def _choose_way(
    record: ClusterRecord, choice: TimelineChoice, histories: Mapping[Timeline, bytes]
) -> tuple[Branch, ...]:
    own = Timeline(record.timeline)
    if choice == "latest":
        for timeline in sorted((one for one in histories if one > own), reverse=True):
            way = parse_history(timeline, histories[timeline])
            if not _why_no_child(way, record):
                return way
    if isinstance(choice, str) or choice == own:
        return parse_history(own, histories.get(own, b""))
    timeline = Timeline(choice)
    if timeline not in histories:
        known = ", ".join(map(str, sorted({own, *histories})))
        raise NotFoundError(
            f"the archive has no {history_name(timeline)}: nothing leads to the timeline {timeline}",
            safe=_UNTOUCHED,
            hint=f"choose one of the timelines {known}",
        )
    way = parse_history(timeline, histories[timeline])
    if why := _why_no_child(way, record):
        raise InputError(
            f"the base backup does not lead to the timeline {timeline}: {why}",
            safe=_UNTOUCHED,
            hint="choose an older base backup, or another timeline",
        )
    return way


def _why_no_child(way: Sequence[Branch], record: ClusterRecord) -> str:
    """Return why a base backup cannot be recovered along a way, or nothing."""
    branch = next((one for one in way if one.timeline == record.timeline), None)
    if branch is None:
        return f"that never was on the timeline {record.timeline}"
    if branch.end is not None and parse_lsn(record.stop_lsn) > branch.end:
        left = format_lsn(branch.end)
        return f"it left the timeline {record.timeline} at {left}, and the base backup ends at {record.stop_lsn}"
    return ""


def _steps(
    way: Sequence[Branch], record: ClusterRecord, complete: set[Segment], partial: set[Segment]
) -> tuple[list[Step], str | None]:
    size, start = record.segment_size, parse_lsn(record.start_lsn)
    on_way = {branch.timeline for branch in way}
    newest = max((one.number for one in complete | partial if one.timeline in on_way), default=-1)
    newest = max(newest, (parse_lsn(record.stop_lsn) - 1) // size)
    steps: list[Step] = []
    for segment in segments_between(way, start, (newest + 1) * size, size):
        step = _step(way, segment, record, complete, partial)
        if step is None:
            later = any(one.number > segment.number and _holds(way, one, size) for one in complete | partial)
            return steps, segment.name(size) if later else None
        steps.append(step)
    return steps, None


def _step(
    way: Sequence[Branch], segment: Segment, record: ClusterRecord, complete: set[Segment], partial: set[Segment]
) -> Step | None:
    size = record.segment_size
    newer = {one.timeline for one in complete | partial if one.number == segment.number}
    for branch in reversed(way):  # the segment of a switch may be there of the timeline that was left only
        candidate = Segment(branch.timeline, segment.number)
        if branch.timeline > segment.timeline or branch.begin >= candidate.end(size):
            continue
        if branch.end is not None and branch.end <= candidate.start(size):
            return None
        name = candidate.name(size)
        inside = branch.end is not None and branch.end < candidate.end(size)
        cut = branch.end if inside else None
        if candidate in complete:
            return Step(name, candidate, name, cut)
        if candidate in partial and not any(timeline > branch.timeline for timeline in newer):
            return Step(name, candidate, f"{name}.partial", cut)
        if name in record.wal:
            return Step(name, candidate, None, None)
    return None


def _holds(way: Sequence[Branch], segment: Segment, size: int) -> bool:
    return any(
        branch.timeline == segment.timeline
        and branch.begin < segment.end(size)
        and (branch.end is None or segment.start(size) < branch.end)
        for branch in way
    )


def _refuse_impossible(route: Route, record: ClusterRecord, target: TargetMoment) -> None:
    stop = parse_lsn(record.stop_lsn)
    if route.end < stop:
        missing = route.missing or f"what follows {format_lsn(route.end)}"
        raise DamageError(
            f"the log that the base backup needs up to {record.stop_lsn} is not there: {missing} is missing",
            safe=_UNTOUCHED,
            hint="choose another base backup",
        )
    if target.time is not None and target.time < record.start_time:
        raise InputError(
            f"{target} lies before the base backup, which ends at {record.stop_time.isoformat()}",
            safe=_UNTOUCHED,
            hint="choose an older base backup, or a later time",
        )
    if target.lsn is not None:
        _refuse_position(route, record, target, target.lsn)
    if target.latest and route.missing:
        raise DamageError(
            f"the segment {route.missing} is missing: the log is unbroken up to {format_lsn(route.end)} only",
            safe=_UNTOUCHED,
            hint="look for the segment on the server or its standby; or name a target before it: "
            f"lsn:{format_lsn(route.end - 1)} is the last possible",
        )


def _refuse_position(route: Route, record: ClusterRecord, target: TargetMoment, lsn: Lsn) -> None:
    if lsn < parse_lsn(record.stop_lsn):
        raise InputError(
            f"{target} lies before the end of the base backup, {record.stop_lsn}",
            safe=_UNTOUCHED,
            hint="choose an older base backup; the first possible target of this one is `immediate`",
        )
    if lsn >= route.end:
        raise _behind_the_end(route, target)


def _behind_the_end(route: Route, target: TargetMoment) -> DamageError | NotFoundError:
    end = format_lsn(route.end)
    if route.missing:
        return DamageError(
            f"the segment {route.missing} is missing before {target}: the log is unbroken up to {end} only",
            safe=_UNTOUCHED,
            hint="look for the segment on the server or its standby, or choose an earlier target",
        )
    return NotFoundError(
        f"{target} lies behind the end of the archive, which is at or before {end} of the timeline {route.timeline}",
        safe=_UNTOUCHED,
        hint="choose an earlier target, or `latest`",
    )
