"""The page of schedules: what runs when, how that went, what comes next, and how to change it."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from dashboard import formatting as words
from dashboard import people, queries
from dashboard.queries import ScheduleState
from dashboard.readings import read_or_stale
from dashboard.retention import show_retention_simulator
from dashboard.scheduling import act, edit_dialog, pause_dialog, remove_dialog
from edurise_backup.model.people import Permission
from edurise_backup.model.schedules import ExpectedRun, RunOutcome, Schedule

EMPTY = """\
**Nothing runs by itself yet.**

*New schedule …* makes the first one. A full backup every night at a quiet hour, a verification every day, and a check
and a prune every week are a good beginning.
"""
OUTCOMES = {
    RunOutcome.KEPT: "✓ kept",
    RunOutcome.FAILED: "✗ failed",
    RunOutcome.MISSED: "✗ missed",
    RunOutcome.SKIPPED: "– skipped",
    RunOutcome.WITHDRAWN: "– withdrawn",
}


def main() -> None:
    """Draw the page from top to bottom."""
    st.title("Schedules and policies")
    show_table()
    if people.button(
        "New schedule …",
        Permission.ADMINISTER,
        key="new schedule",
        icon=":material/add:",
        type="primary",
    ):
        edit_dialog(None)
    show_one()
    show_retention_simulator()


@st.fragment(run_every=5.0)
def show_table() -> None:
    """Show all schedules, and what needs somebody."""
    reading = read_or_stale("schedules", queries.schedules)
    if reading is None:
        return
    st.caption(f"As of {words.moment_text(reading.as_of)}")
    if not reading.value:
        st.info(EMPTY, icon=":material/event_repeat:")
        return
    wrong = [state for state in reading.value if trouble(state)]
    for state in wrong:
        st.error(f"**{words.plain(state.schedule.name)}**: {words.plain(trouble(state))}", icon=":material/error:")
    st.dataframe([table_row(state) for state in reading.value], hide_index=True, width="stretch")


def show_one() -> None:
    """Show one schedule in full, with its buttons."""
    reading = read_or_stale("schedules to choose", queries.schedules)
    if reading is None or not reading.value:
        return
    st.subheader("One schedule")
    by_id = {str(state.schedule.id): state for state in reading.value}
    chosen = st.selectbox("Schedule", tuple(by_id), format_func=lambda key: by_id[key].schedule.name, key="schedule")
    state = by_id[chosen]
    show_buttons(state.schedule)
    st.markdown(f"- {words.plain(keeps(state.schedule))}")
    ahead, past = st.columns(2)
    with ahead:
        st.caption("Next ten due times")
        rows = [{"When": run.local, "Does not run": run.left_out} for run in state.ahead]
        st.dataframe(rows, hide_index=True, width="stretch")
    with past:
        st.caption("Newest expected runs" if state.runs else "No run was due yet.")
        if state.runs:
            st.dataframe([run_row(run) for run in state.runs], hide_index=True, width="stretch")


def show_buttons(schedule: Schedule) -> None:
    """Show what can be done with a schedule."""
    edit, rest, remove = st.columns(3)
    if people.button("Edit …", Permission.ADMINISTER, edit, key=f"edit {schedule.id}", icon=":material/edit:"):
        edit_dialog(schedule)
    if schedule.is_active:
        if people.button("Pause …", Permission.OPERATE, rest, key=f"pause {schedule.id}", icon=":material/pause:"):
            pause_dialog(schedule)
    elif people.button(
        "Resume", Permission.OPERATE, rest, key=f"resume {schedule.id}", icon=":material/play_arrow:"
    ) and act(lambda scheduling: scheduling.resume(schedule), "Resumed"):
        st.rerun()
    if people.button("Remove …", Permission.ADMINISTER, remove, key=f"remove {schedule.id}", icon=":material/delete:"):
        remove_dialog(schedule)


def trouble(state: ScheduleState) -> str:
    """Return what is wrong with a schedule's newest settled run, or nothing; pure."""
    settled = [run for run in state.runs if run.outcome in (RunOutcome.KEPT, RunOutcome.FAILED, RunOutcome.MISSED)]
    if not settled or settled[0].outcome is RunOutcome.KEPT or settled[0].made_up_at:
        return ""
    newest = settled[0]
    word = "failed" if newest.outcome is RunOutcome.FAILED else "was missed"
    return f"the run of {words.moment_text(newest.due_at)} {word}: {newest.reason}"


def table_row(state: ScheduleState) -> dict[str, str]:
    """Return a schedule as a line of the table; cells are text, never markup."""
    schedule = state.schedule
    upcoming = next((run for run in state.ahead if not run.left_out), None)
    return {
        "Name": schedule.name,
        "Runs": schedule.type.value + (f" of {schedule.source}" if schedule.source else ""),
        "How often": f"{schedule.frequency} · {schedule.zone}",
        "State": state_text(schedule),
        "Next run": upcoming.local if upcoming and schedule.next_run else words.UNKNOWN,
        "Last run": words.moment_text(schedule.last_run),
        "Newest runs": " ".join(outcome_text(run)[0] for run in state.runs) or words.UNKNOWN,
        "Newest": outcome_text(state.runs[0]) if state.runs else words.UNKNOWN,
    }


def state_text(schedule: Schedule) -> str:
    """Return whether a schedule is paused, and until when; pure."""
    if schedule.is_active or (schedule.paused_until and schedule.paused_until <= datetime.now(UTC)):
        return "▶ active"
    return f"■ paused until {words.moment_text(schedule.paused_until) if schedule.paused_until else 'it is resumed'}"


def keeps(schedule: Schedule) -> str:
    """Return how long the backups of a schedule are kept, or with what options other work runs; pure."""
    if schedule.type.backup is None:
        options = ", ".join(f"{name} {value}" for name, value in sorted(schedule.options.items()))
        return f"Options: {options}" if options else "No options"
    rules = {name: getattr(schedule.keep, name) for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")}
    more = [f"{name} {'all' if number < 0 else number}" for name, number in rules.items() if number]
    more += [f"tag {tag}" for tag in schedule.keep.tags]
    return f"Keeps {schedule.retention} days" + (f", and {', '.join(more)}" if more else "")


def run_row(run: ExpectedRun) -> dict[str, str]:
    """Return an expected run as a line of the table."""
    return {
        "Due": words.moment_text(run.due_at),
        "Outcome": outcome_text(run),
        "Job": words.short_id(run.job_id) if run.job_id else words.UNKNOWN,
        "Why": run.reason,
    }


def outcome_text(run: ExpectedRun) -> str:
    """Return what became of an expected run, in words with an icon; pure."""
    if run.outcome is None:
        return "▶ under way" if run.begun_at else "… waiting"
    return OUTCOMES[run.outcome] + (", made up for" if run.made_up_at else "")


main()
