"""Who is told of what, and when: routes, quiet hours, escalation, repetition."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from edurise_backup.model.alarms import AlarmKind, AlarmRow, Severity
from edurise_backup.model.notices import Event, Ledger, Notice, Quiet, Route, Told, Wanted, wait_before_try, wanted

NOW = datetime(2026, 11, 27, 21, 0, tzinfo=UTC)
ALARM = AlarmRow(
    UUID(int=1), AlarmKind.JOB_FAILED, "backup full", Severity.WARNING, "m", "r", NOW, NOW, 1, None, None, None
)
MINUTE = timedelta(minutes=1)


def due(alarm: AlarmRow, route: Route, told: Told | None = None, now: datetime = NOW) -> list[Wanted]:
    ledger = Ledger({(alarm.id, route.target): told} if told else {})
    return list(wanted([alarm], [route], ledger, now))


def test_an_alarm_is_told_once_and_again_only_when_it_gets_worse() -> None:
    route = Route("ops")
    assert due(ALARM, route) == [Wanted(ALARM.id, "ops", Event.RAISED, Severity.WARNING)]
    assert due(ALARM, route, Told(Severity.WARNING)) == []
    worse = replace(ALARM, severity=Severity.CRITICAL)
    assert due(worse, route, Told(Severity.WARNING)) == [Wanted(ALARM.id, "ops", Event.RAISED, Severity.CRITICAL)]
    assert due(ALARM, route, Told(Severity.CRITICAL)) == []


def test_the_end_is_told_once_to_who_was_told_of_the_beginning() -> None:
    over, route = replace(ALARM, settled_at=NOW), Route("ops")
    assert due(over, route, Told(Severity.CRITICAL)) == [Wanted(ALARM.id, "ops", Event.SETTLED, Severity.CRITICAL)]
    assert due(over, route, Told(Severity.CRITICAL, settled=True)) == []
    assert due(over, route) == []
    assert due(over, replace(route, settled=False), Told(Severity.CRITICAL)) == []


@pytest.mark.parametrize(
    ("route", "told"),
    [
        (Route("t", frozenset({Severity.CRITICAL})), False),
        (Route("t", frozenset({Severity.WARNING})), True),
        (Route("t", kinds=frozenset({AlarmKind.STORE_FILLING})), False),
        (Route("t", kinds=frozenset({AlarmKind.JOB_FAILED})), True),
    ],
)
def test_a_route_chooses_by_severity_and_kind(route: Route, told: bool) -> None:
    assert bool(due(ALARM, route)) is told


def test_an_escalation_waits_for_somebody_to_acknowledge() -> None:
    route = Route("boss", after=30 * MINUTE)
    assert not due(ALARM, route, now=NOW + 29 * MINUTE)
    assert due(ALARM, route, now=NOW + 30 * MINUTE)
    acknowledged = replace(ALARM, acknowledged_at=NOW + MINUTE, acknowledged_by="me")
    assert not due(acknowledged, route, now=NOW + 30 * MINUTE)


def test_a_target_is_not_told_that_it_does_not_answer_itself() -> None:
    alarm = replace(ALARM, kind=AlarmKind.TARGET_UNREACHABLE, subject="ops")
    assert not due(alarm, Route("ops"))
    assert due(alarm, Route("mail"))


@pytest.mark.parametrize(
    ("utc", "quiet"),
    [((16, 29), False), ((16, 30), True), ((20, 0), True), ((0, 29), True), ((0, 30), False), ((12, 0), False)],
)
def test_quiet_hours_go_over_midnight_in_their_own_zone(utc: tuple[int, int], quiet: bool) -> None:
    hours = Quiet(time(22), time(6), ZoneInfo("Asia/Kolkata"))  # 16:30 to 00:30 UTC
    now = NOW.replace(hour=utc[0], minute=utc[1])
    assert hours.at(now) is quiet
    route = Route("ops", quiet=hours)
    assert bool(due(ALARM, route, now=now + timedelta(days=1))) is not quiet
    assert due(replace(ALARM, severity=Severity.CRITICAL), route, now=now + timedelta(days=1))


def test_quiet_hours_hold_through_a_change_of_the_clocks() -> None:
    hours = Quiet(time(1, 30), time(2, 30), ZoneInfo("Europe/Berlin"))
    spring = datetime(2027, 3, 28, 0, 45, tzinfo=UTC)  # 01:45, a quarter before 02:00 becomes 03:00
    assert hours.at(spring)
    assert not hours.at(spring + 15 * MINUTE)


def test_the_ledger_keeps_the_worst_that_was_told() -> None:
    notice = Notice(UUID(int=2), ALARM.id, "ops", Event.RAISED, Severity.CRITICAL, NOW, NOW, 0, None, None, "")
    ledger = Ledger.of([notice, replace(notice, severity=Severity.WARNING), replace(notice, alarm_id=None)])
    assert ledger.told == {(ALARM.id, "ops"): Told(Severity.CRITICAL)}
    assert Ledger.of([notice, replace(notice, event=Event.SETTLED)]).told[ALARM.id, "ops"].settled


def test_tries_come_further_and_further_apart() -> None:
    waits = [wait_before_try(tries) for tries in range(1, 12)]
    assert waits[:3] == [timedelta(seconds=30), MINUTE, 2 * MINUTE]
    assert waits == sorted(waits)
    assert wait_before_try(10**6) == timedelta(hours=1)
