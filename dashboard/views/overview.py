"""The first page: can we recover, what runs, what was done, and the buttons that start something."""

from __future__ import annotations

import streamlit as st

from dashboard import formatting as words
from dashboard import queries
from dashboard.alarm_banner import show_alarm_banner
from dashboard.launching import follow_launched, show_actions
from dashboard.readings import Reading, read_or_stale
from edurise_backup.catalog.statistics import JobSummary
from edurise_backup.model.jobs import BackupStats, BackupType

CONFIGURE = """\
**No backup was made yet.**

Name what is to be protected, and where backups go, in the settings file; `README.md` shows one. `make demo` shows
the whole way on a platform of its own. Then press *Back up now*, or run `edurise-backup backup` on the command line.
"""


def main() -> None:
    """Draw the page from top to bottom."""
    st.title("Overview")
    show_alarms()
    show_figures()
    show_actions()
    follow_launched()
    show_running()
    show_recent()


@st.fragment(run_every=10.0)
def show_alarms() -> None:
    """Show what is wrong, before anything else."""
    show_alarm_banner()


@st.fragment(run_every=5.0)
def show_figures() -> None:
    """Show the verdict, the tiles and the last good backup of each kind."""
    reading = read_overview()
    if reading is None:
        return
    stats = reading.value.stats
    st.caption(f"As of {words.moment_text(reading.as_of)}")
    if reading.value.empty:
        st.info(CONFIGURE, icon=":material/rocket_launch:")
        return
    show_verdict(stats)
    show_tiles(stats)
    show_last_good(stats)


@st.fragment(run_every=2.0)
def show_running() -> None:
    """Show every job that waits or runs, with its phase and how far that is."""
    st.subheader("Running now")
    reading = read_or_stale("running", queries.running)
    if reading is None:
        return
    if not reading.value:
        st.caption("Nothing runs.")
    for job in reading.value:
        show_progress(job, reading)


@st.fragment(run_every=5.0)
def show_recent() -> None:
    """Show the newest jobs of all kinds."""
    st.subheader("Recent jobs")
    reading = read_overview()
    if reading is None:
        return
    if reading.value.empty:
        st.caption("None yet.")
        return
    st.dataframe([recent_row(job) for job in reading.value.recent], width="stretch", hide_index=True)


def read_overview() -> Reading[queries.Overview] | None:
    """Read what two parts of the page share; says that it loads when nothing was ever read."""
    if "last overview" in st.session_state:
        return read_or_stale("overview", queries.overview)
    with st.spinner("Reading the catalog …"):
        return read_or_stale("overview", queries.overview)


def show_verdict(stats: BackupStats) -> None:
    """Say in one sentence whether the whole platform can be brought back, and to when."""
    full = next(figures for figures in stats.types if figures.type is BackupType.FULL)
    if full.last_good_at is None:
        wanted = set(BackupType) if queries.settings().clusters else set(BackupType) - {BackupType.CLUSTER}
        missing = [one.type for one in stats.types if one.last_good_at is None and one.type in wanted]
        names = ", ".join(words.type_text(kind).lower() for kind in missing)
        st.warning(
            f"**The whole platform cannot be recovered yet.** No good backup of: {names}.", icon=":material/warning:"
        )
        return
    st.success(
        f"**The whole platform can be recovered to {words.moment_text(full.last_good_at)}**, "
        f"{words.age(full.last_good_at, stats.as_of)}. "
        f"Recoveries proved: {stats.recoveries_passed} passed, {stats.recoveries_failed} failed.",
        icon=":material/check_circle:",
    )


def show_tiles(stats: BackupStats) -> None:
    """Show the figures that say how much there is and how much of it was proved."""
    original, stored, dedup, verified, running = st.columns(5)
    original.metric("Original bytes", words.size(stats.source_bytes), help="Of all good backups, added up")
    stored.metric("Stored bytes", words.size(stats.stored_bytes), help="What these backups added to the repository")
    dedup.metric("Original for each stored", words.ratio(stats.source_bytes, stats.stored_bytes))
    verified.metric("Backups verified", f"{stats.verified} of {stats.verified + stats.unverified}")
    running.metric("Backups running", stats.running)


def show_last_good(stats: BackupStats) -> None:
    """Show the newest good backup of each kind and its age."""
    st.subheader("Last good backup of each kind")
    st.dataframe(
        [
            {
                "Kind": words.type_text(figures.type),
                "Age": words.age(figures.last_good_at, stats.as_of),
                "Recoverable to": words.moment_text(figures.last_good_at),
                "Backup": words.short_id(figures.last_good_id) if figures.last_good_id else words.UNKNOWN,
                "Completed": figures.completed,
                "With warnings": figures.warned,
                "Failed": figures.failed,
                "Usual duration": words.duration(figures.median_duration),
            }
            for figures in stats.types
        ],
        width="stretch",
        hide_index=True,
    )


def show_progress(job: JobSummary, reading: Reading[tuple[JobSummary, ...]]) -> None:
    """Show one job: what, since when, which phase, how far, when it last gave a sign of life."""
    sign = words.age(job.heartbeat_at, reading.as_of)
    label = (
        f"{job.kind.value} · {kind_text(job)} · {words.short_id(job.id)} · "
        f"{words.status_text(job.status)} · {words.plain(job.phase or 'waiting')} · sign of life: {sign}"
    )
    st.progress(min(max(job.progress or 0.0, 0.0), 1.0), text=label)


def kind_text(job: JobSummary) -> str:
    """Return what a job is about: a type of backup, or the kind of maintenance."""
    if job.maintenance is not None:
        return job.maintenance.value.capitalize()
    return words.type_text(job.type) if job.type is not None else words.UNKNOWN


def _unproved(job: JobSummary) -> bool:
    return job.maintenance is not None and job.verification_status is None


def recent_row(job: JobSummary) -> dict[str, str | int]:
    """Return a job as a line of the table; cells are text, never markup."""
    return {
        "Kind": job.kind.value,
        "Type": kind_text(job),
        "Status": words.status_text(job.status),
        "Proof": words.UNKNOWN if _unproved(job) else words.verdict_text(job.verification_status),
        "Started": words.moment_text(job.started_at or job.created_at),
        "Duration": words.duration(words.between(job.started_at, job.completed_at)),
        "Bytes": words.size(job.bytes),
        "Remarks": job.remarks,
        "Id": words.short_id(job.id),
        "Error": job.error or "",
    }


main()
