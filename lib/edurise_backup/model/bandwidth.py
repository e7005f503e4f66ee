"""How much may be transferred at which time of the day. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from edurise_backup.errors import InputError
from edurise_backup.model.store_settings import BandwidthSettings

_DAY = 24 * 60
_RATE = re.compile(r"([0-9]{1,12})([kmgt]?)(?:i?b)?(?:/s)?\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the day, in minutes since midnight; one that ends at or before its begin ends on the next day."""

    begin: int
    end: int
    rate: int
    """Bytes a second."""

    def covers(self, minute: int) -> bool:
        """Whether the minute of the day lies in it."""
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


@dataclass(frozen=True, slots=True)
class RateSchedule:
    """A rate for each time of the day; where several windows meet, the slowest counts, where none is, no limit."""

    windows: tuple[Window, ...]
    zone: ZoneInfo

    def __bool__(self) -> bool:
        return bool(self.windows)

    def at(self, moment: datetime) -> tuple[int, datetime]:
        """Return the rate (bytes a second; 0: no limit) and until when it holds for certain."""
        local = moment.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        rate = min((window.rate for window in self.windows if window.covers(minute)), default=0)
        edges = {edge for window in self.windows for edge in (window.begin, window.end)}
        ahead = min(((edge - minute - 1) % _DAY + 1 for edge in edges), default=_DAY)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        days, of_day = divmod(minute + ahead, _DAY)
        # wall-clock arithmetic: the clock may be put forward or back in between
        until = (midnight + timedelta(days=days)).replace(hour=of_day // 60, minute=of_day % 60).astimezone(UTC)
        return rate, until if until > moment else moment + timedelta(minutes=1)


def upload_schedule(windows: Iterable[BandwidthSettings], zone: str) -> RateSchedule:
    """Return how much may be sent when; raises InputError."""
    return _schedule(((one.begin, one.to, one.upload) for one in windows), zone)


def download_schedule(windows: Iterable[BandwidthSettings], zone: str) -> RateSchedule:
    """Return how much may be fetched when; raises InputError."""
    return _schedule(((one.begin, one.to, one.download) for one in windows), zone)


def parse_rate(text: str) -> int:
    """Return the bytes a second that e.g. `2MiB` or `500k` means; units are powers of 1024. Raises InputError."""
    found = _RATE.match(text.strip())
    rate = int(found[1]) << 10 * " kmgt".index(found[2].lower() or " ") if found else 0
    if not rate:
        raise InputError(
            f"{text!r} is no speed", safe="nothing was done", hint="write bytes a second, or k, M, G: 500k, 2MiB"
        )
    return rate


def _schedule(said: Iterable[tuple[str, str, str]], zone: str) -> RateSchedule:
    try:
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(
            f"there is no time zone {zone!r}", safe="nothing was done", hint="write it as Europe/Berlin or UTC"
        ) from error
    windows = tuple(Window(_minute(begin), _minute(end), parse_rate(rate)) for begin, end, rate in said if rate)
    return RateSchedule(windows, place)


def _minute(text: str) -> int:
    hour, _, minute = text.partition(":")
    return int(hour) * 60 + int(minute)
