"""Reproducible chance: every part of the platform draws from a stream of its own.

A stream depends on the seed and on its name only, so that a change in one part
of the generator leaves all other parts as they were.
"""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from uuid import UUID

TERM_BEGINS = datetime(2025, 9, 1, tzinfo=UTC)
"""The first moment of the school year that the platform shows."""
TERM_SECONDS = 300 * 86400
"""The length of that year; everything that has a time happened inside it."""


def stream(seed: int, name: str) -> Random:
    """Return the stream `name` of `seed`; equal arguments give equal streams on every machine."""
    return Random(f"edurise/{seed}/{name}")  # noqa: S311 - made-up content, no secret of anybody


def make_uuid(random: Random) -> str:
    """Return a version 4 UUID drawn from `random`."""
    bits = random.getrandbits(128) & ~(0xF000 << 64) & ~(0xC000 << 48)
    return str(UUID(int=bits | 0x4000 << 64 | 0x8000 << 48))


def moment(random: Random, *, after: float = 0.0) -> float:
    """Return a time of the school year in seconds since 1970, not before the fraction `after` of the year."""
    return TERM_BEGINS.timestamp() + TERM_SECONDS * (after + (1 - after) * random.random())


def timestamp(seconds: float) -> str:
    """Return a time in seconds since 1970 as PostgreSQL reads it, in UTC with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="microseconds")
