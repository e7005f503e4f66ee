"""When a schedule comes due. Pure.

A time of day is wall-clock time: where the clock jumps over it, it comes due
once, at the first moment after the jump; where the clock shows it twice, once,
at the first of the two. A rule that comes due in every hour means every hour
that passes, so it comes due in both of the doubled ones. Intervals are elapsed
time, counted from midnight of 2000-01-01 in the schedule's zone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim

from edurise_backup.errors import InputError
from edurise_backup.model.blackouts import Blackout, blackout_at
from edurise_backup.model.frequencies import Timing, cron_fields

HORIZON = timedelta(days=8 * 366)
"""How far ahead a due time is looked for: February 29 comes within it."""
_STEPS = 20_000
_ANCHOR_YEAR = 2000
_EVERY_HOUR = frozenset(range(24))


@dataclass(frozen=True, slots=True)
class Rule:
    """Everything that decides when a schedule comes due."""

    timing: Timing
    zone: str = "UTC"
    jitter: timedelta = timedelta(0)
    key: str = ""
    """What the jitter depends on beside the due time: the schedule's id."""
    blackouts: tuple[Blackout, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A due time, and the blackout that forbids it."""

    at: datetime
    blackout: Blackout | None = None


def next_times(rule: Rule, after: datetime, count: int) -> list[datetime]:
    """Return up to `count` due times after a moment, in UTC, ascending; fewer when the rule has no more."""
    return _times(rule, after, count, after + HORIZON)


def _times(rule: Rule, after: datetime, count: int, limit: datetime) -> list[datetime]:
    """Return up to `count` due times in (after, limit]: none beyond is looked for, which may be years of a clock."""
    found: list[datetime] = []
    start, steps = after, 0
    zone = ZoneInfo(rule.zone)
    while len(found) < count and steps < _STEPS:
        for at in _jittered(rule, start, after, limit):
            steps += 1
            covered = blackout_at(rule.blackouts, at.astimezone(zone).replace(tzinfo=None))
            if covered is None:
                found.append(at)
                after = at
            else:  # what lies in the same span need not be looked at one by one
                start = max(instant(covered[1], zone), at + timedelta(seconds=1)) - timedelta(seconds=1)
                break
            if len(found) >= count or steps >= _STEPS:
                return found
        else:
            return found
    return found


def times_until(rule: Rule, after: datetime, until: datetime, *, limit: int) -> list[datetime]:
    """Return the due times in (after, until], at most `limit`."""
    found: list[datetime] = []
    while len(found) < limit:
        page = _times(rule, after, min(500, limit - len(found)), until)
        found += page
        if not page:
            break
        after = page[-1]
    return found


def preview(rule: Rule, after: datetime, count: int) -> list[Candidate]:
    """Return the next `count` times by the clock alone, and which of them a blackout forbids."""
    zone, found = ZoneInfo(rule.zone), []
    for at in _jittered(rule, after, after, after + HORIZON):
        covered = blackout_at(rule.blackouts, at.astimezone(zone).replace(tzinfo=None))
        found.append(Candidate(at, covered[0] if covered else None))
        if len(found) >= count:
            break
    return found


def check_rule(rule: Rule, now: datetime) -> None:
    """Raise InputError for a rule that never comes due, or whose jitter reaches its next time."""
    plain = Rule(rule.timing, rule.zone)
    times = next_times(plain, now, 50)
    if not times:
        raise InputError(
            f"{describe(rule.timing)} never comes due within the next 8 years",
            safe="nothing was changed",
            hint="no such date exists: check the day of the month, for instance against February",
        )
    if not next_times(rule, now, 1):
        raise InputError(
            "every due time lies in a blackout",
            safe="nothing was changed",
            hint="choose another time, or shorten the blackout",
        )
    gap = min((later - earlier for earlier, later in pairwise(times)), default=HORIZON)
    if rule.jitter and rule.jitter >= gap:
        raise InputError(
            f"a jitter of {rule.jitter} reaches the next due time, {gap} later",
            safe="nothing was changed",
            hint="choose a jitter that is shorter than the time between two runs",
        )


def describe(timing: Timing) -> str:
    """Return how often, in plain words."""
    if timing.interval is None:
        said: str = cron_fields(timing.cron).explain()
        return said[:1].lower() + said[1:]
    seconds = int(timing.interval.total_seconds())
    for unit, name in ((604800, "week"), (86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds % unit == 0:
            number = seconds // unit
            return f"every {name}" if number == 1 else f"every {number} {name}s"
    raise AssertionError("unreachable")


def instant(local: datetime, zone: ZoneInfo) -> datetime:
    """Return when a wall clock shows a time: the first of two such moments, or the end of a jump over it."""
    early = local.replace(tzinfo=zone, fold=0)
    moment = early.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == local:
        return moment
    # by the offset of before the jump the moment lies after it, by that of after it before it
    return _jump(local.replace(tzinfo=zone, fold=1).astimezone(UTC), moment, zone)


def _jump(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Return the first second at which the zone has the offset that it has `after`."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after


def _jittered(rule: Rule, begin: datetime, after: datetime, limit: datetime) -> Iterator[datetime]:
    """Yield the due times after both moments up to the limit, each as late as its jitter makes it."""
    last, begin = max(begin, after), max(begin, after) - rule.jitter
    for due in _by_interval(rule, begin) if rule.timing.interval else _by_cron(rule, begin):
        at = due + _delay(rule, due)
        if at > limit:
            return
        if at > last:
            yield at
            last = at


def _delay(rule: Rule, due: datetime) -> timedelta:
    seconds = int(rule.jitter.total_seconds())
    if not seconds:
        return timedelta(0)
    digest = hashlib.sha256(f"{rule.key} {due.isoformat()}".encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:8], "big") % (seconds + 1))


def _by_interval(rule: Rule, after: datetime) -> Iterator[datetime]:
    assert rule.timing.interval
    first = anchor(rule.zone)
    number = (after - first) // rule.timing.interval + 1
    while True:
        yield first + number * rule.timing.interval
        number += 1


def anchor(zone: str) -> datetime:
    """Return the moment from which intervals are counted in a zone."""
    return instant(datetime(_ANCHOR_YEAR, 1, 1), ZoneInfo(zone))  # noqa: DTZ001  wall-clock time


def _by_cron(rule: Rule, after: datetime) -> Iterator[datetime]:
    zone, fields = ZoneInfo(rule.zone), rule.timing.cron.split()
    in_every_hour = cron_fields(rule.timing.cron).hours >= _EVERY_HOUR
    if in_every_hour:
        fields[1] = "*"
        search = CronSim(" ".join(fields), after.astimezone(zone))
    else:  # a day earlier: around a change of the clock, wall-clock time goes back
        search = CronSim(rule.timing.cron, after.astimezone(zone).replace(tzinfo=None, fold=0) - timedelta(days=1))
    last = after
    for local in search:
        at = local.astimezone(UTC) if in_every_hour else instant(local, zone)
        if at > last:
            yield at
            last = at
