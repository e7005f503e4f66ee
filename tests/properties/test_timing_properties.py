"""Due times against a slow reference that looks at every minute, over changes of the clock in many zones."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edurise_backup.model.blackouts import blackout_at, parse_blackouts
from edurise_backup.model.frequencies import cron_fields, parse_frequency
from edurise_backup.model.timing import Rule, anchor, instant, next_times, preview, times_until

MINUTE = timedelta(minutes=1)
# both directions of each zone's change; Lord Howe shifts by half an hour, Cairo and Havana at midnight
CHANGES = {
    "Europe/Berlin": [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)],
    "America/New_York": [datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)],
    "Australia/Lord_Howe": [datetime(2026, 10, 3, 15, 30, tzinfo=UTC), datetime(2026, 4, 4, 15, tzinfo=UTC)],
    "Africa/Cairo": [datetime(2026, 4, 23, 22, tzinfo=UTC), datetime(2026, 10, 29, 21, tzinfo=UTC)],
    "America/Havana": [datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 11, 1, 5, tzinfo=UTC)],
    "Asia/Kolkata": [datetime(2026, 6, 1, tzinfo=UTC)],
    "UTC": [datetime(2026, 2, 28, 23, tzinfo=UTC)],
}
MOMENTS = st.sampled_from([(zone, moment) for zone, moments in CHANGES.items() for moment in moments])


def field(low: int, high: int) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high)
    lists = st.lists(numbers, min_size=1, max_size=3, unique=True).map(lambda found: ",".join(map(str, sorted(found))))
    ranges = st.tuples(numbers, numbers).map(lambda pair: f"{min(pair)}-{max(pair)}")
    steps = st.integers(2, max(2, high // 2)).map(lambda step: f"*/{step}")
    return st.one_of(st.just("*"), lists, ranges, steps)


CRONS = st.tuples(
    field(0, 59),
    st.one_of(st.just("*"), st.sampled_from(["0", "1", "2", "3", "0,2", "1-3", "0-23", "*/2"]), field(0, 23)),
    st.one_of(st.just("*"), st.just("*"), field(1, 28)),
    st.just("*"),
    st.one_of(st.just("*"), st.just("*"), field(0, 6)),
).map(" ".join)


def shown(cron: str, local: datetime) -> bool:
    """Whether a wall clock that shows this minute makes the expression due: read off the fields, one by one."""
    fields = cron_fields(cron)
    return (
        local.minute in fields.minutes
        and local.hour in fields.hours
        and local.month in fields.months
        and fields.match_day(local.date())
    )


def reference(cron: str, zone: ZoneInfo, after: datetime, until: datetime) -> list[datetime]:
    """Return the due times in (after, until], by looking at every minute."""
    found = set()
    if cron_fields(cron).hours >= set(range(24)):  # every hour that passes
        moment = after.replace(second=0, microsecond=0)
        while (moment := moment + MINUTE) <= until:
            if shown(cron, moment.astimezone(zone)):
                found.add(moment)
        return sorted(found)
    local = after.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0, fold=0) - timedelta(days=1)
    end = until.astimezone(zone).replace(tzinfo=None) + timedelta(days=1)
    while local <= end:
        if shown(cron, local):
            found.add(first_moment(local, zone))
        local += MINUTE
    return sorted(at for at in found if after < at <= until)


def first_moment(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the first moment, minute by minute, at which the wall clock shows this time or a later one of that day."""
    moment = local.replace(tzinfo=UTC) - timedelta(hours=15)
    while moment.astimezone(zone).replace(tzinfo=None) < local:
        moment += MINUTE
    return moment


@settings(max_examples=60)
@given(cron=CRONS, place=MOMENTS, back=st.integers(0, 36 * 60))
def test_due_times_are_those_that_a_look_at_every_minute_finds(
    cron: str, place: tuple[str, datetime], back: int
) -> None:
    name, change = place
    after, until = change - back * MINUTE, change + timedelta(hours=30)
    rule = Rule(parse_frequency(cron), name)
    assert times_until(rule, after, until, limit=10_000) == reference(cron, ZoneInfo(name), after, until)


@settings(max_examples=100)
@given(minute=st.integers(0, 59), hour=st.integers(0, 23), place=MOMENTS)
def test_a_time_of_day_comes_due_exactly_once_on_each_local_day(
    minute: int, hour: int, place: tuple[str, datetime]
) -> None:
    name, change = place
    zone = ZoneInfo(name)
    rule = Rule(parse_frequency(f"{minute} {hour} * * *"), name)
    times = times_until(rule, change - timedelta(days=5), change + timedelta(days=5), limit=100)
    # a time that is jumped over at midnight belongs to the day that it was meant for: count by the time meant
    days = Counter(meant_day(at, minute, hour, zone) for at in times)
    assert set(days.values()) == {1}
    ordered = sorted(days)
    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(ordered))


def meant_day(at: datetime, minute: int, hour: int, zone: ZoneInfo) -> date:
    local = at.astimezone(zone)
    return next(
        day
        for day in (local.date(), local.date() - timedelta(days=1), local.date() + timedelta(days=1))
        if instant(datetime(day.year, day.month, day.day, hour, minute), zone) == at  # noqa: DTZ001  wall-clock time
    )


@pytest.mark.parametrize(
    ("name", "after", "cron", "expected"),
    [
        # forward: 02:30 does not exist, it comes due at 03:00
        ("Europe/Berlin", "2026-03-28T12:00Z", "30 2 * * *", ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]),
        ("America/New_York", "2026-03-07T12:00Z", "30 2 * * *", ["2026-03-08T07:00Z", "2026-03-09T06:30Z"]),
        ("Australia/Lord_Howe", "2026-10-03T12:00Z", "15 2 * * *", ["2026-10-03T15:30Z", "2026-10-04T15:15Z"]),
        ("Africa/Cairo", "2026-04-23T12:00Z", "30 0 * * *", ["2026-04-23T22:00Z", "2026-04-24T21:30Z"]),
        # several times in the hour that is jumped over are one run
        ("Europe/Berlin", "2026-03-28T12:00Z", "*/15 2 * * *", ["2026-03-29T01:00Z", "2026-03-30T00:00Z"]),
        # back: 02:30 is shown twice, it comes due at the first of the two
        ("Europe/Berlin", "2026-10-24T12:00Z", "30 2 * * *", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]),
        ("America/New_York", "2026-10-31T12:00Z", "30 1 * * *", ["2026-11-01T05:30Z", "2026-11-02T06:30Z"]),
        ("Australia/Lord_Howe", "2026-04-04T12:00Z", "45 1 * * *", ["2026-04-04T14:45Z", "2026-04-05T15:15Z"]),
        # between the two of them it has been due already
        ("Europe/Berlin", "2026-10-25T01:10Z", "30 2 * * *", ["2026-10-26T01:30Z", "2026-10-27T01:30Z"]),
        # what comes due in every hour comes due in both
        ("Europe/Berlin", "2026-10-25T00:10Z", "30 * * * *", ["2026-10-25T00:30Z", "2026-10-25T01:30Z"]),
        ("Europe/Berlin", "2026-03-29T00:10Z", "30 * * * *", ["2026-03-29T00:30Z", "2026-03-29T01:30Z"]),
    ],
)
def test_over_a_change_of_the_clock(name: str, after: str, cron: str, expected: list[str]) -> None:
    times = next_times(Rule(parse_frequency(cron), name), datetime.fromisoformat(after), 2)
    assert times == [datetime.fromisoformat(moment) for moment in expected]


@settings(max_examples=60)
@given(place=MOMENTS, minutes=st.integers(1, 3000), back=st.integers(0, 5000))
def test_intervals_are_elapsed_time_from_one_anchor(place: tuple[str, datetime], minutes: int, back: int) -> None:
    name, change = place
    rule = Rule(parse_frequency(f"{minutes} minutes"), name)
    after = change - back * MINUTE
    times = next_times(rule, after, 20)
    assert after < times[0] <= after + minutes * MINUTE
    assert all(later - earlier == minutes * MINUTE for earlier, later in pairwise(times))
    assert all((at - anchor(name)) % (minutes * MINUTE) == timedelta(0) for at in times)


SPANS = st.lists(
    st.sampled_from(["22:00-06:00", "mon-fri 08:00-18:00", "sun 00:00-24:00", "12:00-13:30", "sat 23:30-02:30"]),
    max_size=3,
    unique=True,
)


@settings(max_examples=80)
@given(place=MOMENTS, texts=SPANS, minutes=st.sampled_from([7, 15, 60, 360]), jitter=st.integers(0, 6))
def test_what_is_not_blacked_out_is_what_is_left_of_all_times(
    place: tuple[str, datetime], texts: list[str], minutes: int, jitter: int
) -> None:
    name, change = place
    zone, spans = ZoneInfo(name), parse_blackouts(texts)
    rule = Rule(parse_frequency(f"{minutes}m"), name, timedelta(minutes=jitter), "key", spans)
    until = change + timedelta(days=3)
    everything = preview(rule, change, 3 * 24 * 60 // minutes + 10)
    left = [one.at for one in everything if one.at <= until and one.blackout is None]
    assert times_until(rule, change, until, limit=10_000) == left
    assert not any(blackout_at(spans, at.astimezone(zone).replace(tzinfo=None)) for at in left)


@settings(max_examples=60)
@given(place=MOMENTS, key=st.text(max_size=5), jitter=st.integers(1, 3599), back=st.integers(0, 7200))
def test_jitter_is_the_same_for_the_same_time_and_never_early(
    place: tuple[str, datetime], key: str, jitter: int, back: int
) -> None:
    name, change = place
    plain = Rule(parse_frequency("every hour"), name)
    rule = Rule(parse_frequency("every hour"), name, timedelta(seconds=jitter), key)
    times = next_times(rule, change, 30)
    assert times == next_times(rule, change, 30)
    # looked at from another moment the same times are found
    after = change - timedelta(seconds=back)
    assert [at for at in next_times(rule, after, 40) if at > change][:25] == times[:25]
    due = next_times(plain, change - timedelta(seconds=jitter), 32)
    late = [min(at - one for one in due if one <= at) for at in times]
    assert all(timedelta(0) <= delay <= timedelta(seconds=jitter) for delay in late)


def test_two_schedules_of_one_time_do_not_begin_together() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    rules = [Rule(parse_frequency("0 2 * * *"), jitter=timedelta(minutes=30), key=str(number)) for number in range(20)]
    assert len({next_times(rule, now, 1)[0] for rule in rules}) > 15


def test_a_search_ends() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert next_times(Rule(parse_frequency("0 0 29 2 *")), now, 5) == [
        datetime(2028, 2, 29, tzinfo=UTC),
        datetime(2032, 2, 29, tzinfo=UTC),
    ]
    dark = Rule(parse_frequency("every 10 seconds"), blackouts=parse_blackouts(["00:00-24:00"]))
    assert next_times(dark, now, 1) == []
