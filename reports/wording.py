"""Numbers, times and lengths of time as a report writes them: exact in tables of data, short in sentences."""

from __future__ import annotations

from datetime import UTC, datetime

UNKNOWN = "–"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: int | None) -> str:
    """Return a number of bytes in binary units."""
    if count is None:
        return UNKNOWN
    value, unit = float(count), 0
    while abs(value) >= 1023.95 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{count:,} B" if unit == 0 else f"{value:,.1f} {_UNITS[unit]}"


def length(seconds: float | None) -> str:
    """Return a length of time by its two largest units."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 or seconds == round(seconds) else f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, name, below, below_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // below
            return f"{whole // unit} {name} {rest} {below_name}" if rest else f"{whole // unit} {name}"
    return f"{whole} s"


def moment(value: datetime | None) -> str:
    """Return a moment to the second, with its zone."""
    return UNKNOWN if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def bare_moment(value: datetime) -> str:
    """Return a moment to the second for a column whose head names the zone, UTC."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
