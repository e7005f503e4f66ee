"""Spans of the week in which nothing is started: `mon-fri 08:00-18:00`, `22:00-06:00`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from edurise_backup.errors import InputError

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"(?:([a-z,\-]+) )?(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})\Z", re.ASCII)
_DAY_MINUTES = 24 * 60
_MOST = 20


@dataclass(frozen=True, slots=True)
class Blackout:
    """One span, in wall-clock time; one that ends at or before its begin ends on the next day."""

    text: str
    days: frozenset[int]
    """The days on which it begins; Monday is 0."""
    begin: int
    """Minutes since midnight."""
    end: int

    def ends_for(self, local: datetime) -> datetime | None:
        """Return when it ends that covers this wall-clock time, or None when it does not cover it."""
        minute, days = local.hour * 60 + local.minute, self.end - self.begin
        today = local.date()
        if days > 0:
            covered = local.weekday() in self.days and self.begin <= minute < self.end
            return _moment(today, self.end) if covered else None
        if local.weekday() in self.days and minute >= self.begin:
            return _moment(today, self.end + _DAY_MINUTES)
        if (local.weekday() - 1) % 7 in self.days and minute < self.end:
            return _moment(today, self.end)
        return None


def parse_blackouts(texts: Iterable[str]) -> tuple[Blackout, ...]:
    """Return what the texts mean; raises InputError that says what to write instead."""
    found = tuple(map(_parse, texts))
    if len(found) > _MOST:
        raise InputError(f"{len(found)} blackout spans are too many", hint=f"use at most {_MOST}")
    return found


def blackout_at(spans: Iterable[Blackout], local: datetime) -> tuple[Blackout, datetime] | None:
    """Return the span that covers a wall-clock time and ends last, with its end, or None."""
    covering = [(span, end) for span in spans if (end := span.ends_for(local)) is not None]
    return max(covering, key=lambda pair: pair[1], default=None)


def _parse(text: str) -> Blackout:
    said = " ".join(text.lower().split())
    found = _SPAN.match(said)
    if not found:
        raise _unreadable(text)
    begin, end = (_minutes(found[number], found[number + 1], text) for number in (2, 4))
    if begin in (end, _DAY_MINUTES):
        raise _unreadable(text)
    return Blackout(said, _days(found[1], text) if found[1] else frozenset(range(7)), begin, end)


def _minutes(hour: str, minute: str, text: str) -> int:
    total = int(hour) * 60 + int(minute)
    if int(minute) > 59 or total > _DAY_MINUTES:
        raise _unreadable(text)
    return total


def _days(said: str, text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in said.split(","):
        first, dash, last = part.partition("-")
        if first not in _DAYS or (dash and last not in _DAYS):
            raise _unreadable(text)
        begin = _DAYS.index(first)
        length = (_DAYS.index(last) - begin) % 7 if dash else 0
        days |= {(begin + step) % 7 for step in range(length + 1)}
    return frozenset(days)


def _moment(day: date, minutes: int) -> datetime:
    return datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)  # noqa: DTZ001  wall-clock time


def _unreadable(text: str) -> InputError:
    return InputError(
        f"the blackout {text!r} is not readable",
        safe="nothing was changed",
        hint='write for instance "mon-fri 08:00-18:00" or "22:00-06:00"; a whole day is "sun 00:00-24:00"',
    )
