"""Schedules as people keep them: add, list, edit, pause, resume, remove, preview.

Every change is one transaction: the row, the runs that are expected of it, and
the audit trail's word of who changed what.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

import msgspec

from edurise_backup.catalog import schedules as rows
from edurise_backup.catalog.alarms import settle
from edurise_backup.catalog.audit import add_row
from edurise_backup.catalog.expected_runs import withdraw
from edurise_backup.catalog.sessions import Connection
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import ConflictError, InputError
from edurise_backup.model.jobs import BackupType
from edurise_backup.model.people import Actor, Permission
from edurise_backup.model.retention import policy_of, weakened
from edurise_backup.model.schedules import ExpectedRun, Schedule
from edurise_backup.model.timing import Candidate
from edurise_backup.model.timing import preview as preview_times
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.guarding import authorise_weakening
from edurise_backup.operations.judging import judge_runs
from edurise_backup.operations.people import local_actor
from edurise_backup.operations.places import Places
from edurise_backup.operations.planning import ALARM_SUBJECT, freeze, local_time, paused_at, plan_anew, rule_of
from edurise_backup.operations.schedule_config import (
    FIELDS,
    ScheduleConfig,
    changed_config,
    config_from,
    config_of,
    schedule_from,
)

_MOST_SHOWN = 1000
_LONGEST_PAUSE = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class PreviewedRun:
    """One of the next due times of a schedule."""

    at: datetime
    local: str
    """As the schedule's own clock shows it."""
    left_out: str = ""
    """Why nothing will run then; empty: it will."""


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """A schedule, and how its newest expected runs went."""

    schedule: Schedule
    runs: tuple[ExpectedRun, ...]
    """Those whose time has come, newest first."""


def schedule_backup(
    config: ScheduleConfig | Mapping[str, object],
    *,
    settings: Settings | None = None,
    actor: Actor | None = None,
) -> Schedule:
    """Add a schedule and return its row, with `next_run`; the runs of the next 48 hours are expected from now on.

    Raises InputError, NotFoundError, ConflictError (nothing was changed), ForbiddenError.
    """
    settings, actor = settings or load_settings(), actor or local_actor()
    actor.require(Permission.ADMINISTER)
    now = settings.around.clock()
    schedule = replace(schedule_from(config_of(config), uuid4(), settings, now), created_at=now, updated_at=now)

    def work(connection: Connection) -> Schedule:
        _require_free(connection, schedule)
        if not rows.insert(connection, schedule):  # a repeated transaction after a lost answer
            return plan_anew(connection, schedule, now, "")
        add_row(connection, actor, "schedule.add", schedule.name, detail=_detail(schedule), at=now)
        return plan_anew(connection, schedule, now, "")

    with open_catalog(settings) as catalog:
        _refuse_without_host(catalog, schedule)
        return catalog.sessions.run(work)


def _refuse_without_host(catalog: Catalog, schedule: Schedule) -> None:
    """Raise ConflictError for a backup that could only fail: no host can take it."""
    if schedule.type.backup:
        Places.of(catalog).refuse(BackupType(schedule.type.value), schedule.source or None)


def list_schedules(*, settings: Settings | None = None) -> list[Schedule]:
    """Return all schedules by name."""
    with open_catalog(settings or load_settings()) as catalog:
        return list(catalog.schedules.all())


def edit_schedule(
    word: str,
    changes: Mapping[str, object],
    *,
    settings: Settings | None = None,
    actor: Actor | None = None,
    version: int | None = None,
) -> Schedule:
    """Change fields of `ScheduleConfig` of the schedule that `word` names; runs not due yet are expected anew.

    `version` is the one that the caller has seen: an edit in between is not overwritten. Raises as `schedule_backup`.
    """
    settings, actor = settings or load_settings(), actor or local_actor()
    actor.require(Permission.ADMINISTER)
    now = settings.around.clock()
    if not changes:
        raise InputError(
            "nothing is to be changed", safe="nothing was changed", hint=f"name one of {', '.join(FIELDS)}"
        )

    def work(connection: Connection) -> Schedule:
        old = rows.find(connection, word, lock=True)
        if version is not None and version != old.version:
            raise ConflictError(
                f"the schedule {old.name} was changed by somebody else meanwhile",
                safe="nothing was changed",
                hint="look at it as it is now, then change it again",
            )
        asked = schedule_from(changed_config(old, changes), old.id, settings, now)
        new = replace(old, **{name: getattr(asked, name) for name in FIELDS})
        if new == old:
            return old
        new = replace(new, version=old.version + 1)
        _require_free(connection, new)
        detail = {"before": _detail(old), "after": _detail(new)}
        add_row(connection, actor, "schedule.edit", new.name, detail=detail, at=now)
        if new.name != old.name:
            settle(connection, ALARM_SUBJECT.format(old.name), now)
        return plan_anew(connection, new, now, "the schedule was edited", old=old)

    with open_catalog(settings) as catalog:
        seen = catalog.schedules.find(word)
        wanted = schedule_from(changed_config(seen, changes), seen.id, settings, now)
        if (wanted.type, wanted.source) != (seen.type, seen.source):
            _refuse_without_host(catalog, wanted)
        losses = kept_less(seen, wanted)
        if losses:
            authorise_weakening(catalog, settings, actor, seen, losses)
            version = version if version is not None else seen.version  # what was agreed to is what is done
        return catalog.sessions.run(work)


def kept_less(old: Schedule, new: Schedule) -> list[str]:
    """Return what an edit keeps less of, a sentence each; of a policy that nobody can read nothing is lost."""
    try:
        before = policy_of(old)
    except InputError:
        return []
    return weakened(before, policy_of(new))


def pause_schedule(
    word: str,
    *,
    until: datetime | None = None,
    settings: Settings | None = None,
    actor: Actor | None = None,
) -> Schedule:
    """Let a schedule rest, until a moment or until somebody resumes it; a run under way goes on."""
    settings, actor = settings or load_settings(), actor or local_actor()
    actor.require(Permission.OPERATE)
    now = settings.around.clock()
    if until is not None and not now < until <= now + _LONGEST_PAUSE:
        raise InputError(
            f"a pause cannot end at {until:%Y-%m-%d %H:%M}",
            safe="nothing was changed",
            hint="name a moment ahead, within a year; leave it out for a pause until it is resumed",
        )

    def work(connection: Connection) -> Schedule:
        old = rows.find(connection, word, lock=True)
        if paused_at(old, now) and old.paused_until == until:
            return old
        detail = {"until": until.isoformat() if until else None}
        add_row(connection, actor, "schedule.pause", old.name, detail=detail, at=now)
        paused = replace(old, is_active=False, paused_until=until)
        return plan_anew(connection, paused, now, "the schedule was paused", old=old)

    with open_catalog(settings) as catalog:
        return catalog.sessions.run(work)


def resume_schedule(word: str, *, settings: Settings | None = None, actor: Actor | None = None) -> Schedule:
    """End a schedule's pause; raises ConflictError when it is not paused."""
    settings, actor = settings or load_settings(), actor or local_actor()
    actor.require(Permission.OPERATE)
    now = settings.around.clock()

    def work(connection: Connection) -> Schedule:
        old = rows.find(connection, word, lock=True)
        if old.is_active:
            raise ConflictError(
                f"the schedule {old.name} is not paused", safe="nothing was changed", hint="it runs as it is"
            )
        add_row(connection, actor, "schedule.resume", old.name, at=now)
        resumed = replace(old, is_active=True, paused_until=None)
        return plan_anew(connection, resumed, now, "the schedule was resumed", old=old)

    with open_catalog(settings) as catalog:
        return catalog.sessions.run(work)


def remove_schedule(word: str, *, settings: Settings | None = None, actor: Actor | None = None) -> Schedule:
    """Remove a schedule and return what it was; its backups, and the record of its runs, stay."""
    settings, actor = settings or load_settings(), actor or local_actor()
    actor.require(Permission.ADMINISTER)
    now = settings.around.clock()

    def work(connection: Connection) -> Schedule:
        old = rows.find(connection, word, lock=True)
        with suppress(InputError):  # a row that nobody can read led one to expect nothing
            freeze(connection, old, now)
        withdraw(connection, old.id, after=now, reason="the schedule was removed")
        connection.execute("DELETE FROM backup_schedules WHERE id = %s", (old.id,))
        add_row(connection, actor, "schedule.remove", old.name, detail=_detail(old), at=now)
        settle(connection, ALARM_SUBJECT.format(old.name), now)
        return old

    with open_catalog(settings) as catalog:
        return catalog.sessions.run(work)


def preview_schedule(
    asked: str | ScheduleConfig | Mapping[str, object],
    count: int = 10,
    *,
    settings: Settings | None = None,
) -> list[PreviewedRun]:
    """Return the next due times of a schedule that is there (by name or id), or that a config would make."""
    if not 1 <= count <= _MOST_SHOWN:
        raise InputError(f"{count} runs cannot be shown", hint=f"choose from 1 to {_MOST_SHOWN}")
    settings = settings or load_settings()
    now = settings.around.clock()
    if isinstance(asked, str):
        with open_catalog(settings) as catalog:
            schedule = catalog.schedules.find(asked)
    else:
        schedule = schedule_from(config_of(asked), uuid4(), settings, now)
    return previewed(schedule, now, count)


def previewed(schedule: Schedule, now: datetime, count: int) -> list[PreviewedRun]:
    """Return the next due times of a schedule, and why some of them will not run."""

    def why(candidate: Candidate) -> str:
        if paused_at(schedule, candidate.at):
            return "paused" + (f" until {local_time(schedule, schedule.paused_until)}" if schedule.paused_until else "")
        return f"blackout {candidate.blackout.text}" if candidate.blackout else ""

    return [
        PreviewedRun(candidate.at, local_time(schedule, candidate.at), why(candidate))
        for candidate in preview_times(rule_of(schedule), now, count)
    ]


def schedule_status(
    word: str | None = None, *, runs: int = 10, settings: Settings | None = None
) -> list[ScheduleStatus]:
    """Judge the runs that are due, and return schedules (one, or all) with how their newest runs went.

    So a host without Prefect's watcher sees what was missed, too.
    """
    with open_catalog(settings or load_settings()) as catalog:
        now = catalog.clock()
        judge_runs(catalog, now)
        chosen = [catalog.schedules.find(word)] if word else catalog.schedules.all()
        return [ScheduleStatus(one, catalog.expected_runs.newest(one.id, before=now, limit=runs)) for one in chosen]


def _require_free(connection: Connection, schedule: Schedule) -> None:
    """Raise ConflictError when another schedule has the name."""
    taken = rows.read(connection, "WHERE name = %(name)s AND id <> %(id)s", {"name": schedule.name, "id": schedule.id})
    if taken:
        raise ConflictError(
            f"there is a schedule named {schedule.name!r} already",
            safe="nothing was changed",
            hint="choose another name, or edit that one: `edurise-backup schedule edit`",
        )


def _detail(schedule: Schedule) -> dict[str, object]:
    config = config_from(schedule)
    plain = msgspec.to_builtins({name: getattr(config, name) for name in FIELDS if name != "name"})
    return dict(plain)
