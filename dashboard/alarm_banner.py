"""The banner at the top of a page: what is wrong now, in a line for each; nothing when nothing is."""

from __future__ import annotations

import streamlit as st

from dashboard import alarming
from dashboard import formatting as words
from dashboard.alarming import AlarmState
from dashboard.readings import read_or_stale
from edurise_backup.model.alarms import AlarmRow, Severity

SHOWN = 3
ICONS = {
    Severity.CRITICAL: ":material/error:",
    Severity.WARNING: ":material/warning:",
    Severity.INFO: ":material/info:",
}


def show_alarm_banner() -> None:
    """Show the worst open alarms that nobody looks after, and whether anybody watches."""
    reading = read_or_stale("alarms", alarming.alarms)
    if reading is None:
        return
    state = reading.value
    if state.watch_is_silent:
        st.error(silent_text(state), icon=":material/visibility_off:")
    waiting = [row for row in state.open if row.acknowledged_at is None and row.severity is not Severity.INFO]
    if waiting:
        show = st.error if waiting[0].severity is Severity.CRITICAL else st.warning
        show(banner_text(waiting), icon=ICONS[waiting[0].severity])


def banner_text(rows: list[AlarmRow]) -> str:
    """Return the worst alarms in Markdown, whose texts are data; pure."""
    head = f"**{len(rows)} open alarm{'s' if len(rows) > 1 else ''} that nobody looks after** (page *Alarms*)"
    lines = [f"- {row.severity.value}: {words.plain(row.message)}" for row in rows[:SHOWN]]
    more = [f"- and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
    return "\n".join([head, "", *lines, *more])


def silent_text(state: AlarmState) -> str:
    """Return that nobody watches, and since when; pure."""
    return (
        f"**Nobody watches since {words.moment_text(state.watched_at)}**: alarms may be missing here, "
        "and nobody is told. Start it: `edurise-backup watch`, or `make up`."
    )
