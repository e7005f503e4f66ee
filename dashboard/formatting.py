"""Numbers, times and states in words; pure.

What a state means is in its word, the icon only helps to find it. Every time
shows its zone.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import assert_never

from edurise_backup.model.jobs import BackupType, JobStatus, Verdict

UNKNOWN = "–"
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|<>~$:&-])")


def size(count: int | None) -> str:
    """Return a number of bytes in binary units, to three digits or so."""
    if count is None:
        return UNKNOWN
    value, unit = float(count), 0
    while abs(value) >= 1023.95 and unit < len(_UNITS) - 1:  # 1023.95 KiB would show as 1,024.0 KiB
        value, unit = value / 1024, unit + 1
    return f"{count:,} {_UNITS[0]}" if unit == 0 else f"{value:,.1f} {_UNITS[unit]}"


def duration(length: timedelta | None) -> str:
    """Return a length of time by its two largest units."""
    if length is None:
        return UNKNOWN
    seconds = max(length / timedelta(seconds=1), 0.0)
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    for unit, name, below, below_name in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // below} {below_name}"
    return f"{whole} s"


def between(started: datetime | None, ended: datetime | None) -> timedelta | None:
    """Return the time between two moments, or None when one is missing."""
    return ended - started if started is not None and ended is not None else None


def age(moment: datetime | None, now: datetime) -> str:
    """Return how long ago a moment was, or "never"."""
    if moment is None:
        return "never"
    length = now - moment
    return "just now" if length < timedelta(seconds=10) else f"{duration(length)} ago"


def moment_text(moment: datetime | None) -> str:
    """Return a moment to the second, with its zone."""
    return UNKNOWN if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def ratio(original: int, stored: int) -> str:
    """Return how many original bytes one stored byte stands for."""
    return f"{original / stored:.1f} : 1" if stored else UNKNOWN


def status_text(status: JobStatus) -> str:
    """Return where a job stands, in words with an icon."""
    match status:
        case JobStatus.QUEUED:
            return "… queued"
        case JobStatus.RUNNING:
            return "▶ running"
        case JobStatus.COMPLETED:
            return "✓ completed"
        case JobStatus.COMPLETED_WITH_WARNINGS:
            return "! completed with warnings"
        case JobStatus.FAILED:
            return "✗ failed"
        case JobStatus.CANCELLED:
            return "■ cancelled"
        case _:
            assert_never(status)


def verdict_text(verdict: Verdict | None) -> str:
    """Return what a proof found, in words with an icon."""
    match verdict:
        case None:
            return "○ not verified"
        case Verdict.PENDING:
            return "… not decided yet"
        case Verdict.PASSED:
            return "✓ passed"
        case Verdict.FAILED:
            return "✗ failed"
        case _:
            assert_never(verdict)


def type_text(backup_type: BackupType) -> str:
    """Return a backup's type for a person."""
    return {"full": "Full set"}.get(backup_type.value, backup_type.value.capitalize())


def short_id(job_id: object) -> str:
    """Return the beginning of an id, enough to name it to the command line."""
    return str(job_id)[:8]


def with_code(text: str) -> str:
    """Return text from outside as `plain` does, but what stands between two backticks as code: commands to type."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return plain(text)
    return "".join(
        f"`{' '.join(piece.split())}`" if number % 2 and piece.strip() else _plain_around(piece)
        for number, piece in enumerate(pieces)
    )


def _plain_around(text: str) -> str:
    """Return a piece of a sentence as `plain` does, with the spaces at its ends."""
    inside = plain(text)
    return f"{' ' if text[:1].isspace() else ''}{inside}{' ' if inside and text[-1:].isspace() else ''}"


def plain(text: str) -> str:
    """Return text from outside so that Markdown shows it as it is: names are data, never markup."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
