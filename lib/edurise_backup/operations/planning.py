"""What a schedule leads one to expect: its rule, its next run, and the ledger of runs that are written down ahead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from edurise_backup.catalog import expected_runs, schedules
from edurise_backup.catalog.expected_runs import Planned
from edurise_backup.catalog.sessions import Connection
from edurise_backup.errors import InputError
from edurise_backup.model.blackouts import parse_blackouts
from edurise_backup.model.frequencies import parse_frequency
from edurise_backup.model.schedules import Schedule
from edurise_backup.model.timing import Rule, next_times, times_until

AHEAD = timedelta(hours=48)
"""So far ahead expected runs are written down."""
ALARM_SUBJECT = "schedule {}"
"""What an alarm about a schedule names, with its name."""
_MOST = 20_000
"""Runs that are written down at one time; the next look goes on from there."""


def rule_of(schedule: Schedule) -> Rule:
    """Return what decides when a schedule comes due; raises InputError for a row that nobody can read."""
    return Rule(
        parse_frequency(schedule.frequency),
        schedule.zone,
        schedule.jitter,
        str(schedule.id),
        parse_blackouts(schedule.blackout),
    )


def paused_at(schedule: Schedule, moment: datetime) -> bool:
    """Whether a pause covers a moment."""
    return not schedule.is_active and (schedule.paused_until is None or moment < schedule.paused_until)


def next_run_of(schedule: Schedule, now: datetime) -> datetime | None:
    """Return when it runs next; None while it is paused without an end."""
    if paused_at(schedule, now):
        if schedule.paused_until is None:
            return None
        now = schedule.paused_until - timedelta(microseconds=1)
    return next(iter(next_times(rule_of(schedule), now, 1)), None)


def freeze(connection: Connection, schedule: Schedule, now: datetime) -> None:
    """Write down the runs that are expected up to `AHEAD` from now, and those that nobody was there to write down."""
    known = expected_runs.frozen_until(connection, schedule.id)
    begin = max(moment for moment in (known, schedule.updated_at, schedule.created_at, now - AHEAD * 200) if moment)
    expected_runs.freeze(connection, schedule, _planned(schedule, begin, now + AHEAD), now=now)


def plan_anew(
    connection: Connection, schedule: Schedule, now: datetime, reason: str, *, old: Schedule | None = None
) -> Schedule:
    """Write a schedule and what is expected of it now, in place of what was; return it with its `next_run`.

    What the `old` one led one to expect up to now stays so, also where nobody was there to write it down.
    """
    if old is not None:
        with suppress(InputError):  # a row that nobody can read can be mended, and led one to expect nothing
            freeze(connection, old, now)
    expected_runs.withdraw(connection, schedule.id, after=now, reason=reason)
    planned = replace(schedule, next_run=next_run_of(schedule, now), updated_at=now)
    schedules.update(connection, planned)
    expected_runs.freeze(connection, planned, _planned(planned, now, now + AHEAD), now=now)
    return planned


def _planned(schedule: Schedule, after: datetime, until: datetime) -> Iterator[Planned]:
    for due in times_until(rule_of(schedule), after, until, limit=_MOST):
        yield Planned(due, "paused" if paused_at(schedule, due) else "")


def local_time(schedule: Schedule, moment: datetime) -> str:
    """Return a moment as the schedule's own wall clock shows it, and in UTC."""
    local = moment.astimezone(ZoneInfo(schedule.zone))
    return f"{local:%a %Y-%m-%d %H:%M:%S %Z} ({moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC)"
