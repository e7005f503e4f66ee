"""Performance: how long jobs and their phases take, against the objectives, and how that changes."""

from __future__ import annotations

from datetime import timedelta

import streamlit as st

from dashboard import charts, trends
from dashboard import formatting as words
from dashboard.readings import read_or_stale
from edurise_backup.catalog.trends import PhaseFigures, WorkDay, WorkFigures

NOTHING = """\
**No job ended well in this time.**

Choose a longer one, or start a job on the first page.
"""
NAMES = {
    "full": "Full backups",
    "incremental": "Incremental backups",
    "verification": "Verifications",
    "recovery": "Recoveries",
}


def main() -> None:
    """Draw the page from top to bottom."""
    st.title("Performance")
    days = st.selectbox("Time", tuple(trends.SPANS), format_func=trends.SPANS.__getitem__, key="performance span")
    reading = read_or_stale(f"performance {days}", lambda: trends.performance(days))
    if reading is None:
        return
    st.caption(f"As of {words.moment_text(reading.as_of)}. Jobs that ended well; half took up to p50, 95 % up to p95.")
    if not reading.value.work:
        st.info(NOTHING, icon=":material/speed:")
        return
    limits = trends.objectives()
    show_verdicts(reading.value.work, limits)
    st.subheader("By type")
    st.dataframe([work_row(work, limits) for work in reading.value.work], width="stretch", hide_index=True)
    show_days(reading.value.days, limits)
    show_phases(reading.value.phases)


def show_verdicts(work: tuple[WorkFigures, ...], limits: dict[str, int]) -> None:
    """Show for each objective how many jobs met it; no job is no success."""
    for column, (objective, name) in zip(st.columns(len(NAMES)), NAMES.items(), strict=True):
        jobs = [one for one in work if one.objective == objective]
        of, within = sum(one.jobs for one in jobs), sum(one.within for one in jobs)
        limit = seconds(limits[objective])
        column.metric(f"{name} within {limit}", f"{within:,} of {of:,}" if of else "none yet")
        if within < of:
            slow = max((one.longest or 0.0) for one in jobs)
            column.caption(f"✗ {of - within:,} took longer; the longest {seconds(slow)}")
        elif of:
            column.caption("✓ all within the objective")


def show_days(days: tuple[WorkDay, ...], limits: dict[str, int]) -> None:
    """Show p50 and p95 over time, an objective each, with the objective as a line."""
    st.subheader("Over time")
    for objective, name in NAMES.items():
        mine = [day for day in days if day.objective == objective]
        if not mine:
            continue
        last = mine[-1]
        st.markdown(
            f"**{name}**: on {last.day:%Y-%m-%d} half took up to {seconds(last.p50)}, 95 % up to {seconds(last.p95)}; "
            f"the objective is {seconds(limits[objective])}."
        )
        points = [
            {"Day": day.day, "p50": minutes(day.p50), "p95": minutes(day.p95), "objective": limits[objective] / 60}
            for day in mine
        ]
        if len(points) > 1:  # a line of one day shows nothing; the sentence says it all
            charts.lines(points, "Day", ("p50", "p95", "objective"), "minutes", alt=f"How long {name} took, day by day")


def show_phases(phases: tuple[PhaseFigures, ...]) -> None:
    """Show where the time goes."""
    st.subheader("By phase")
    if not phases:
        st.caption("No job recorded its phases in this time.")
        return
    st.dataframe([phase_row(phase) for phase in phases], width="stretch", hide_index=True)


def seconds(length: float | None) -> str:
    """Return a length of time in words; pure."""
    return words.duration(None if length is None else timedelta(seconds=length))


def minutes(length: float | None) -> float | None:
    """Return seconds as minutes; pure."""
    return None if length is None else length / 60


def throughput(rate: float | None) -> str:
    """Return bytes a second in words; a phase that moves none has no speed; pure."""
    return f"{words.size(round(rate))}/s" if rate else words.UNKNOWN


def work_row(work: WorkFigures, limits: dict[str, int]) -> dict[str, str | int]:
    """Return a kind of job as a line of the table."""
    return {
        "Work": work.work,
        "Jobs": work.jobs,
        "Objective": seconds(limits[work.objective]),
        "Within it": f"{work.within:,} of {work.jobs:,}",
        "p50": seconds(work.p50),
        "p95": seconds(work.p95),
        "Longest": seconds(work.longest),
        "Throughput": throughput(work.bytes_per_second),
    }


def phase_row(phase: PhaseFigures) -> dict[str, str | int]:
    """Return a phase as a line of the table; its name is text, never markup."""
    return {
        "Of": phase.kind,
        "Phase": phase.phase,
        "Times": phase.jobs,
        "p50": seconds(phase.p50),
        "p95": seconds(phase.p95),
        "Longest": seconds(phase.longest),
        "Throughput": throughput(phase.bytes_per_second),
    }


main()
