"""What a policy will keep and drop: the rules of `model.retention`, applied day by day to runs that are to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from edurise_backup.model.policy import RetentionPolicy
from edurise_backup.model.retention import PointDecision, RestorePoint, Series, SeriesPolicy, judge, reach
from edurise_backup.model.words import span

DAYS = 90
LONGEST = 3660
"""Days that a simulation may span."""
MOST_RUNS = 100_000
"""Runs to come that a simulation may hold: every minute of 69 days."""
_NAMESPACE = UUID("0d6b5d1e-7f0a-4d3c-9a57-2a4f5d1f3b10")
"""Of the ids of restore points that are only thought of."""
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Objectives:
    """What a policy is measured against."""

    newest_within: timedelta
    """The newest restore point may be so old (RPO)."""
    keep_at_least: timedelta
    """There must be a restore point at least so old, once the history is long enough."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is simulated: the policy of one series, and the runs to come."""

    series: Series
    policy: RetentionPolicy
    runs: Sequence[datetime]
    bytes_each: int
    """What a run adds to the repository."""
    objectives: Objectives
    days: int = DAYS


@dataclass(frozen=True, slots=True)
class Day:
    """How it stands at the end of a day, after the policy was applied."""

    at: datetime
    kept: int
    dropped: int
    kept_bytes: int
    freed_bytes: int
    newest: datetime | None
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class BrokenControl:
    """An objective that would not be met."""

    control: str
    message: str
    since: datetime | None = None
    """The first moment at which that is so; None: all along."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a policy does within the days to come; sizes are estimates: a dropped backup may share its data."""

    begun: datetime
    series: Series
    days: tuple[Day, ...]
    broken: tuple[BrokenControl, ...]
    left: tuple[PointDecision, ...]
    """What is there at the end, and why."""

    @property
    def dropped(self) -> int:
        """How many restore points went in all."""
        return sum(day.dropped for day in self.days)

    @property
    def freed_bytes(self) -> int:
        """What dropping them frees, at most."""
        return sum(day.freed_bytes for day in self.days)

    @property
    def most(self) -> int:
        """The most restore points that are kept at the end of a day."""
        return max((day.kept for day in self.days), default=0)


def simulate(points: Sequence[RestorePoint], wish: Wish, *, now: datetime) -> Simulation:
    """Apply the policy at the end of each day to come, to the series' points and the runs until then."""
    there = [point for point in points if point.series == wish.series]
    runs = sorted(moment for moment in wish.runs if now < moment <= now + wish.days * DAY)
    coming = _coming(there, runs, wish)
    policies = {wish.series: SeriesPolicy((wish.policy,))}
    days, decided = [], tuple[PointDecision, ...]()
    began = 0
    for number in range(1, wish.days + 1):
        at = now + number * DAY
        ended = began
        while ended < len(coming) and coming[ended].moment <= at:
            ended += 1
        there += coming[began:ended]
        began = ended
        decided = judge(there, policies, now=at)
        there = [decision.point for decision in decided if decision.keep]
        days.append(_day(at, decided))
    return Simulation(now, wish.series, tuple(days), _broken(points, runs, wish, days, now), decided)


def _coming(there: Sequence[RestorePoint], runs: Sequence[datetime], wish: Wish) -> list[RestorePoint]:
    """Return the runs to come as restore points: complete, and not verified (nobody can promise that)."""
    newest = max(there, key=lambda point: point.moment, default=None)
    sources = newest.sources if newest else ()
    return [
        RestorePoint(_id(moment), wish.series, moment, complete=True, sources=sources, stored_bytes=wish.bytes_each)
        for moment in runs
    ]


def _id(moment: datetime) -> UUID:
    return uuid5(_NAMESPACE, moment.isoformat())


def _day(at: datetime, decided: Sequence[PointDecision]) -> Day:
    kept = [one.point for one in decided if one.keep]
    gone = [one.point for one in decided if not one.keep]
    real = [point.moment for point in kept if point.moment <= at and not point.damaged]
    return Day(
        at=at,
        kept=len(kept),
        dropped=len(gone),
        kept_bytes=sum(point.stored_bytes for point in kept),
        freed_bytes=sum(point.stored_bytes for point in gone),
        newest=max(real, default=None),
        oldest=min(real, default=None),
    )


def _broken(
    points: Sequence[RestorePoint], runs: Sequence[datetime], wish: Wish, days: Sequence[Day], now: datetime
) -> tuple[BrokenControl, ...]:
    found = [_exposure(points, runs, wish, now), short_reach(wish.policy, wish.objectives.keep_at_least)]
    if not any(point.verified for point in points if point.series == wish.series):
        found.append(
            BrokenControl("verified", "no restore point of the series has passed a verification: verify one", None)
        )
    if days and not days[-1].kept:
        found.append(BrokenControl("kept", "nothing is there at the end", days[-1].at))
    return tuple(one for one in found if one is not None)


def _exposure(
    points: Sequence[RestorePoint], runs: Sequence[datetime], wish: Wish, now: datetime
) -> BrokenControl | None:
    """Find the first moment at which the newest restore point is older than it may be."""
    allowed = wish.objectives.newest_within
    own = [point.moment for point in points if point.series == wish.series and not point.damaged]
    last = max((moment for moment in own if moment <= now), default=now)  # a new series begins now
    for moment in (*runs, now + wish.days * DAY):
        if moment - last > allowed:
            hours = allowed / timedelta(hours=1)
            message = f"the newest restore point is older than {hours:g} hours"
            return BrokenControl("rpo", message, max(now, last + allowed))
        last = moment
    return None


def short_reach(policy: RetentionPolicy, least: timedelta) -> BrokenControl | None:
    """Return the control that a policy breaks which keeps nothing as old as `least`."""
    far = reach(policy)
    if far is None or far >= least:
        return None
    return BrokenControl(
        "retention", f"the policy promises restore points of the last {span(far)}, {span(least)} are asked for"
    )
