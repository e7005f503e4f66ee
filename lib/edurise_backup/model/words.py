"""How messages speak of lengths of time, sources and texts from outside."""

from __future__ import annotations

from datetime import timedelta

_LONGEST = 300


def span(length: timedelta) -> str:
    """Return a length of time in its largest sensible unit."""
    seconds = int(length.total_seconds())
    for unit, name, from_ in ((86400, "days", 2 * 86400), (3600, "h", 2 * 3600), (60, "min", 120)):
        if seconds >= from_:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def subject_of(part: str, source: str) -> str:
    """Return how a source is named: `files/uploads`; of the whole set, `full set`."""
    return f"{part}/{source}" if source else "full set" if part == "full" else part


def shown(text: str) -> str:
    """Return a text from outside on one line, cut to a length that a message can hold."""
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else flat[: _LONGEST - 1] + "…"
