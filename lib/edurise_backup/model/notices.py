"""Who is told of which alarm, and when: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

from edurise_backup.model.alarms import AlarmKind, AlarmRow, Severity

GIVEN_UP_AFTER = timedelta(days=7)
"""A message that could not be sent for so long is not tried any more."""
_FIRST_WAIT = timedelta(seconds=30)
_LONGEST_WAIT = timedelta(hours=1)


class Event(StrEnum):
    """What a message tells."""

    RAISED = "raised"
    SETTLED = "settled"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Quiet:
    """Hours of each day in which only critical alarms are sent."""

    begin: time
    end: time
    zone: ZoneInfo

    def at(self, now: datetime) -> bool:
        """Whether `now` lies in them; the end does not. Hours that begin after they end go over midnight."""
        local = now.astimezone(self.zone).time()
        if self.begin <= self.end:
            return self.begin <= local < self.end
        return local >= self.begin or local < self.end


@dataclass(frozen=True, slots=True)
class Route:
    """What goes to one target."""

    target: str
    severities: frozenset[Severity] = frozenset({Severity.WARNING, Severity.CRITICAL})
    kinds: frozenset[AlarmKind] = frozenset()
    """Empty: all."""
    quiet: Quiet | None = None
    after: timedelta = timedelta(0)
    """Only what nobody has acknowledged for so long: an escalation."""
    settled: bool = True
    """Whether the end of an alarm is told, too."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A row of `notifications`."""

    id: UUID
    alarm_id: UUID | None
    target: str
    event: Event
    severity: Severity
    created_at: datetime
    next_try_at: datetime
    tries: int
    sent_at: datetime | None
    given_up_at: datetime | None
    error: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message that is to be sent."""

    alarm_id: UUID
    target: str
    event: Event
    severity: Severity


@dataclass(frozen=True, slots=True)
class Told:
    """What a target was told of an alarm, or will be as soon as it answers."""

    raised: Severity | None = None
    """The worst severity that was told."""
    settled: bool = False


@dataclass(slots=True)
class Ledger:
    """What everybody was told of the alarms that are looked at."""

    told: dict[tuple[UUID, str], Told] = field(default_factory=dict)

    @classmethod
    def of(cls, notices: Iterable[Notice]) -> Ledger:
        """Sum the rows up."""
        ledger = cls()
        for notice in notices:
            if notice.alarm_id is None:
                continue
            key = (notice.alarm_id, notice.target)
            before = ledger.told.get(key, Told())
            if notice.event is Event.SETTLED:
                ledger.told[key] = Told(before.raised, settled=True)
            else:
                worst = max((notice.severity, before.raised or notice.severity), key=lambda one: one.rank)
                ledger.told[key] = Told(worst, before.settled)
        return ledger


def wanted(alarms: Iterable[AlarmRow], routes: Iterable[Route], ledger: Ledger, now: datetime) -> Iterator[Wanted]:
    """Yield what is to be sent now and was not: each alarm once, once more when it gets worse, and its end."""
    targets = tuple(routes)
    for alarm in alarms:
        for route in targets:
            told = ledger.told.get((alarm.id, route.target), Told())
            if alarm.settled_at is not None:
                if told.raised is not None and not told.settled and route.settled and not _held_back(route, alarm, now):
                    yield Wanted(alarm.id, route.target, Event.SETTLED, told.raised)
            elif _due(alarm, route, now) and (told.raised is None or alarm.severity.rank > told.raised.rank):
                yield Wanted(alarm.id, route.target, Event.RAISED, alarm.severity)


def wait_before_try(tries: int) -> timedelta:
    """Return how long to leave a target alone after so many tries that failed."""
    doublings = max(0, min(tries - 1, 10))
    return min(_LONGEST_WAIT, _FIRST_WAIT * (1 << doublings))


def _due(alarm: AlarmRow, route: Route, now: datetime) -> bool:
    if alarm.severity not in route.severities or (route.kinds and alarm.kind not in route.kinds):
        return False
    if alarm.kind is AlarmKind.TARGET_UNREACHABLE and alarm.subject == route.target:
        return False  # it would not arrive
    if alarm.acknowledged_at is not None:
        return False  # somebody looks after it
    return now - alarm.raised_at >= route.after and not _held_back(route, alarm, now)


def _held_back(route: Route, alarm: AlarmRow, now: datetime) -> bool:
    return route.quiet is not None and route.quiet.at(now) and alarm.severity is not Severity.CRITICAL
