"""What a person writes about when something is wanted, and what it means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from edurise_backup.errors import InputError
from edurise_backup.model.blackouts import blackout_at, parse_blackouts
from edurise_backup.model.frequencies import check_zone, parse_frequency
from edurise_backup.model.timing import Rule, check_rule, describe

NOW = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "cron"),
    [
        ("0 2 * * *", "0 2 * * *"),
        ("  */15   8-18 * * MON-FRI ", "*/15 8-18 * * MON-FRI"),
        ("0 4 L * *", "0 4 L * *"),
        ("@daily", "0 0 * * *"),
        ("every minute", "* * * * *"),
        ("every hour", "0 * * * *"),
        ("hourly", "0 * * * *"),
        ("every day at 02:00", "0 2 * * *"),
        ("daily at 2:05", "5 2 * * *"),
        ("Every Day at midnight", "0 0 * * *"),
        ("every day at 02:00, 10:00 and 18:00", "0 2,10,18 * * *"),
        ("every day at 02:00 and 02:30", "0,30 2 * * *"),
        ("every monday and thursday at 03:30", "30 3 * * 1,4"),
        ("every sat, sun at noon", "0 12 * * 0,6"),
        ("every weekday at 20:00", "0 20 * * 1-5"),
        ("every weekend at 20:00", "0 20 * * 0,6"),
        ("every week on sunday at 04:00", "0 4 * * 0"),
        ("weekly on sunday at 04:00", "0 4 * * 0"),
        ("every month on the 1st at 04:00", "0 4 1 * *"),
        ("monthly on the 1st, 15th and last day at 04:00", "0 4 1,15,L * *"),
        ("every month on day 3 at 04:00", "0 4 3 * *"),
    ],
)
def test_words_become_cron(text: str, cron: str) -> None:
    assert parse_frequency(text).cron == cron


@pytest.mark.parametrize(
    ("text", "interval", "said"),
    [
        ("every 15 minutes", timedelta(minutes=15), "every 15 minutes"),
        ("6h", timedelta(hours=6), "every 6 hours"),
        ("every 90 min", timedelta(minutes=90), "every 90 minutes"),
        ("every 1 day", timedelta(days=1), "every day"),
        ("2 weeks", timedelta(weeks=2), "every 2 weeks"),
        ("10s", timedelta(seconds=10), "every 10 seconds"),
    ],
)
def test_intervals_stay_intervals(text: str, interval: timedelta, said: str) -> None:
    timing = parse_frequency(text)
    assert (timing.interval, timing.cron) == (interval, "")
    assert describe(timing) == said


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("every day at 02:00 Asia/Kolkata", "Asia/Kolkata"),
        ("0 2 * * * America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("6h UTC", "UTC"),
        ("0 2 * * 1/2", ""),
        ("every hour", ""),
    ],
)
def test_a_zone_may_end_the_words(text: str, zone: str) -> None:
    assert parse_frequency(text).zone == zone


@pytest.mark.parametrize(
    ("text", "to_do"),
    [
        ("", "every day at 02:00"),
        ("every", "every day at 02:00"),
        ("every fortnight", "every day at 02:00"),
        ("sometimes", "every day at 02:00"),
        ("every day", 'at which time: "every day at 02:00"'),
        ("every monday", "every monday at 02:00"),
        ("every day at 25:00", "write it as 02:00"),
        ("every day at 2am", "write it as 02:00"),
        ("every day at 02:00 and 03:15", "one for each"),
        ("every hour at 02:00", '"15 * * * *"'),
        ("every month on the 32nd at 04:00", "on the 1st"),
        ("every 3 seconds", "10 seconds"),
        ("0h", "10 seconds"),
        ("every 99999999 days", "366 days"),
        ("every 999999999999999999999 days", "every day at 02:00"),
        ("every day at 02:00 Asia/Kolkatta", "Asia/Kolkata"),
        ("0 2 * *", "every day at 02:00"),
        ("0 2 * * * *", "every day at 02:00"),
        ("60 2 * * *", "minute, hour"),
        ("0 0 30 2 *", "day of month"),
        ("0 0 31 4,6,9,11 *", "day of month"),
        ("1#2/3 * * * *", "minute, hour"),
        ("٣ 2 * * *", "every day at 02:00"),
        ("0 2 * * *" + " " * 300, "every day at 02:00"),
    ],
)
def test_what_cannot_be_meant_says_what_to_write_instead(text: str, to_do: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_frequency(text)
    assert to_do in refused.value.hint
    assert refused.value.safe == "nothing was changed"


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "/etc/localtime", "", "Europe", "asia/kolkata "])
def test_a_zone_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no time zone"):
        check_zone(name)


def test_a_rule_that_could_never_run_is_refused() -> None:
    with pytest.raises(InputError, match="blackout"):
        check_rule(Rule(parse_frequency("0 2 * * *"), blackouts=parse_blackouts(["22:00-06:00"])), NOW)
    with pytest.raises(InputError, match="reaches the next due time"):
        check_rule(Rule(parse_frequency("15m"), jitter=timedelta(minutes=15)), NOW)
    check_rule(Rule(parse_frequency("0 0 29 2 *")), NOW)


@pytest.mark.parametrize(
    ("span", "inside", "outside"),
    [
        ("mon-fri 08:00-18:00", ["2026-03-02 08:00", "2026-03-06 17:59"], ["2026-03-02 18:00", "2026-03-07 12:00"]),
        ("22:00-06:00", ["2026-03-02 22:00", "2026-03-03 05:59"], ["2026-03-02 06:00", "2026-03-02 21:59"]),
        ("fri 22:00-06:00", ["2026-03-06 23:00", "2026-03-07 05:00"], ["2026-03-06 05:00", "2026-03-07 23:00"]),
        ("sat-mon 00:00-24:00", ["2026-03-08 23:59", "2026-03-09 00:00"], ["2026-03-10 00:00"]),
        ("Sun,Wed 12:00-13:00", ["2026-03-04 12:30"], ["2026-03-03 12:30"]),
    ],
)
def test_blackouts_are_wall_clock_spans(span: str, inside: list[str], outside: list[str]) -> None:
    spans = parse_blackouts([span])
    assert all(blackout_at(spans, datetime.fromisoformat(moment)) for moment in inside)
    assert not any(blackout_at(spans, datetime.fromisoformat(moment)) for moment in outside)


@pytest.mark.parametrize("span", ["", "always", "08:00", "08:00-08:00", "08:00-25:00", "24:00-06:00", "mo 08:00-09:00"])
def test_a_blackout_that_cannot_be_meant_is_refused(span: str) -> None:
    with pytest.raises(InputError, match="blackout"):
        parse_blackouts([span])
    with pytest.raises(InputError, match="too many"):
        parse_blackouts(["08:00-09:00"] * 21)
