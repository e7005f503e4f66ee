"""The retain flow: one run is one retention (one more for each repetition), or the dry run of one."""

# No `from __future__ import annotations` here: Prefect checks a run's parameters against real types, not their names.

from pathlib import Path
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.model.maintenance import MaintenanceJob
from flows.phases import run_showing_phases
from flows.policies import current_flow_run, queued_row, told_in_full, whole_operation
from flows.results import maintenance_markdown


@flow(name="retain", persist_result=False, result_serializer="json")
@told_in_full
def retain(
    dry_run: bool = False,
    grace: str = "7d",
    wait: str = "1h",
    job_id: UUID | None = None,
    config_path: Path | None = None,
) -> str:
    """Forget the backups that no schedule's retention, pin or hold keeps, waiting for a prune; returns the job's id.

    `job_id` is the row that was queued for this run, if there is one.
    """
    job = forget_by_retention(dry_run=dry_run, grace=grace, wait=wait, job_id=job_id, config_path=config_path)
    create_markdown_artifact(maintenance_markdown(job), key="retain", description=f"Retention {job.id}")
    return str(job.id)


@whole_operation("forget by retention")
def forget_by_retention(
    *, dry_run: bool, grace: str, wait: str, job_id: UUID | None, config_path: Path | None
) -> MaintenanceJob:
    """Apply the retention of all schedules; raises when it refuses or could not be carried out."""
    settings = load_settings(config_path)
    queued = queued_row(job_id)
    return run_showing_phases(
        lambda progress: operations.apply_retention(
            settings=settings,
            dry_run=dry_run,
            grace=grace,
            wait=wait,
            job_id=queued,
            flow_run_id=current_flow_run(),
            progress=progress,
        )
    )
