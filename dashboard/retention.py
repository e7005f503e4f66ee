"""Retention on a page: what a policy would keep and drop, and which backups are pinned or on hold.

All of it is read from the catalog. Pins and holds are placed and released on
the command line: that writes into the repository, which no page opens.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import streamlit as st

from dashboard import charts, queries
from dashboard import formatting as words
from dashboard.launching import launch, ticketed
from dashboard.readings import read_or_stale, show_error
from edurise_backup.catalog.policies import read_policies
from edurise_backup.catalog.protections import ProtectionRow
from edurise_backup.errors import BackupError
from edurise_backup.model.jobs import BackupType
from edurise_backup.model.retention import checked_policy
from edurise_backup.model.schedules import KeepRules, Schedule
from edurise_backup.model.simulation import Day, Simulation
from edurise_backup.operations.protections import vanished_sentence
from edurise_backup.operations.retention_simulation import Question, simulate_from

CONFIRMATION = "forget"
RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
Counts = tuple[int, int, int, int, int, int]
"""How many periods each rule keeps, in the order of `RULES`."""
_MOST = 36_500
"""More days or periods than this are a hundred years, and mean the same."""
NO_HOLDS = """\
No backup is pinned or on hold. To keep one whatever a policy says: `edurise-backup pin add ID --reason TEXT`, or, when
nobody may drop it before a release, `edurise-backup hold add ID --reason TEXT`.
"""
WHAT_IT_DOES = """\
Every backup that no schedule's retention, no pin and no hold keeps is forgotten. For seven days it can be brought back;
the space comes free with the prunes after that.
"""


@st.cache_data(ttl=timedelta(seconds=30), show_spinner="Simulating …")
def simulated(
    schedule: str,
    backup_type: str,
    source: str,
    counts: Counts,
    tags: tuple[str, ...],
    days_kept: int,
    every_hours: float,
    days: int,
) -> Simulation:
    """Return what a policy does in the days to come; raises BackupError."""
    last, hourly, daily, weekly, monthly, yearly = counts
    keep = KeepRules(last, hourly, daily, weekly, monthly, yearly, tags)
    question = Question(
        schedule=schedule,
        type=backup_type,
        source=source,
        policy=checked_policy(days_kept, keep),
        every=timedelta(hours=every_hours) if every_hours else None,
        days=days,
    )
    return simulate_from(queries.catalog(), queries.settings().objectives, question, datetime.now(UTC))


def schedules() -> tuple[Schedule, ...]:
    """Return the schedules that take backups."""
    return tuple(one for one in read_policies(queries.catalog().sessions) if one.type.backup is not None)


def protections() -> tuple[ProtectionRow, ...]:
    """Return the pins and holds that the catalog knows."""
    return queries.catalog().protections.all()


def show_retention_simulator() -> None:
    """Let a person try a policy on the days to come, and see what it keeps, drops and misses."""
    st.subheader("Simulator")
    st.caption("What a policy would keep and drop, with the history that is there. Nothing is changed.")
    reading = read_or_stale("schedules to simulate", schedules)
    if reading is None:
        return
    chosen = st.selectbox("Schedule", (None, *reading.value), format_func=schedule_label, key="simulated schedule")
    try:
        shown = simulated(*_asked(chosen))
    except BackupError as error:
        show_error(error)
        return
    show_simulation(shown)


def _asked(chosen: Schedule | None) -> tuple[str, str, str, Counts, tuple[str, ...], int, float, int]:
    """Ask for the policy, beginning with the schedule's own."""
    key = str(chosen.id) if chosen else "own"
    keep = chosen.keep if chosen else KeepRules()
    backup_type, source = (chosen.type.value, chosen.source) if chosen else _asked_for_series()
    columns = st.columns(len(RULES) + 1)
    days_kept = columns[0].number_input(
        "Days",
        0,
        _MOST,
        min(chosen.retention, _MOST) if chosen else 7,
        key=f"days {key}",
        help="Everything is kept so long",
    )
    last, hourly, daily, weekly, monthly, yearly = (
        int(
            column.number_input(
                rule.capitalize(), -1, _MOST, max(-1, min(getattr(keep, rule), _MOST)), key=f"{rule} {key}"
            )
        )
        for column, rule in zip(columns[1:], RULES, strict=True)
    )
    left, right = st.columns(2)
    every = left.number_input(
        "Hours between backups", 0.0, 8760.0, 0.0 if chosen else 24.0, key=f"every {key}", help="0: as until now"
    )
    days = right.number_input("Days to come", 1, 366, 90, key=f"span {key}")
    counts = (last, hourly, daily, weekly, monthly, yearly)
    name = str(chosen.id) if chosen else ""
    return name, backup_type, source, counts, keep.tags, int(days_kept), float(every), int(days)


def _asked_for_series() -> tuple[str, str]:
    left, right = st.columns(2)
    types = tuple(BackupType)
    chosen = left.selectbox("Type", types, format_func=words.type_text, key="simulated type") or types[0]
    return chosen.value, right.text_input("Source (empty: all)", key="simulated source").strip()


def schedule_label(schedule: Schedule | None) -> str:
    """Return a schedule in a list of choices."""
    return "A policy of your own" if schedule is None else f"{schedule.name} ({schedule.type.value})"


def show_simulation(shown: Simulation) -> None:
    """Show what becomes of the restore points, and which objectives are missed."""
    end = shown.days[-1]
    kept, most, dropped, freed, held = st.columns(5)
    kept.metric("Kept at the end", end.kept)
    most.metric("Most at once", shown.most)
    dropped.metric("Dropped", shown.dropped)
    freed.metric("Freed, at most", words.size(shown.freed_bytes), help="A dropped backup may share its data")
    held.metric("Kept bytes", words.size(end.kept_bytes), help="What the kept backups add, at their typical size")
    for broken in shown.broken:
        since = f", from {words.moment_text(broken.since)}" if broken.since else ""
        st.warning(
            f"**Misses {words.plain(broken.control)}:** {words.plain(broken.message)}{since}", icon=":material/warning:"
        )
    if not shown.broken:
        st.success("Every objective would be met.", icon=":material/check_circle:")
    days = [{"Day": day.at, "Kept": day.kept} for day in shown.days]
    charts.lines(days, "Day", ("Kept",), "restore points", alt="Restore points that are kept; the table has them")
    st.dataframe([day_row(day) for day in shown.days], width="stretch", hide_index=True)


def day_row(day: Day) -> dict[str, str | int]:
    """Return a day as a line of the table."""
    return {
        "At": words.moment_text(day.at),
        "Kept": day.kept,
        "Dropped": day.dropped,
        "Freed": words.size(day.freed_bytes),
        "Newest": words.moment_text(day.newest),
        "Oldest": words.moment_text(day.oldest),
    }


def show_holds() -> None:
    """Show the pins and holds, and raise the alarm for one that vanished from the repository."""
    st.subheader("Pins and holds")
    reading = read_or_stale("pins and holds", protections)
    if reading is None:
        return
    gone = [row for row in reading.value if row.missing_since is not None]
    for row in gone:
        st.error(
            f"**{words.plain(vanished_sentence(row))}.** It still keeps its backup; prunes refuse.\n\n"
            "To do: see docs/operations/retention.md, *A pin or hold vanished*.",
            icon=":material/error:",
        )
    if not reading.value:
        st.info(NO_HOLDS, icon=":material/lock_open:")
        return
    st.dataframe([hold_row(row, reading.as_of) for row in reading.value], width="stretch", hide_index=True)
    st.caption("Placed and released on the command line: `edurise-backup pin`, `edurise-backup hold`.")


def hold_row(row: ProtectionRow, now: datetime) -> dict[str, str | int]:
    """Return a pin or hold as a line of the table; cells are text, never markup."""
    state = "vanished" if row.missing_since else "in force" if row.protection.active(now) else "ended"
    return {
        "Kind": row.kind.value,
        "State": state,
        "Backup": words.short_id(row.backup_id),
        "Snapshots": len(row.snapshots),
        "Reason": row.reason,
        "By": row.who,
        "Since": words.moment_text(row.since),
        "Until": words.moment_text(row.until),
        "Id": words.short_id(row.id),
    }


def show_start() -> None:
    """Show the buttons that apply the retention now, or only say what it would forget."""
    st.subheader("Apply now")
    st.caption(WHAT_IT_DOES)
    if st.button("Dry run", key=ticketed("retain dry run"), icon=":material/visibility:", help="Changes nothing"):
        launch(lambda actions: actions.retain(dry_run=True))
    typed = st.text_input(f"Type {CONFIRMATION} to confirm", key="retention confirmation")
    wanted = typed.strip() == CONFIRMATION
    if st.button("Forget now", key=ticketed("retain"), icon=":material/event_busy:", disabled=not wanted) and wanted:
        launch(lambda actions: actions.retain(dry_run=False))
