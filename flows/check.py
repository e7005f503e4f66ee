"""The check flow: one run is one check of the repository (one more for each repetition)."""

# No `from __future__ import annotations` here: Prefect checks a run's parameters against real types, not their names.

from pathlib import Path
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.errors import DamageError
from edurise_backup.model.jobs import Verdict
from edurise_backup.model.maintenance import MaintenanceJob
from flows.copies import check_one_copy, show_copy_proof
from flows.phases import run_showing_phases
from flows.policies import current_flow_run, queued_row, told_in_full, whole_operation
from flows.results import maintenance_markdown


@flow(name="check", persist_result=False, result_serializer="json")
@told_in_full
def check(
    budget: str = "5%",
    read_data: bool = False,
    store: str = "",
    job_id: UUID | None = None,
    config_path: Path | None = None,
) -> str:
    """Check the repository, and read as many bytes as the budget allows; returns the job's id.

    `store` names a copy to check in place of the primary. `job_id` is the row
    that was queued for this run, if there is one. An empty budget looks at the
    structure alone; `read_data` needs one.
    """
    if store:
        job = check_one_copy(store, budget, read_data, job_id, config_path)
        show_copy_proof(job, "check")
        return str(job.id)
    job = check_repository(budget, read_data, job_id, config_path)
    show_check(job)
    return str(job.id)


def show_check(job: MaintenanceJob) -> None:
    """Show a finished check on its run's page; raises DamageError when it did not pass."""
    create_markdown_artifact(maintenance_markdown(job), key="check", description=f"Check {job.id}")
    if job.verification_status is not Verdict.PASSED:
        raise DamageError(
            f"the repository did not pass: {'; '.join(job.findings[:5]) or 'no finding recorded'}",
            safe="nothing was changed; backups that are not named in the findings are not affected",
            hint="follow docs/operations/repository.md, section Repair; make a new full backup now",
        )


@whole_operation("check repository")
def check_repository(budget: str, read_data: bool, job_id: UUID | None, config_path: Path | None) -> MaintenanceJob:
    """Check; raises when the check could not be carried out."""
    settings = load_settings(config_path)
    queued = queued_row(job_id)
    return run_showing_phases(
        lambda progress: operations.check_repository(
            settings=settings,
            budget=budget,
            read_data=read_data,
            job_id=queued,
            flow_run_id=current_flow_run(),
            progress=progress,
        )
    )
