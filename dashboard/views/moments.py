"""Point in time: which moments can be brought back, what happened when, and a recovery to one of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import PurePosixPath

import streamlit as st

from dashboard import formatting as words
from dashboard import launching, moments, moments_chart, people
from dashboard.moments import Moments
from dashboard.readings import read_or_stale
from edurise_backup.errors import InputError
from edurise_backup.model.people import Permission
from edurise_backup.model.recovery_target import parse_target
from edurise_backup.model.wal import format_lsn
from edurise_backup.model.wal_status import WalEvent, WalState, WalStatus

NOTHING = """\
**No cluster is configured.**

A cluster is a PostgreSQL server of which base backups are taken and whose log is received: then any moment can be
brought back. Add a `[[cluster]]` to the configuration (docs/operations/point-in-time.md).
"""
NO_BASE = """\
**No moment can be brought back: there is no base backup.**

Take one: *Back up now* with the type *Cluster* on the first page, or `edurise-backup backup cluster`.
"""
_TARGET = "moment target"


def main() -> None:
    """Draw the page from top to bottom."""
    st.title("Point in time")
    names = moments.clusters()
    if not names:
        st.info(NOTHING, icon=":material/schedule:")
        return
    left, right = st.columns(2)
    source = left.selectbox("Cluster", names, key="moment cluster")
    hours = right.selectbox("Time", tuple(moments.SPANS), index=1, format_func=moments.SPANS.__getitem__, key="span")
    st.fragment(show_reception, run_every=5.0)(source)
    reading = read_or_stale(f"moments {source} {hours}", lambda: moments.moments(source, hours))
    if reading is None:
        return
    found = reading.value
    if not found.windows:
        st.warning(NO_BASE, icon=":material/warning:")
        return
    st.caption(f"As of {words.moment_text(reading.as_of)}")
    show_windows(found)
    show_deeds(found.events)
    show_recovery(source, found)
    launching.follow_launched()


def show_reception(source: str) -> None:
    """Show how much would be lost now, and what is in the way."""
    reading = read_or_stale(f"reception {source}", lambda: moments.status(source))
    if reading is None:
        return
    status = reading.value
    if status is None:
        st.error(
            "**Its log is not received:** only the ends of base backups can be brought back. "
            "Start it: `edurise-backup wal receive`.",
            icon=":material/error:",
        )
        return
    show_figures(status)
    if status.trouble or status.state is WalState.STOPPED:
        said = status.trouble or "its reception was stopped"
        st.error(f"**{words.plain(said)}**\n\n{words.plain(status.hint)}", icon=":material/error:")


def show_figures(status: WalStatus) -> None:
    """Show exposure, lag, and the latest commit."""
    exposure, lag, latest, spool = st.columns(4)
    seconds = int(status.exposure(datetime.now(UTC)).total_seconds())
    exposure.metric("Would be lost now", f"{seconds:,} s", help="The age of the oldest write that is in no repository")
    lag.metric("Behind the server", words.size(status.lag_bytes))
    commit = status.last_commit_at
    latest.metric("Latest commit", f"{commit.astimezone(UTC):%H:%M:%S} UTC" if commit else words.UNKNOWN)
    spool.metric("Waiting here", words.size(status.spool_bytes), help=f"On {status.host}, for the repository")


def show_windows(found: Moments) -> None:
    """Draw the windows, and say them in words; a click on the chart is taken as a moment."""
    chosen = moments_chart.draw(found)
    if chosen is not None and st.session_state.get("moment clicked") != chosen:
        st.session_state["moment clicked"] = chosen
        st.session_state[_TARGET] = f"time:{chosen.isoformat()}"
    rows = [
        {
            "Timeline": window.timeline,
            "From": words.moment_text(window.begin_at),
            "To": words.moment_text(window.end_at),
            "Positions": f"{format_lsn(window.begin_lsn)} to {format_lsn(window.end_lsn)}",
            "Base backups": len(window.bases),
            "Then": "goes on"
            if window.broken_at is None
            else f"a segment is missing at {format_lsn(window.broken_at)}",
        }
        for window in found.windows
    ]
    st.dataframe(rows, width="stretch", hide_index=True)


def show_deeds(events: tuple[WalEvent, ...]) -> None:
    """List what transactions did, and let a person take the moment just before one."""
    st.subheader("What happened")
    if not events:
        st.caption("No table was dropped, emptied or changed in bulk in this time.")
        return
    event = st.selectbox("Deed", events, format_func=moments.event_label, key="moment deed")
    if event is not None and st.button("Take the moment just before it", key="just before", icon=":material/undo:"):
        st.session_state[_TARGET] = moments.just_before(event)


def show_recovery(source: str, found: Moments) -> None:
    """Let a person name a moment and a directory, and start the recovery into it."""
    st.subheader("Bring a moment back")
    st.caption(
        "Into a fresh directory on the machine that runs the flows; the live server is not touched. Moments: "
        "latest, time:2026-11-28T14:03:07.4+00:00, lsn:16/B374D848, xid:81234, name:RESTORE_POINT; "
        "`before ` in front: just before it."
    )
    st.session_state.setdefault(_TARGET, "latest")
    target = st.text_input("Moment", key=_TARGET)
    problem = target_problem(target)
    if not problem:
        show_explanation(source, target)
    directory = st.text_input("Directory (empty or new)", key="moment directory")
    typed = st.text_input(f"Type {source} to confirm", key="moment confirmation")
    problem = problem or directory_problem(directory, typed, source)
    if problem:
        st.caption(problem)
    pressed = people.button(
        "Recover to this moment",
        Permission.RESTORE,
        key=launching.ticketed("recover to"),
        icon=":material/restore:",
        type="primary",
        disabled=bool(problem),
    )
    if pressed and not problem:
        launching.launch(lambda actions: actions.recover_to(source, target.strip(), directory.strip()))


def show_explanation(source: str, target: str) -> None:
    """Say whether a time can be brought back, before anybody asks for it."""
    moment = parse_target(target.strip().removeprefix("before ")).time
    if moment is None:
        return
    reading = read_or_stale(f"moment {source} {moment}", lambda: moments.explained(source, moment))
    if reading is None:
        return
    found = reading.value
    if found.window is None or found.base is None:
        near = " or ".join(words.moment_text(one) for one in found.nearest) or "none"
        st.warning(f"This moment cannot be brought back. The nearest that can: {near}.", icon=":material/warning:")
    else:
        st.success(
            f"It can be brought back, on timeline {found.window.timeline}: with the base backup of "
            f"{words.moment_text(found.base.stop_at)} and {words.size(found.replay_bytes)} of log.",
            icon=":material/check_circle:",
        )


def target_problem(target: str) -> str:
    """Return why the words are no moment, or nothing; pure."""
    try:
        parse_target(target.strip().removeprefix("before "))
    except InputError as error:
        return f"{error.message}. {error.hint}".strip()
    return ""


def directory_problem(directory: str, typed: str, wanted: str) -> str:
    """Return what is missing before the recovery may start, or nothing; pure."""
    if not PurePosixPath(directory.strip()).is_absolute():
        return "The directory is an absolute path, such as /srv/recovered/data."
    return "" if typed.strip() == wanted else f"Nothing starts before {wanted} is typed."


main()
