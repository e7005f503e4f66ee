"""Which restore points a policy keeps, and why: pure rules over whole backups.

Restore points are judged by series: type, source and schedule, never host or
path, which change. Beside the policy stand rules that nothing overrides: pins
and holds, and the newest, the newest verified and the newest complete point of
each series and of each source. These do not depend on the policy: so a weaker
policy never drops what a stronger one keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from edurise_backup.errors import InputError
from edurise_backup.model.jobs import BackupType
from edurise_backup.model.policy import FUTURE, Dated, RetentionPolicy, reasons_to_keep
from edurise_backup.model.schedules import KeepRules, Schedule

CLUSTER = f"{BackupType.CLUSTER.value}/"
WINDOW = "the recovery window of the days begins with it"
SCHEDULE_TAG = "schedule"
"""A backup that a schedule ran has the tag `schedule=ID` (or the schedule's name)."""
_LONGEST = 365_000
"""Days; a longer retention means the same, and dates end before it."""
_RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
_DAYS = {"hourly": 1 / 24, "daily": 1.0, "weekly": 7.0, "monthly": 28.0, "yearly": 365.0}
"""Days that a rule's period lasts at least; `last` promises no time."""


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """The restore points that one policy judges together."""

    type: str
    source: str = ""
    """The one configured source; empty for all of the type."""
    schedule: str = ""
    """The id of the schedule that ran it, or the tag's text when there is no such schedule; empty: none did."""

    def __str__(self) -> str:
        name = f"{self.type}/{self.source}" if self.source else self.type
        return f"{name} of schedule {self.schedule}" if self.schedule else name

    def titled(self, schedules: Sequence[str]) -> str:
        """Return its name for people: with the schedule's name, where there is one, in place of its id."""
        if self.schedule and schedules:
            return f"{replace(self, schedule='')} of schedule {schedules[0]}"
        return str(self)


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """A whole backup, as the rules see it."""

    id: UUID
    series: Series
    moment: datetime
    tags: tuple[str, ...] = ()
    verified: bool = False
    """Its last verification passed."""
    complete: bool = False
    """It ended without a warning."""
    damaged: bool = False
    """Its last verification failed: it counts for nothing."""
    ours: bool = True
    """A job of ours made it; what another client wrote is not judged."""
    sources: tuple[str, ...] = ()
    """What it can bring back, as PART/NAME."""
    stored_bytes: int = 0
    """What it added to the repository."""
    protected: tuple[str, ...] = ()
    """Pins and holds, in words."""

    def counts(self, now: datetime) -> bool:
        """Whether it is a restore point to rely on: ours, not damaged, and not of the future."""
        return self.ours and not self.damaged and self.moment <= now + FUTURE


@dataclass(frozen=True, slots=True)
class PointDecision:
    """One restore point's fate; without reasons it goes."""

    point: RestorePoint
    reasons: tuple[str, ...]
    judged: bool = True
    """Whether a policy was asked at all."""

    @property
    def keep(self) -> bool:
        """Whether anything keeps it."""
        return bool(self.reasons)


@dataclass(frozen=True, slots=True)
class SeriesPolicy:
    """What is to be kept of a series: what any of the policies keeps."""

    policies: tuple[RetentionPolicy, ...]
    names: tuple[str, ...] = ()
    """The schedules that say so."""


def series_of(type: str, source: str, tags: Iterable[str], schedules: Iterable[Schedule] = ()) -> Series:  # noqa: A002
    """Return the series of a backup; a schedule that its tag names by name is known by its id."""
    tagged = next((tag.partition("=")[2] for tag in tags if tag.startswith(f"{SCHEDULE_TAG}=")), "")
    if tagged:
        named = [str(one.id) for one in schedules if tagged in (str(one.id), one.name)]
        tagged = named[0] if named else tagged
    return Series(type, source, tagged)


def policy_of(schedule: Schedule) -> RetentionPolicy:
    """Return a schedule's policy; raises InputError for one that would keep nothing or means nothing."""
    return checked_policy(schedule.retention, schedule.keep)


def checked_policy(days: int, keep: KeepRules) -> RetentionPolicy:
    """Return the policy of `days` in which everything is kept and further rules; raises InputError."""
    wrong = [name for name in _RULES if getattr(keep, name) < -1]
    if days < 0 or wrong:
        raise InputError(
            f"{'days' if days < 0 else wrong[0]}: a count of a policy is at least 0 (-1: all, of a rule)",
            safe="nothing was changed",
            hint="write how many periods to keep",
        )
    rules = {name: getattr(keep, name) for name in _RULES}
    within = timedelta(days=min(days, _LONGEST)) if days else None
    policy = RetentionPolicy(**rules, within=within, tags=keep.tags)
    if policy.empty or policy == RetentionPolicy(tags=policy.tags):
        raise InputError(
            "the policy would keep nothing" + (" but what has its tags" if policy.tags else ""),
            safe="nothing was changed, and nothing was dropped",
            hint="keep everything for some days, or give a rule such as daily",
        )
    return policy


def policy_for(series: Series, schedules: Sequence[Schedule]) -> SeriesPolicy | None:
    """Return what is to be kept of a series, or None when nobody has said so.

    A scheduled series follows its own schedule; one whose schedule is gone
    follows none. What was taken by hand follows the schedules that back up the
    same thing.
    """
    if series.schedule:
        named = [one for one in schedules if str(one.id) == series.schedule]
    else:
        named = [one for one in schedules if one.type.value == series.type and one.source in ("", series.source)]
    named = [one for one in named if one.type.backup is not None]
    if not named:
        return None
    return SeriesPolicy(tuple(policy_of(one) for one in named), tuple(one.name for one in named))


def judge(
    points: Iterable[RestorePoint], policies: Mapping[Series, SeriesPolicy], *, now: datetime
) -> tuple[PointDecision, ...]:
    """Judge all restore points: by series, newest first.

    All points must be given: a newest one that is not seen would let an older
    one look like the newest. What is dated in the future, is damaged, foreign
    or of a series without a policy stays, is said so, and pushes nothing out.
    """
    ordered = sorted(points, key=lambda point: (point.moment, point.id), reverse=True)
    unjudged = {point.id: reason for point in ordered if (reason := _unjudged(point, policies, now))}
    good = [point for point in ordered if point.counts(now)]
    always = always_kept(good)
    groups: dict[Series, list[RestorePoint]] = {}
    for point in ordered:
        groups.setdefault(point.series, []).append(point)
    decided = []
    for series in sorted(groups):
        judged = [point for point in groups[series] if point.id not in unjudged]
        reasons = _by_policy(judged, policies[series]) if judged else {}
        for point in groups[series]:
            why = unjudged.get(point.id)
            told = [why] if why else [*reasons[point.id], *always.get(point.id, ())]
            decided.append(PointDecision(point, (*point.protected, *told), judged=why is None))
    return tuple(decided)


def _unjudged(point: RestorePoint, policies: Mapping[Series, SeriesPolicy], now: datetime) -> str:
    if not point.ours:
        return "no job of ours made it: not judged"
    if point.moment > now + FUTURE:
        return "is dated in the future: not judged"
    if point.damaged:
        return "failed its verification: not judged, forget it by name"
    return "" if point.series in policies else "no schedule says what to keep of its series: not judged"


def _by_policy(newest_first: Sequence[RestorePoint], policy: SeriesPolicy) -> dict[UUID, list[str]]:
    dated = [Dated(str(point.id), point.moment, point.tags) for point in newest_first]
    found: dict[UUID, list[str]] = {point.id: [] for point in newest_first}
    for one in policy.policies:
        reasons = reasons_to_keep(dated, one)
        for point in newest_first:
            told = found[point.id]
            told += [short for reason in reasons[str(point.id)] if (short := _short(reason)) not in told]
        for point in _window_begins(newest_first, one):
            found[point.id].append(WINDOW)
    return found


def _window_begins(newest_first: Sequence[RestorePoint], policy: RetentionPolicy) -> list[RestorePoint]:
    """Return the base backups with which a recovery window of the policy's days begins: the newest before them.

    A moment is brought back with the base backup before it: those within the days alone reach back less far.
    """
    if policy.within is None or not newest_first:
        return []
    edge = newest_first[0].moment - policy.within
    begun: dict[str, RestorePoint] = {}
    for point in newest_first:
        if point.moment <= edge:
            for source in point.sources:
                if source.startswith(CLUSTER):
                    begun.setdefault(source, point)
    return list({point.id: point for point in begun.values()}.values())


def _short(reason: str) -> str:
    return reason.removesuffix(" snapshot")


def always_kept(newest_first: Sequence[RestorePoint]) -> dict[UUID, list[str]]:
    """Return what is kept whatever a policy says: of each series and source the newest, verified and complete ones.

    The points must be good ones: ours, not damaged, not of the future.
    """
    seen: set[tuple[Series | str, str]] = set()
    found: dict[UUID, list[str]] = {}
    for point in newest_first:
        standings = ["newest"]
        if point.verified:
            standings.append("newest verified")
        if point.complete:
            standings.append("newest complete")
        places: tuple[Series | str, ...] = (point.series, *point.sources)
        for place in places:
            for standing in standings:
                if (place, standing) not in seen:
                    seen.add((place, standing))
                    whose = "its series" if isinstance(place, Series) else f"source {place}"
                    found.setdefault(point.id, []).append(f"the {standing} of {whose}")
    return found


def reach(policy: RetentionPolicy) -> timedelta | None:
    """Return how far back the policy keeps a restore point, at least; None: for ever."""
    if -1 in (policy.last, policy.hourly, policy.daily, policy.weekly, policy.monthly, policy.yearly):
        return None
    days = max(max(getattr(policy, name) - 1, 0) * length for name, length in _DAYS.items())
    return max(policy.within or timedelta(0), timedelta(days=min(days, _LONGEST)))


def weakened(old: RetentionPolicy, new: RetentionPolicy) -> list[str]:
    """Return what a new policy keeps less of than the old one, a sentence each; empty when nothing can be lost."""
    said = []
    before, after = old.within or timedelta(0), new.within or timedelta(0)
    if after < before:
        said.append(f"everything is kept for {after.days} days, it was {before.days}")
    for name in _RULES:
        was, will = getattr(old, name), getattr(new, name)
        if will != -1 and (was == -1 or will < was):
            said.append(f"{name}: {will} are kept, it was {'all' if was == -1 else was}")
    said += [f"the tag {tag} keeps nothing any more" for tag in old.tags if tag not in new.tags]
    return said
