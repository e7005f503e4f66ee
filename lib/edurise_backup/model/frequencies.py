"""Read how often something is wanted: cron, an interval, or plain words. Pure.

`0 2 * * *`, `every 15 minutes`, `6h`, `every monday and thursday at 03:30
Asia/Kolkata`. Words become cron; an interval stays one. What cannot be meant is
refused with what to write instead.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from edurise_backup.errors import InputError

SHORTEST = timedelta(seconds=10)
LONGEST = timedelta(days=366)
EXAMPLES = '"every day at 02:00", "every monday and thursday at 03:30", "every 6 hours", "0 2 * * *"'
_SAFE = "nothing was changed"
_LENGTH = 200
_ZONE = re.compile(r"(?:UTC|GMT|[A-Za-z][A-Za-z_]+(?:/[A-Za-z0-9_+\-]+)+)\Z")
_CRON = re.compile(r"[0-9A-Za-z*,/#\-]+(?: [0-9A-Za-z*,/#\-]+){4}\Z", re.ASCII)
_SPAN = re.compile(r"(\d{1,8}) ?(seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d|weeks?|w)\Z", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_EVERY = {"hourly": "every hour", "daily": "every day", "weekly": "every week", "monthly": "every month"}
_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_GROUPS = {"day": "*", "weekday": "1-5", "weekend": "0,6"}
_TIME = re.compile(r"(\d{1,2}):(\d{2})\Z", re.ASCII)
_NTH = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Timing:
    """How often: cron, or an interval. Exactly one of the two is there."""

    cron: str = ""
    """Five fields."""
    interval: timedelta | None = None
    zone: str = ""
    """The time zone that the words themselves name; empty: none."""


def parse_frequency(text: str) -> Timing:
    """Return what the text means; raises InputError that says what to write instead."""
    words = text.split()
    if not words or len(text) > _LENGTH:
        raise _unreadable(text[:_LENGTH], f"write for instance {EXAMPLES}")
    zone = ""
    if len(words) > 1 and _ZONE.match(words[-1]) and not _CRON.match(text.strip()):
        zone = check_zone(words.pop())
    said = " ".join(words)
    if _CRON.match(said) and not said.lower().startswith("every "):
        return Timing(cron=_checked_cron(said), zone=zone)
    said = said.lower()
    if said in _NAMED:
        return Timing(cron=_NAMED[said], zone=zone)
    interval = _interval(said.removeprefix("every "))
    if interval is not None:
        return Timing(interval=interval, zone=zone)
    first, _, rest = said.partition(" ")
    said = f"{_EVERY.get(first, first)} {rest}".strip()
    if not said.startswith("every "):
        raise _unreadable(text, f"write for instance {EXAMPLES}")
    return Timing(cron=_checked_cron(_cron_of(said.removeprefix("every "), text)), zone=zone)


def check_zone(name: str) -> str:
    """Return the name of a time zone that exists; raises InputError that names near ones."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = {zone.lower(): zone for zone in available_timezones()}
        near = [known[found] for found in difflib.get_close_matches(name.lower(), known, n=3)]
        raise InputError(
            f"there is no time zone {name!r}",
            safe=_SAFE,
            hint=f"did you mean {', '.join(near)}?" if near else "write an IANA name such as Asia/Kolkata, or UTC",
        ) from None
    return name


def cron_fields(expression: str) -> CronSim:
    """Return a readable cron expression's parts; raises InputError."""
    try:
        return CronSim(expression, datetime(2000, 1, 1))  # noqa: DTZ001  wall-clock time has no zone
    except CronSimError as error:
        cause = str(error)
    except (ValueError, AssertionError, TypeError, IndexError):
        cause = "a field is not readable"
    raise InputError(
        f"{expression!r} is no cron expression that ever comes due: {cause.lower()}",
        safe=_SAFE,
        hint='the fields are minute, hour, day of month, month, day of week; "0 2 * * *" is every day at 02:00',
    )


def _checked_cron(expression: str) -> str:
    cron_fields(expression)
    return expression


def _interval(said: str) -> timedelta | None:
    found = _SPAN.match(said)
    if not found:
        return None
    seconds = int(found[1]) * _SECONDS[found[2][0]]
    if not SHORTEST.total_seconds() <= seconds <= LONGEST.total_seconds():
        raise InputError(
            f"an interval of {found[1]} {found[2]} makes no sense",
            safe=_SAFE,
            hint='choose from 10 seconds to 366 days, for instance "every 15 minutes" or "every 6 hours"',
        )
    return timedelta(seconds=seconds)


def _cron_of(what: str, text: str) -> str:
    what, at, times = what.partition(" at ")
    if what in ("minute", "hour"):
        if at:
            raise _unreadable(text, f'"every {what}" has no time of day; cron says more: "15 * * * *"')
        return "* * * * *" if what == "minute" else "0 * * * *"
    days = _days_of(what, text)
    if not at:
        raise _unreadable(text, f'say at which time: "every {what} at 02:00"')
    minutes, hours = _times_of(times, text)
    return f"{minutes} {hours} {days}"


def _days_of(what: str, text: str) -> str:
    """Return the fields day of month, month and day of week."""
    if what in _GROUPS:
        return f"* * {_GROUPS[what]}"
    unit, on, rest = what.partition(" on ")
    if on and unit == "month":
        return f"{_days_of_month(_listed(rest.removeprefix('the ').removeprefix('day ')), text)} * *"
    if on and unit == "week":
        what = rest
    numbers = []
    for name in _listed(what):
        found = [number for number, day in enumerate(_DAYS) if name in (day, day + "s", day[:3])]
        if not found:
            raise _unreadable(text, f"{name!r} is no day; write for instance {EXAMPLES}")
        numbers += found
    return f"* * {','.join(map(str, sorted(set(numbers))))}"


def _days_of_month(names: Sequence[str], text: str) -> str:
    days = set()
    for name in names:
        found = _NTH.match(name.removeprefix("the "))
        if name in ("last", "last day", "the last", "the last day"):
            days.add(32)
        elif found and 1 <= int(found[1]) <= 31:
            days.add(int(found[1]))
        else:
            raise _unreadable(text, f'{name!r} is no day of a month; write "every month on the 1st at 04:00"')
    return ",".join("L" if day == 32 else str(day) for day in sorted(days))


def _times_of(said: str, text: str) -> tuple[str, str]:
    """Return the fields minute and hour; several times must share one of them."""
    times = []
    for word in _listed(said):
        found = _TIME.match({"midnight": "00:00", "noon": "12:00"}.get(word, word))
        if not found or int(found[1]) > 23 or int(found[2]) > 59:
            raise _unreadable(text, f"{word!r} is no time of day; write it as 02:00")
        times.append((int(found[2]), int(found[1])))
    minutes, hours = sorted({minute for minute, _ in times}), sorted({hour for _, hour in times})
    if len(minutes) * len(hours) != len(set(times)):
        raise _unreadable(text, "these times do not fit into one schedule: make one for each of them")
    return ",".join(map(str, minutes)), ",".join(map(str, hours))


def _listed(said: str) -> list[str]:
    return [word.strip() for word in re.split(r",| and |&", said) if word.strip()]


def _unreadable(text: str, hint: str) -> InputError:
    return InputError(f"the frequency {text!r} is not readable", safe=_SAFE, hint=hint)
