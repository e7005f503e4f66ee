"""Periods: what a person writes, in a zone, and nonsense told as such."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from edurise_backup.errors import InputError
from reports.periods import last_month, parse_period


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2026-10-05", (2026, 10, 5), (2026, 10, 6)),
        ("2026-02", (2026, 2, 1), (2026, 3, 1)),
        ("2026-12", (2026, 12, 1), (2027, 1, 1)),
        ("2026-Q1", (2026, 1, 1), (2026, 4, 1)),
        ("2026-q4", (2026, 10, 1), (2027, 1, 1)),
        ("2024", (2024, 1, 1), (2025, 1, 1)),
        (" 2026-10-01..2026-10-15 ", (2026, 10, 1), (2026, 10, 16)),
        ("2026-10-01..2026-10-01", (2026, 10, 1), (2026, 10, 2)),
    ],
)
def test_a_period_is_from_its_first_moment_to_the_first_one_after_it(
    text: str, start: tuple[int, int, int], end: tuple[int, int, int]
) -> None:
    period = parse_period(text)
    assert (period.start, period.end) == (datetime(*start, tzinfo=UTC), datetime(*end, tzinfo=UTC))


def test_a_period_is_meant_in_its_zone_and_a_day_of_a_change_has_23_hours() -> None:
    period = parse_period("2026-03-29", zone="Europe/Berlin")
    assert period.start == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert period.length == timedelta(hours=23)
    assert parse_period("2026-10", zone="Asia/Kolkata").start == datetime(2026, 9, 30, 18, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "soon",
            "2026-13",
            "2026-00",
            "2026-Q5",
            "2026-02-30",
            "26-10",
            "2026-10-1",
            "0000",
            "9999",
            "2026-10-05T12",
        ),
        *(
            "2026-10-05..",
            "..2026-10-05",
            "2026-10..2026-11",
            "2026-10-05...2026-10-06",
            "٢٠٢٦-10-05",
            "2026-10-05..2026-10-04",
        ),
    ],
)
def test_nonsense_is_told_with_what_to_write(text: str) -> None:
    with pytest.raises(InputError) as told:
        parse_period(text)
    assert told.value.exit_status == 2
    assert "2026-Q3" in told.value.hint


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "Europe", "../etc/passwd", "/etc/localtime"])
def test_an_unknown_zone_is_told(zone: str) -> None:
    with pytest.raises(InputError, match="there is no time zone"):
        parse_period("2026-10", zone=zone)


def test_last_month_is_that_of_the_zone() -> None:
    moment = datetime(2026, 12, 31, 20, tzinfo=UTC)
    assert last_month(moment) == "2026-11"
    assert last_month(moment, zone="Asia/Kolkata") == "2026-12"


def test_a_report_of_a_period_that_goes_on_tells_until_now() -> None:
    period, now = parse_period("2026-10"), datetime(2026, 10, 5, tzinfo=UTC)
    assert period.until(now) == now
    assert period.until(now + timedelta(days=90)) == period.end
