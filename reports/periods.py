"""The period that a report is about: a day, month, quarter or year, or FROM..TO, in a time zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from edurise_backup.errors import InputError

HINT = "write e.g. 2026-10-05, 2026-10, 2026-Q3, 2026, or 2026-10-01..2026-10-15 (the last day is part of it)"
_YEAR = re.compile(r"([0-9]{4})\Z")
_QUARTER = re.compile(r"([0-9]{4})-[Qq]([1-4])\Z")
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})\Z")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


@dataclass(frozen=True, slots=True)
class Period:
    """A span of time: `start` is part of it, `end` is the first moment after it; both in UTC."""

    text: str
    start: datetime
    end: datetime
    zone: str

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.end - self.start

    def until(self, now: datetime) -> datetime:
        """Return the moment up to which there is something to tell: its end, or now if that is sooner."""
        return min(self.end, now)


def parse_period(text: str, *, zone: str = "UTC") -> Period:
    """Return the period that a person wrote; raises InputError for nonsense or an unknown zone."""
    place = _zone(zone)
    asked = text.strip()
    first, last = _days(asked)
    if last < first:
        raise InputError(f"the period {asked!r} ends before it begins", safe="nothing was made", hint=HINT)
    try:
        start, end = (datetime.combine(day, time(), place).astimezone(UTC) for day in (first, last + timedelta(days=1)))
    except OverflowError:
        raise _nonsense(asked) from None
    return Period(asked.upper() if _QUARTER.match(asked) else asked, start, end, zone)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no name at all; a folder of zones
        raise InputError(
            f"there is no time zone {name!r}", safe="nothing was made", hint="write e.g. UTC or Asia/Kolkata"
        ) from None


def _days(text: str) -> tuple[date, date]:
    """Return the first and the last day that a text names."""
    if ".." in text:
        begin, _, end = text.partition("..")
        if not (_DAY.match(begin) and _DAY.match(end)):
            raise _nonsense(text)
        return _day(begin, text), _day(end, text)
    if _DAY.match(text):
        return _day(text, text), _day(text, text)
    if match := _YEAR.match(text):
        return _months(int(match[1]), 1, 12, text)
    if match := _QUARTER.match(text):
        first = 3 * int(match[2]) - 2
        return _months(int(match[1]), first, first + 2, text)
    if match := _MONTH.match(text):
        return _months(int(match[1]), int(match[2]), int(match[2]), text)
    raise _nonsense(text)


def _day(text: str, whole: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _nonsense(whole) from None


def _months(year: int, first: int, last: int, text: str) -> tuple[date, date]:
    try:
        after = date(year + last // 12, last % 12 + 1, 1)
        return date(year, first, 1), after - timedelta(days=1)
    except ValueError:
        raise _nonsense(text) from None


def _nonsense(text: str) -> InputError:
    return InputError(f"{text!r} is no period", safe="nothing was made", hint=HINT)


def last_month(now: datetime, *, zone: str = "UTC") -> str:
    """Return the month before the one of this moment, as a period is written."""
    day = now.astimezone(_zone(zone)).date().replace(day=1) - timedelta(days=1)
    return f"{day:%Y-%m}"
