"""The backup flow: one run is one backup job (one more for each repetition after a transient fault)."""

# No `from __future__ import annotations` here: Prefect checks a run's parameters against real types, not their names.

from pathlib import Path
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.errors import BackupError
from edurise_backup.model.jobs import BackupJob, BackupType
from flows.phases import run_showing_phases
from flows.policies import current_flow_run, queued_row, told_in_full, whole_operation
from flows.results import backup_markdown
from flows.sharding import workers_of


@flow(name="backup", persist_result=False, result_serializer="json")
@told_in_full
def backup(
    *,
    type: BackupType = BackupType.FULL,  # noqa: A002 - the mission's word, and the name in Prefect's form
    source: str | None = None,
    incremental: bool = True,
    tags: list[str] | None = None,
    job_id: UUID | None = None,
    config_path: Path | None = None,
) -> str:
    """Back up the platform (`full`) or one part of it; returns the job's id.

    `source` names one configured source, else all of the type are taken.
    `job_id` is the row that was queued for this run, if there is one.
    """
    job = take_backup(
        backup_type=type,
        source=source,
        incremental=incremental,
        tags=tags or [],
        job_id=job_id,
        config_path=config_path,
    )
    create_markdown_artifact(backup_markdown(job), key="backup", description=f"Backup {job.id}")
    return str(job.id)


@whole_operation("take backup")
def take_backup(
    *,
    backup_type: BackupType,
    source: str | None,
    incremental: bool,
    tags: list[str],
    job_id: UUID | None,
    config_path: Path | None,
) -> BackupJob:
    """Create the backup; raises when the job did not end well."""
    settings = load_settings(config_path)
    # A job that failed stays failed: a repetition gets a row of its own.
    queued = queued_row(job_id)
    job = run_showing_phases(
        lambda progress: operations.create_backup(
            backup_type,
            settings=settings,
            source=source,
            incremental=incremental,
            tags=tuple(tags),
            job_id=queued,
            flow_run_id=current_flow_run(),
            progress=progress,
            workers=workers_of(settings, config_path),
        )
    )
    if not job.status.good:
        raise BackupError(job.error or f"the backup ended as {job.status.value}", hint=job.hint or "")
    return job
