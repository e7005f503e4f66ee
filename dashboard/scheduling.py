"""What a person may do with schedules: the acts, and the dialogs that ask for them.

Each act names who acts; the operation checks the role and writes the audit trail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import streamlit as st

from dashboard import formatting as words
from dashboard import queries
from dashboard.people import current_actor
from dashboard.readings import show_error
from edurise_backup import operations
from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, ForbiddenError, InputError
from edurise_backup.model.audit import Outcome
from edurise_backup.model.people import Actor
from edurise_backup.model.schedules import KeepRules, Schedule, Work
from edurise_backup.operations.schedule_config import ScheduleConfig, config_from
from edurise_backup.operations.works import WORKS

Options = Mapping[str, str | int | bool]
PAUSES = {"1 hour": 1, "8 hours": 8, "1 day": 24, "3 days": 72, "1 week": 168, "until it is resumed": 0}
KEEP = ("daily", "weekly", "monthly", "yearly")
ALL_SOURCES = ""


class Scheduling:
    """The acts on schedules; each raises BackupError and has then changed nothing."""

    def __init__(self, settings: Settings, actor: Actor) -> None:
        self._settings = settings
        self._actor = actor

    def add(self, config: ScheduleConfig) -> Schedule:
        """Add a schedule."""
        return operations.schedule_backup(config, settings=self._settings, actor=self._actor)

    def edit(self, schedule: Schedule, config: ScheduleConfig) -> Schedule:
        """Change what differs; refused when somebody else has changed the schedule since it was shown."""
        before = config_from(schedule)
        changes = {
            name: getattr(config, name)
            for name in config.__dataclass_fields__
            if getattr(config, name) != getattr(before, name)
        }
        return operations.edit_schedule(
            str(schedule.id), changes, settings=self._settings, actor=self._actor, version=schedule.version
        )

    def pause(self, schedule: Schedule, hours: int) -> Schedule:
        """Let a schedule rest, for some hours or (0) until it is resumed."""
        until = datetime.now(UTC) + timedelta(hours=hours) if hours else None
        return operations.pause_schedule(str(schedule.id), until=until, settings=self._settings, actor=self._actor)

    def resume(self, schedule: Schedule) -> Schedule:
        """End a pause."""
        return operations.resume_schedule(str(schedule.id), settings=self._settings, actor=self._actor)

    def remove(self, schedule: Schedule) -> Schedule:
        """Remove a schedule; its backups stay."""
        return operations.remove_schedule(str(schedule.id), settings=self._settings, actor=self._actor)


def act(what: Callable[[Scheduling], Schedule], said: str) -> bool:
    """Do something with a schedule; shows the error and returns False when it was refused."""
    try:
        actor = current_actor()
        schedule = _done(what, actor)
    except BackupError as error:
        show_error(error)
        return False
    queries.schedules.clear()
    st.toast(f"{said}: {words.plain(schedule.name)}", icon=":material/event_repeat:")
    return True


def _done(what: Callable[[Scheduling], Schedule], actor: Actor) -> Schedule:
    try:
        return what(Scheduling(queries.settings(), actor))
    except ForbiddenError as error:
        detail = {"error": error.message}
        queries.catalog().audit.add(actor, "schedule.change", outcome=Outcome.REFUSED, detail=detail)
        raise


@st.dialog("Schedule", width="large")
def edit_dialog(schedule: Schedule | None) -> None:
    """Ask for everything that a schedule says, and show what it would mean before it is saved."""
    before = config_from(schedule) if schedule else ScheduleConfig("", "full", "every day at 02:00")
    key = f"{schedule.id if schedule else 'new'}"
    try:
        config = asked_config(before, key)
        named = replace(config, name=config.name.strip() or "new")
        ahead = operations.preview_schedule(named, 10, settings=queries.settings())
    except BackupError as error:
        show_error(error)
        return
    st.caption("Next due times" + ("" if config.name.strip() else "; it needs a name before it can be saved"))
    st.dataframe([{"When": run.local, "Does not run": run.left_out} for run in ahead], hide_index=True, width="stretch")
    pressed = st.button("Save", key=f"save {key}", type="primary", disabled=not config.name.strip())
    if pressed and act(
        lambda scheduling: scheduling.edit(schedule, config) if schedule else scheduling.add(config), "Saved"
    ):
        st.rerun()


def asked_config(before: ScheduleConfig, key: str) -> ScheduleConfig:
    """Show the fields and return what they say; raises InputError."""
    left, right = st.columns(2)
    kinds = [work.value for work in WORKS]
    name = left.text_input("Name", before.name, key=f"name {key}", max_chars=63)
    kind = right.selectbox("What is run", kinds, index=kinds.index(str(before.type)), key=f"type {key}") or before.type
    frequency = left.text_input(
        "How often", before.frequency, key=f"frequency {key}", help='"every monday at 03:30", "6h", "0 2 * * *"'
    )
    zone = right.text_input("Time zone", before.zone, key=f"zone {key}", placeholder="UTC, Asia/Kolkata, …")
    sources = [ALL_SOURCES, *source_names(queries.settings(), Work(kind))]
    at = sources.index(before.source) if before.source in sources else 0
    source = left.selectbox("Source", sources, at, lambda one: one or "all", key=f"source {key} {kind}")
    retention = right.number_input("Days to keep", 1, 36_500, before.retention, key=f"retention {key}")
    keep = asked_keep(before.keep, key)
    with st.expander("Grace, jitter, blackout, tags, options"):
        return asked_details(
            replace(
                before,
                name=name,
                type=kind,
                frequency=frequency,
                retention=int(retention),
                source=source or "",
                zone=zone.strip(),
                keep=keep,
            ),
            key,
        )


def asked_details(before: ScheduleConfig, key: str) -> ScheduleConfig:
    """Show the fields that are seldom changed, and return the config with what they say; raises InputError."""
    grace = st.text_input("Grace: a later run is missed", before.grace, key=f"grace {key}")
    jitter = st.text_input("Jitter: begin up to so much later", before.jitter, key=f"jitter {key}")
    blackout = st.text_area("Blackout: a span a line", "\n".join(before.blackout), key=f"blackout {key}")
    tags = st.text_input("Tags, with commas between them", ", ".join(before.tags), key=f"tags {key}")
    options = st.text_area("Options: NAME=VALUE, one a line", options_text(before.options), key=f"options {key}")
    return replace(
        before,
        incremental=st.checkbox("Take unchanged files over", before.incremental, key=f"incremental {key}"),
        tags=tuple(filter(None, map(str.strip, tags.split(",")))),
        options=parse_options(options),
        jitter=jitter.strip(),
        grace=grace.strip(),
        blackout=tuple(filter(None, map(str.strip, blackout.splitlines()))),
        catch_up=st.checkbox("Make up for the newest missed run, once", before.catch_up, key=f"catch up {key}"),
    )


def asked_keep(before: KeepRules, key: str) -> KeepRules:
    """Show how many periods keep a backup beside the days, and return what they say."""
    columns = st.columns(len(KEEP))
    numbers = {
        name: int(column.number_input(f"Keep {name}", -1, 10_000, getattr(before, name), key=f"keep {name} {key}"))
        for name, column in zip(KEEP, columns, strict=True)
    }
    return KeepRules(last=before.last, hourly=before.hourly, tags=before.tags, **numbers)


def source_names(settings: Settings, work: Work) -> list[str]:
    """Return the configured sources that a kind of work may be limited to; pure."""
    match work:
        case Work.DATABASE:
            return [one.name for one in settings.databases]
        case Work.FILES:
            return [one.name for one in settings.files] + [one.name for one in settings.buckets]
        case Work.CONFIGURATION:
            return [one.name for one in settings.configuration]
        case _:
            return []


def options_text(options: Options) -> str:
    """Return options as they are typed; pure."""
    return "\n".join(
        f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in options.items()
    )


def parse_options(text: str) -> dict[str, str | int | bool]:
    """Return the options that lines of NAME=VALUE say; pure. Raises InputError."""
    found: dict[str, str | int | bool] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not name:
            raise InputError(f"{line!r} is not NAME=VALUE", safe="nothing was changed", hint="for instance budget=5%")
        found[name] = {"true": True, "false": False}.get(value.lower(), value)
    return found


@st.dialog("Pause a schedule")
def pause_dialog(schedule: Schedule) -> None:
    """Ask for how long."""
    st.markdown(f"**{words.plain(schedule.name)}** starts nothing during its pause; a run under way goes on.")
    length = st.selectbox("For", tuple(PAUSES), index=2, key=f"pause length {schedule.id}")
    pressed = st.button("Pause", key=f"pause now {schedule.id}", type="primary")
    if pressed and length and act(lambda scheduling: scheduling.pause(schedule, PAUSES[length]), "Paused"):
        st.rerun()


@st.dialog("Remove a schedule")
def remove_dialog(schedule: Schedule) -> None:
    """Ask for the name in writing before a schedule goes."""
    st.markdown(f"**{words.plain(schedule.name)}** will run no more. Its backups, and the record of its runs, stay.")
    typed = st.text_input("Type its name to confirm", key=f"remove confirmation {schedule.id}")
    disabled = typed.strip() != schedule.name
    pressed = st.button("Remove", key=f"remove now {schedule.id}", type="primary", disabled=disabled)
    if pressed and not disabled and act(lambda scheduling: scheduling.remove(schedule), "Removed"):
        st.rerun()
