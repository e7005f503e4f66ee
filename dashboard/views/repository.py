"""The repository's page: is it sound, how fresh is the proof of that, what waits, how large it is, and the buttons."""

from __future__ import annotations

import streamlit as st

from dashboard import charts, people, queries
from dashboard import formatting as words
from dashboard.launching import follow_launched, launch, ticketed
from dashboard.pruning import confirm_prune, prune_sentences
from dashboard.queries import RepositoryState
from dashboard.readings import read_or_stale
from edurise_backup.model.jobs import BackupJob, JobStatus, Verdict
from edurise_backup.model.maintenance import MaintenanceJob
from edurise_backup.model.people import Permission
from edurise_backup.model.stores import PRIMARY

BUDGETS = {"5%": "5 % of all bytes", "20%": "20 % of all bytes", "100%": "Every byte", "": "Structure only"}
# findings that are shown; the rest is counted
SHOWN = 20
NEVER = """\
**The repository was never checked.**

*Check now* proves its structure and as many bytes as the budget allows. 5 % every day keeps every byte proved within 30
days: make a schedule of the type *check*, or run `edurise-backup check --budget 5%` from a timer.
"""


def main() -> None:
    """Draw the page from top to bottom."""
    st.title("Repository")
    show_state()
    show_buttons()
    follow_launched()
    show_history()


@st.fragment(run_every=5.0)
def show_state() -> None:
    """Show the verdict, the tiles, the findings and what is gone."""
    reading = read_or_stale("repository", queries.repository)
    if reading is None:
        return
    state = reading.value
    st.caption(f"As of {words.moment_text(reading.as_of)}")
    show_verdict(state)
    show_missing(state.gone)
    show_tiles(state)
    show_findings(state.good_check)
    show_last_prune(state.last_prune)
    show_gone(state.gone)


@st.fragment(run_every=5.0)
def show_history() -> None:
    """Show how the size changed, and the newest prunes and checks."""
    reading = read_or_stale("repository", queries.repository)
    if reading is None:
        return
    state = reading.value
    if len(state.sizes) > 1:
        st.subheader("Size after each prune and check")
        points = [{"Moment": size.moment, "MiB": size.bytes / 1024**2} for size in state.sizes]
        charts.lines(points, "Moment", ("MiB",), "MiB", alt="The repository's size after each prune and check")
    st.subheader("Prunes, checks, forgetting")
    if not state.recent:
        st.caption("None yet.")
        return
    st.dataframe([recent_row(job) for job in state.recent], width="stretch", hide_index=True)


def show_buttons() -> None:
    """Show the two things that can be started."""
    st.subheader("Start")
    check, prune = st.columns(2)
    with check:
        budget = st.selectbox("Bytes to prove", tuple(BUDGETS), format_func=BUDGETS.__getitem__, key="check budget")
        pressed = people.button(
            "Check now",
            Permission.OPERATE,
            key=ticketed("check"),
            icon=":material/fact_check:",
            type="primary",
        )
        if pressed and budget is not None:
            launch(lambda actions: actions.check(budget))
    with prune:
        st.caption("Shows what the last dry run said before it starts anything.")
        if people.button("Prune …", Permission.OPERATE, key="prune", icon=":material/cleaning_services:"):
            confirm_prune()


def show_verdict(state: RepositoryState) -> None:
    """Say in one sentence whether the repository is sound, and how much of that was proved."""
    good, last = state.good_check, state.last_check
    if last is not None and not last.status.good:
        show_failure("The last check could not be done", last)
    if good is None or good.figures is None or good.figures.checked is None:
        st.info(NEVER, icon=":material/fact_check:")
        return
    checked = good.figures.checked
    proved = f"Every byte proved within 30 days: {checked.within_percent:g} %"
    oldest = f"oldest proof {words.age(checked.oldest_proof, state.as_of)}" if checked.oldest_proof else "no proof yet"
    when = f"Checked {words.age(good.completed_at, state.as_of)}, {words.plain(good.asked)}."
    if good.verification_status is not Verdict.PASSED:
        st.error(f"**The repository did not pass its last check.** {when} {proved}, {oldest}.", icon=":material/error:")
    elif checked.overdue_bytes:
        st.warning(
            f"**No damage was found, but not every byte was proved.** {when} {proved}, {oldest}; "
            f"{words.size(checked.overdue_bytes)} in {checked.overdue_packs:,} packs are overdue.",
            icon=":material/warning:",
        )
    else:
        st.success(f"**The repository is sound.** {when} {proved}, {oldest}.", icon=":material/check_circle:")


def show_missing(gone: tuple[BackupJob, ...]) -> None:
    """Raise the alarm for backups that nobody has forgotten."""
    missing = [words.short_id(job.id) for job in gone if job.forgotten_at is None]
    if missing:
        st.error(
            f"**Missing from the repository, and forgotten by nobody: backups {', '.join(missing[:SHOWN])}**"
            f"{f' and {len(missing) - SHOWN} more' if len(missing) > SHOWN else ''}. "
            "Prunes refuse until this is settled.\n\n"
            "To do: see docs/operations/repository.md, *A backup is missing*.",
            icon=":material/error:",
        )


def show_tiles(state: RepositoryState) -> None:
    """Show size, snapshots, proof and what waits."""
    latest = state.sizes[-1] if state.sizes else None
    checked = state.good_check.figures.checked if state.good_check and state.good_check.figures else None
    pruned = state.good_prune.figures.pruned if state.good_prune and state.good_prune.figures else None
    forgotten = sum(1 for job in state.gone if job.forgotten_until and job.forgotten_until > state.as_of)
    size, proved, oldest, waits, undo = st.columns(5)
    size.metric("Repository", words.size(latest.bytes if latest else None), help="All packs, at the last look")
    proved.metric("Proved within 30 days", f"{checked.within_percent:g} %" if checked else words.UNKNOWN)
    oldest.metric("Oldest proof", words.age(checked.oldest_proof, state.as_of) if checked else words.UNKNOWN)
    waits.metric(
        "Waits for its grace",
        words.size(pruned.waiting_bytes if pruned else None),
        help=f"Until {words.moment_text(pruned.waiting_until)}" if pruned and pruned.waiting_packs else None,
    )
    undo.metric("Forgotten, can be brought back", forgotten)


def show_findings(check: MaintenanceJob | None) -> None:
    """Show what the last check found, and what to do."""
    if check is None or not check.findings:
        return
    st.subheader("Findings of the last check")
    for finding in check.findings[:SHOWN]:
        st.markdown(f"- {words.plain(finding)}")
    if len(check.findings) > SHOWN:
        st.caption(f"and {len(check.findings) - SHOWN:,} more, in the job's row")
    st.caption("To do: see docs/operations/repository.md, Repair.")


def show_last_prune(job: MaintenanceJob | None) -> None:
    """Show what the last prune did, or why it did not."""
    st.subheader("Last prune")
    if job is None:
        st.caption("There was none yet.")
        return
    if not job.status.good:
        show_failure("The last prune did not go through", job)
        return
    st.caption(f"{words.moment_text(job.completed_at)}, {words.plain(job.asked)}")
    if job.figures and job.figures.pruned:
        for line in prune_sentences(job.figures.pruned):
            st.markdown(f"- {words.plain(line)}")
    for warning in job.warnings[:SHOWN]:
        st.warning(words.plain(warning), icon=":material/warning:")


def show_failure(title: str, job: MaintenanceJob) -> None:
    """Show why a job did not end well."""
    lines = [f"**{title}** ({words.moment_text(job.completed_at)})", words.plain(job.error or "")]
    lines += [f"To do: {words.plain(job.hint)}"] if job.hint else []
    shown = st.info if job.status is JobStatus.CANCELLED else st.error
    shown("\n\n".join(line for line in lines if line), icon=":material/error:")


def show_gone(gone: tuple[BackupJob, ...]) -> None:
    """Show the backups that cannot be restored any more, or not without an undo."""
    if not gone:
        return
    st.subheader("Forgotten and missing backups")
    st.dataframe([gone_row(job) for job in gone], width="stretch", hide_index=True)


def gone_row(job: BackupJob) -> dict[str, str]:
    """Return a backup that is not there as a line of the table."""
    return {
        "Id": words.short_id(job.id),
        "Type": words.type_text(job.type),
        "Taken": words.moment_text(job.started_at),
        "State": "forgotten" if job.forgotten_at else "missing",
        "Since": words.moment_text(job.forgotten_at or job.missing_since),
        "Can be brought back until": words.moment_text(job.forgotten_until),
    }


def recent_row(job: MaintenanceJob) -> dict[str, str | int]:
    """Return a job as a line of the table; cells are text, never markup."""
    return {
        "Kind": job.kind.value + (" (dry run)" if job.dry_run else ""),
        "Store": job.store or PRIMARY,
        "Status": words.status_text(job.status),
        "Found": words.verdict_text(job.verification_status) if job.verification_status else words.UNKNOWN,
        "Asked for": job.asked,
        "Started": words.moment_text(job.started_at),
        "Duration": words.duration(words.between(job.started_at, job.completed_at)),
        "Repository": words.size(job.figures.bytes if job.figures else None),
        "Findings": len(job.findings),
        "Id": words.short_id(job.id),
        "Error": job.error or "",
    }


main()
