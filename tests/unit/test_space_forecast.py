"""When a store is full, from readings of its room."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from edurise_backup.model.space import SpaceReading, forecast

NOW = datetime(2026, 11, 27, tzinfo=UTC)
GIB = 1024**3


def readings(*free: float, every: timedelta = timedelta(days=1)) -> list[SpaceReading]:
    begin = NOW - every * (len(free) - 1)
    return [SpaceReading(begin + every * number, 1000 * GIB, round(one * GIB)) for number, one in enumerate(free)]


def test_a_store_that_shrinks_by_a_tenth_a_day_is_full_in_nine_days() -> None:
    found = forecast(readings(100, 90))
    assert found.days_to_full == pytest.approx(9)
    assert found.bytes_a_day == pytest.approx(10 * GIB)
    assert "full in 9 days" in found.sentence


def test_what_a_prune_freed_is_part_of_the_line() -> None:
    found = forecast(readings(100, 90, 80, 95, 85, 75))
    assert found.days_to_full is not None
    assert 10 < found.days_to_full < 40


def test_a_store_that_does_not_shrink_does_not_fill() -> None:
    found = forecast(readings(80, 80, 90))
    assert found.days_to_full is None
    assert "does not fill" in found.sentence


@pytest.mark.parametrize("known", [[], readings(100), readings(100, 50, every=timedelta(hours=1))])
def test_too_few_readings_tell_nothing_and_say_so(known: list[SpaceReading]) -> None:
    found = forecast(known)
    assert (found.days_to_full, found.bytes_a_day) == (None, None)
    assert found.sentence.startswith("Cannot tell")


def test_readings_of_long_ago_do_not_count() -> None:
    old = SpaceReading(NOW - timedelta(days=300), 1000 * GIB, 1000 * GIB)
    assert forecast([old, *readings(100, 90)]).days_to_full == pytest.approx(9)
