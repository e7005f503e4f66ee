"""When a store will be full, from readings of its free room: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

SHORTEST = timedelta(days=1)
"""Readings over less time than this tell nothing: one backup would look like the growth of a year."""
WINDOW = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class SpaceReading:
    """The room of a store's disk at a moment, in bytes."""

    at: datetime
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """When the store will be full, or why nobody can tell."""

    free_bytes: int | None
    total_bytes: int | None
    bytes_a_day: float | None
    """What the free room loses in a day; None: cannot be told."""
    days_to_full: float | None
    """None: cannot be told, or it does not fill."""
    sentence: str


def forecast(readings: Sequence[SpaceReading]) -> Forecast:
    """Draw the straight line through the readings of the last 30 days (least squares); oldest reading first."""
    if not readings:
        return Forecast(None, None, None, None, "Cannot tell when the store is full: its free room was never recorded.")
    last = readings[-1]
    recent = [reading for reading in readings if last.at - reading.at <= WINDOW]
    if last.at - recent[0].at < SHORTEST:
        return Forecast(
            last.free_bytes,
            last.total_bytes,
            None,
            None,
            "Cannot tell yet when the store is full: the readings of its free room span less than a day.",
        )
    loss = -_slope([((reading.at - last.at) / timedelta(days=1), reading.free_bytes) for reading in recent])
    if loss <= 0:
        sentence = "The store does not fill: its free room does not shrink."
        return Forecast(last.free_bytes, last.total_bytes, loss, None, sentence)
    days = last.free_bytes / loss
    span = (last.at - recent[0].at) / timedelta(days=1)
    sentence = f"At the pace of the last {span:.0f} days the store is full in {days:,.0f} days."
    return Forecast(last.free_bytes, last.total_bytes, loss, days, sentence)


def _slope(points: Sequence[tuple[float, int]]) -> float:
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread
