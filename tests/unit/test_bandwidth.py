"""Speeds that follow the time of the day, over midnight and when the clock is put forward; no test waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from edurise_backup.errors import CancelledError, InputError
from edurise_backup.model.bandwidth import RateSchedule, download_schedule, parse_rate, upload_schedule
from edurise_backup.model.store_settings import BandwidthSettings
from edurise_backup.stores.limited import LimitedStore, Line, daily
from tests.support.stores import MemoryStore

KIB = 1024
DAY = [BandwidthSettings(begin="08:00", to="18:00", upload="1KiB", download="2k")]


def schedule(*windows: tuple[str, str, str], zone: str = "UTC") -> RateSchedule:
    return upload_schedule([BandwidthSettings(begin=begin, to=to, upload=rate) for begin, to, rate in windows], zone)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "rate", "until"),
    [
        ("2026-11-27T07:59:59", 0, "2026-11-27T08:00:00"),
        ("2026-11-27T08:00:00", KIB, "2026-11-27T18:00:00"),
        ("2026-11-27T18:00:00", 0, "2026-11-28T08:00:00"),
    ],
)
def test_a_part_of_the_day_has_its_speed(moment: str, rate: int, until: str) -> None:
    assert schedule(("08:00", "18:00", "1KiB")).at(at(moment)) == (rate, at(until))


@pytest.mark.parametrize(("moment", "rate"), [("23:00", KIB), ("05:59", KIB), ("06:00", 0), ("21:59", 0)])
def test_a_part_may_go_over_midnight(moment: str, rate: int) -> None:
    assert schedule(("22:00", "06:00", "1k")).at(at(f"2026-11-27T{moment}:00"))[0] == rate


def test_one_that_ends_where_it_begins_is_the_whole_day() -> None:
    found = schedule(("00:00", "00:00", "1k"))
    assert {found.at(at(f"2026-11-27T{hour:02}:30:00"))[0] for hour in range(24)} == {KIB}


def test_where_parts_meet_the_slowest_counts() -> None:
    found = schedule(("00:00", "00:00", "4k"), ("08:00", "18:00", "1k"))
    assert found.at(at("2026-11-27T12:00:00"))[0] == KIB
    assert found.at(at("2026-11-27T20:00:00"))[0] == 4 * KIB


@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
def test_times_are_those_of_the_wall_also_when_the_clock_is_changed(day: str) -> None:
    """The clocks of Berlin are changed in the night after these days."""
    found = schedule(("08:00", "18:00", "1k"), zone="Europe/Berlin")
    moment, changes = at(f"{day}T00:00:00"), []
    end = moment + timedelta(days=3)
    while moment < end:
        rate, until = found.at(moment)
        assert until > moment
        local = moment.astimezone(found.zone)
        assert (rate == KIB) == (8 <= local.hour < 18)
        changes.append(until.astimezone(found.zone).strftime("%H:%M"))
        moment = until
    assert {"08:00", "18:00"} == set(changes)


@pytest.mark.parametrize("text", ["", "fast", "0", "-1k", "1.5M", "k"])
def test_what_is_no_speed_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no speed"):
        parse_rate(text)


def test_speeds_are_written_like_sizes() -> None:
    assert [parse_rate(text) for text in ("500", "2k", "2MiB", "1GB/s")] == [500, 2 << 10, 2 << 20, 1 << 30]


def test_no_part_is_no_limit() -> None:
    assert not upload_schedule([], "UTC")
    assert not upload_schedule([BandwidthSettings(begin="08:00", to="18:00", download="1k")], "UTC")
    assert download_schedule(DAY, "UTC")


class Time:
    """A clock that only waits move, told as seconds and as a moment."""

    def __init__(self, begin: str) -> None:
        self.begin, self.seconds = at(begin), 100.0

    def now(self) -> float:
        return self.seconds

    def pause(self, seconds: float) -> None:
        self.seconds += seconds

    def clock(self) -> datetime:
        return self.begin + timedelta(seconds=self.seconds - 100.0)

    def line(self, found: RateSchedule) -> Line:
        return Line(daily(found.at, clock=self.clock, now=self.now), now=self.now, pause=self.pause)


def go_on() -> None:
    """Nobody stops it."""


def test_a_long_backup_is_slow_by_day_and_quick_by_night() -> None:
    time = Time("2026-11-27T17:59:00")
    store = LimitedStore(MemoryStore(), upload=time.line(upload_schedule(DAY, "UTC")), stop=go_on)
    store.put("data/00/first", [b"x" * (30 * KIB)])
    assert time.seconds - 100 == pytest.approx(30)
    store.put("data/00/second", [b"x" * (60 * KIB)])
    assert time.seconds - 100 == pytest.approx(60), "what is left at 18:00 goes at once"
    store.put("data/00/third", [b"x" * (1024 * KIB)])
    assert time.seconds - 100 == pytest.approx(60)


def test_a_transfer_that_begins_before_the_slow_part_is_slow_once_it_has_begun() -> None:
    found = schedule(("00:00", "08:00", "10k"), ("08:00", "18:00", "1k"))
    time = Time("2026-11-27T07:59:50")
    time.line(found).carry(110 * KIB, stop=go_on)
    assert time.seconds - 100 == pytest.approx(10 + 10)


def test_a_line_that_follows_the_day_is_left_when_the_work_is_cancelled() -> None:
    time = Time("2026-11-27T12:00:00")

    def stop() -> None:
        if time.seconds > 103:
            raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        time.line(upload_schedule(DAY, "UTC")).carry(1000 * KIB, stop=stop)
    assert time.seconds < 104
