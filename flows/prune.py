"""The prune flow: one run is one prune (one more for each repetition), or the dry run of one."""

# No `from __future__ import annotations` here: Prefect checks a run's parameters against real types, not their names.

from functools import partial
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


@flow(name="prune", persist_result=False, result_serializer="json")
@told_in_full
def prune(
    dry_run: bool = False,
    grace: str = "1d",
    max_unused: str = "5%",
    max_repack_size: str = "",
    max_removed: str = "50%",
    wait: str = "1h",
    store: str = "",
    job_id: UUID | None = None,
    config_path: Path | None = None,
) -> str:
    """Remove what no backup refers to from the repository, waiting for running backups; returns the job's id.

    `store` names a copy to prune in place of the primary. `job_id` is the row
    that was queued for this run, if there is one.
    """
    job = remove_unused(
        dry_run=dry_run,
        grace=grace,
        max_unused=max_unused,
        max_repack_size=max_repack_size,
        max_removed=max_removed,
        wait=wait,
        store=store,
        job_id=job_id,
        config_path=config_path,
    )
    create_markdown_artifact(maintenance_markdown(job), key="prune", description=f"Prune {job.id}")
    return str(job.id)


@whole_operation("remove unused data")
def remove_unused(
    *,
    dry_run: bool,
    grace: str,
    max_unused: str,
    max_repack_size: str,
    max_removed: str,
    wait: str,
    store: str = "",
    job_id: UUID | None,
    config_path: Path | None,
) -> MaintenanceJob:
    """Prune; raises when it refuses or could not be carried out."""
    settings = load_settings(config_path)
    queued = queued_row(job_id)
    return run_showing_phases(
        lambda progress: (partial(operations.prune_copy, store) if store else operations.prune_repository)(
            settings=settings,
            dry_run=dry_run,
            grace=grace,
            max_unused=max_unused,
            max_repack_size=max_repack_size,
            max_removed=max_removed,
            wait=wait,
            job_id=queued,
            flow_run_id=current_flow_run(),
            progress=progress,
        )
    )
