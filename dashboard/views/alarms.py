"""Alarms: what is wrong, who looks after it, who is told, what was."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from dashboard import alarming, people
from dashboard import formatting as words
from dashboard.alarm_banner import ICONS, silent_text
from dashboard.alarming import AlarmState
from dashboard.readings import read_or_stale, show_error
from edurise_backup.errors import BackupError
from edurise_backup.model.alarms import AlarmRow
from edurise_backup.model.notices import Event, Notice
from edurise_backup.model.people import Permission
from edurise_backup.operations.telling import TargetState

NO_TARGETS = """\
**Nobody is told of alarms.** Name a target in `[[alarm_target]]` of the configuration: mail, Slack, Teams, a webhook
(`docs/operations/alarms.md`).
"""


def main() -> None:
    """Draw the page from top to bottom."""
    st.title("Alarms")
    reading = read_or_stale("alarms", alarming.alarms)
    if reading is None:
        return
    state = reading.value
    st.caption(f"As of {words.moment_text(reading.as_of)}. {watch_text(state)}")
    if state.watch_is_silent:
        st.error(silent_text(state), icon=":material/visibility_off:")
    show_open(state)
    show_targets(state)
    show_history(state)


def show_open(state: AlarmState) -> None:
    """Show each open alarm with its remedy and, until somebody looks after it, a button."""
    st.subheader(f"Open ({len(state.open)})")
    if not state.open and state.watched_at is None:
        st.info("No alarm is open, but nobody has looked yet: the watch has never run.", icon=":material/help:")
    elif not state.open:
        st.success("No alarm is open.", icon=":material/check_circle:")
    for row in state.open:
        show_alarm(row)


def show_alarm(row: AlarmRow) -> None:
    """Show one open alarm."""
    with st.container(border=True):
        text, button = st.columns([5, 1])
        text.markdown(f"{ICONS[row.severity]} **{row.severity.value.upper()}** · {words.plain(row.message)}")
        if row.remedy:
            text.markdown(f"To do: {words.with_code(row.remedy)}")
        text.caption(
            f"{words.plain(row.kind.value)} · {words.plain(row.subject)} · since {words.moment_text(row.raised_at)} · "
            f"last seen {words.moment_text(row.last_seen_at)} · {words.short_id(row.id)}"
        )
        if row.acknowledged_at is not None:
            button.caption(f"{words.plain(row.acknowledged_by or '')} looks after it")
        elif people.button(
            "I look after it", Permission.OPERATE, button, key=f"acknowledge {row.id}", icon=":material/back_hand:"
        ):
            act(lambda: alarming.acknowledge(row.id), "You look after it now; nobody further is told.")


def show_targets(state: AlarmState) -> None:
    """Show who is told of what, how the last message went, and a button for a test."""
    st.subheader("Who is told")
    if not state.targets:
        st.warning(NO_TARGETS, icon=":material/notifications_off:")
        return
    for target in state.targets:
        show_target(target)


def show_target(target: TargetState) -> None:
    """Show one target."""
    name, routes, last, button = st.columns([2, 3, 4, 1])
    name.markdown(f"**{words.plain(target.settings.name)}**")
    routes.caption(words.plain(route_text(target)))
    last.caption(words.plain(last_text(target.last)))
    if people.button("Test", Permission.ADMINISTER, button, key=f"test {target.settings.name}", icon=":material/send:"):
        act(lambda: alarming.send_test(target.settings.name), "The watch sends a test message at its next round.")


def show_history(state: AlarmState) -> None:
    """Show the newest alarms, settled ones too."""
    st.subheader("History")
    if not state.history:
        st.caption("There was none yet.")
        return
    st.dataframe([history_row(row) for row in state.history], width="stretch", hide_index=True)


def act(do: Callable[[], object], done: str) -> None:
    """Do what was asked for and draw the page anew, or show why it was refused."""
    try:
        do()
    except BackupError as error:
        show_error(error)
        return
    st.toast(done, icon=":material/check:")
    st.rerun()


def watch_text(state: AlarmState) -> str:
    """Return when somebody last looked; pure."""
    if state.watched_at is None:
        return "The watch has never run: `edurise-backup watch`."
    return f"The watch looked {words.age(state.watched_at, state.as_of)}."


def route_text(target: TargetState) -> str:
    """Return what goes to a target, and when; pure."""
    told = target.settings
    parts = [" and ".join(told.severities), ", ".join(told.kinds) or "all kinds"]
    if told.after_minutes:
        parts.append(f"what nobody looks after for {told.after_minutes} min")
    if told.quiet_hours:
        parts.append(f"quiet {told.quiet_hours} {told.zone}")
    return " · ".join(parts)


def last_text(notice: Notice | None) -> str:
    """Return how the last message to a target went; pure."""
    if notice is None:
        return "nothing was sent yet"
    what = "test message" if notice.event is Event.TEST else f"{notice.severity.value} {notice.event.value}"
    if notice.sent_at is not None:
        return f"✓ {what}, taken {words.moment_text(notice.sent_at)}"
    if notice.given_up_at is not None:
        return f"✗ {what}, given up: {notice.error}"
    if notice.error:
        return f"✗ {what}, tried {notice.tries} times: {notice.error}"
    return f"… {what} waits for the watch"


def history_row(row: AlarmRow) -> dict[str, str | int]:
    """Return an alarm as a line of the table; cells are text, never markup."""
    return {
        "Raised": words.moment_text(row.raised_at),
        "Settled": words.moment_text(row.settled_at) if row.settled_at else "open",
        "Severity": row.severity.value,
        "Kind": row.kind.value,
        "Subject": row.subject,
        "Message": row.message,
        "Seen": row.seen,
        "Looked after by": row.acknowledged_by or "",
        "Id": words.short_id(row.id),
    }


main()
