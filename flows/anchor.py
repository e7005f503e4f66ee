"""The anchor flow: prove the audit trail and seal its newest row into the repository; to be scheduled every day."""

# No `from __future__ import annotations` here: Prefect checks a run's parameters against real types, not their names.

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from edurise_backup.config import load_settings
from edurise_backup.operations.audit import Anchored, anchor_audit
from edurise_backup.operations.people import acting
from flows.policies import current_flow_run, told_in_full, whole_operation
from flows.results import escaped


@flow(name="anchor", persist_result=False, result_serializer="json")
@told_in_full
def anchor(config_path: Path | None = None) -> str:
    """Anchor the audit trail; returns the name of the note in the repository. A broken trail fails the run."""
    done = seal_trail(config_path)
    create_markdown_artifact(anchor_markdown(done), key="anchor", description="Anchor of the audit trail")
    return done.anchor.name


@whole_operation("anchor audit trail")
def seal_trail(config_path: Path | None) -> Anchored:
    """Prove and seal; raises when the trail is broken, after an alarm."""
    return anchor_audit(settings=load_settings(config_path), actor=acting(current_flow_run()))


def anchor_markdown(done: Anchored) -> str:
    """Return what was proved and sealed."""
    lines = [
        f"# Audit trail: row {done.anchor.seq:,} anchored",
        f"{done.report.rows:,} rows are whole, {done.report.anchors:,} earlier anchors agree.",
        f"Hash `{done.anchor.hash}`, note `edurise/{done.anchor.name}`.",
        *(escaped(remark) for remark in done.report.remarks),
    ]
    return "\n\n".join(lines) + "\n"
