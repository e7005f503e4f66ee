"""The dialog that starts a prune: what it does, what a dry run of late said, and a word to type."""

from __future__ import annotations

from datetime import datetime, timedelta

import streamlit as st

from dashboard import formatting as words
from dashboard import queries
from dashboard.launching import launch, ticketed
from dashboard.readings import read_or_stale
from edurise_backup.model.maintenance import MaintenanceJob, PruneFigures

DRY_RUN_STANDS = timedelta(hours=1)
"""How long a dry run is offered as what a prune would do."""
CONFIRMATION = "prune"
WHAT_A_PRUNE_DOES = """\
A prune removes data that no backup refers to. Forgotten backups count as in use until their grace is over. Packs leave
the index first and are deleted by a later prune, a day after. It refuses when a backup is missing, or when more than
half of the data would go. It waits up to an hour for running backups.
"""


@st.dialog("Prune the repository", width="large")
def confirm_prune() -> None:
    """Say what a prune does, and what a dry run of late said; nothing goes before the word is typed."""
    st.markdown(WHAT_A_PRUNE_DOES)
    reading = read_or_stale("repository", queries.repository)
    if reading is not None:
        for line in dry_run_lines(reading.value.last_dry_run, reading.as_of):
            st.markdown(f"- {words.plain(line)}")
    if st.button("Dry run", key=ticketed("dry run"), icon=":material/visibility:", help="Changes nothing") and launch(
        lambda actions: actions.prune(dry_run=True)
    ):
        st.rerun()
    typed = st.text_input(f"Type {CONFIRMATION} to confirm", key="prune confirmation")
    if st.button("Prune now", key=ticketed("prune now"), type="primary", disabled=not confirmed(typed)) and launch(
        lambda actions: actions.prune(dry_run=False)
    ):
        st.rerun()


def confirmed(typed: str) -> bool:
    """Whether what was typed lets a prune start; pure."""
    return typed.strip() == CONFIRMATION


def dry_run_lines(job: MaintenanceJob | None, now: datetime) -> list[str]:
    """Return what the last dry run said, when it is recent enough to stand for a prune now; pure."""
    if job is None or job.completed_at is None or now - job.completed_at > DRY_RUN_STANDS:
        return ["There is no dry run of the last hour; make one first to see what would go."]
    head = f"The dry run of {words.moment_text(job.completed_at)}, {words.age(job.completed_at, now)}:"
    if not job.status.good or job.figures is None or job.figures.pruned is None:
        return [head, f"refused: {job.error or words.status_text(job.status)}", job.hint or ""]
    done = job.figures.pruned
    lines = [head, *prune_sentences(done, would=True), *job.warnings]
    return lines if done.refusal else [*lines, "It would not be refused."]


def prune_sentences(done: PruneFigures, *, would: bool = False) -> list[str]:
    """Return what a prune did, or would do, a sentence each; pure."""
    be = "would be" if would else "were"
    lines = [
        f"{words.size(done.deleted_bytes)} in {done.deleted_packs:,} packs {be} deleted",
        f"{words.size(done.repacked_bytes)} {be} written again",
    ]
    if done.locked_packs:
        lines.append(
            f"{words.size(done.locked_bytes)} in {done.locked_packs:,} packs {'would be' if would else 'are'} locked; "
            f"a prune after {words.moment_text(done.locked_until)} may delete the last of them"
        )
    if done.waiting_packs:
        lines.append(
            f"{words.size(done.waiting_bytes)} in {done.waiting_packs:,} packs {'would wait' if would else 'wait'}; "
            f"a prune after {words.moment_text(done.waiting_until)} may delete the last of them"
        )
    if done.forgotten_snapshots:
        lines.append(f"{done.forgotten_snapshots:,} forgotten snapshots still count: their grace lasts")
    return lines
