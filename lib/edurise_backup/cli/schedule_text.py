"""Schedules as a person reads them on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edurise_backup.cli.output import printable, table

if TYPE_CHECKING:
    from edurise_backup.model.schedules import ExpectedRun, Schedule
    from edurise_backup.operations.schedules import PreviewedRun, ScheduleStatus


def _kept(schedule: Schedule) -> str:
    """Say how long backups are kept, and of other work its options."""
    if schedule.type.backup is None:
        return ", ".join(f"{name}={value}" for name, value in sorted(schedule.options.items()))
    rules = {name: getattr(schedule.keep, name) for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")}
    words = [f"{name}={'all' if number < 0 else number}" for name, number in rules.items() if number]
    return ", ".join([f"{schedule.retention} d", *words, *(f"tag={tag}" for tag in schedule.keep.tags)])


def sentence(schedule: Schedule) -> str:
    """Say in a line what a schedule is and when it runs next."""
    from edurise_backup.operations.planning import local_time

    said = f"{printable(schedule.name)} ({schedule.type.value}), {printable(schedule.frequency)}"
    if not schedule.frequency.endswith(schedule.zone):
        said += f" {schedule.zone}"
    if not schedule.is_active:
        until = f" until {local_time(schedule, schedule.paused_until)}" if schedule.paused_until else ""
        said += f", paused{until}"
    return said + (f"; next run {local_time(schedule, schedule.next_run)}" if schedule.next_run else "; no next run")


def schedules_text(found: Sequence[Schedule]) -> str:
    """Return schedules as a table."""
    if not found:
        return 'no schedule yet: edurise-backup schedule add nightly --type full --every "every day at 02:00"'
    rows = [
        [
            str(one.id)[:8],
            one.name,
            one.type.value,
            one.source or "all",
            one.frequency,
            "" if one.frequency.endswith(one.zone) else one.zone,
            _kept(one),
            "active" if one.is_active else "paused",
            _time(one.next_run),
            _time(one.last_run),
        ]
        for one in found
    ]
    heads = ["Id", "Name", "Type", "Source", "Frequency", "Zone", "Keeps", "State", "Next run (UTC)", "Last run (UTC)"]
    return table(heads, rows)


def preview_text(found: Sequence[PreviewedRun]) -> str:
    """Return due times, a line each."""
    return "\n".join(run.local + (f"  does not run: {run.left_out}" if run.left_out else "") for run in found)


def status_text(status: ScheduleStatus) -> str:
    """Return a schedule with how its newest runs went."""
    head = sentence(status.schedule)
    if not status.runs:
        return f"{head}\nno run was due yet"
    rows = [[_time(run.due_at), _outcome(run), str(run.job_id or "")[:8], run.reason] for run in status.runs]
    return f"{head}\n{table(['Due (UTC)', 'Outcome', 'Job', 'Why'], rows)}"


def _outcome(run: ExpectedRun) -> str:
    if run.outcome is None:
        return "under way" if run.begun_at else "waiting"
    return run.outcome.value + (", made up for" if run.made_up_at else "")


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if moment else ""
