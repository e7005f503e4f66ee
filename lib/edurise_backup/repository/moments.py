"""Moments as they stand in notes below `edurise/`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from edurise_backup.model.content import nanoseconds, rfc3339

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment_text(moment: datetime) -> str:
    """Return a moment as it stands in notes."""
    return rfc3339((moment - _EPOCH) // timedelta(microseconds=1) * 1000)


def moment_of(text: str) -> datetime:
    """Undo `moment_text`; raises ValueError."""
    return _EPOCH + timedelta(microseconds=nanoseconds(text) // 1000)
