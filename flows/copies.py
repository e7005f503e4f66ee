"""The copy flow: one run brings what is new into the copies; and what is done to a copy by the flows beside it."""

# No `from __future__ import annotations` here: Prefect checks a run's parameters against real types, not their names.

from pathlib import Path
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.errors import BackupError, CancelledError, DamageError, UnderWayError
from edurise_backup.model.jobs import Verdict
from edurise_backup.model.maintenance import MaintenanceJob
from edurise_backup.operations.copies import copy_names
from flows.phases import run_showing_phases
from flows.policies import current_flow_run, queued_row, told_in_full, whole_operation
from flows.results import maintenance_markdown


@flow(name="copy", persist_result=False, result_serializer="json")
@told_in_full
def copy(store: str = "", job_id: UUID | None = None, config_path: Path | None = None) -> str:
    """Copy what is new into one copy, or (without a name) into each; returns the last job's id.

    `job_id` is the row that was queued for the run into a named one, if there is one.
    """
    return str(copy_each(copy_names(settings=load_settings(config_path), store=store), job_id, config_path).id)


def copy_each(names: tuple[str, ...], job_id: UUID | None, config_path: Path | None) -> MaintenanceJob:
    """Copy into each of these; one that fails does not keep the others from theirs. Raises the first failure.

    One that another job copies into just now is left to that.
    """
    failed: BackupError | None = None
    busy: UnderWayError | None = None
    done: MaintenanceJob | None = None
    for name in names:
        try:
            done = bring_new(name, job_id if len(names) == 1 else None, config_path)
        except CancelledError:
            raise
        except UnderWayError as error:
            busy = error
            continue
        except BackupError as error:
            failed = failed or error
            continue
        create_markdown_artifact(maintenance_markdown(done), key="copy", description=f"Copy {done.id} into {name}")
    if failed is not None:
        raise failed
    if done is None:
        assert busy is not None
        raise busy
    return done


@whole_operation("copy what is new")
def bring_new(store: str, job_id: UUID | None, config_path: Path | None) -> MaintenanceJob:
    """Copy into one store; raises when the copy could not be carried out."""
    settings = load_settings(config_path)
    queued = queued_row(job_id)
    return run_showing_phases(
        lambda progress: operations.copy_backups(
            store, settings=settings, job_id=queued, flow_run_id=current_flow_run(), progress=progress
        )
    )


@whole_operation("prove backup in a copy")
def prove_copy(store: str, backup: str, job_id: UUID | None, config_path: Path | None) -> MaintenanceJob:
    """Verify a backup in a copy; raises when the verification could not be carried out."""
    settings = load_settings(config_path)
    queued = queued_row(job_id)
    return run_showing_phases(
        lambda progress: operations.verify_copy(
            store, backup, settings=settings, job_id=queued, flow_run_id=current_flow_run(), progress=progress
        )
    )


@whole_operation("check a copy")
def check_one_copy(
    store: str, budget: str, read_data: bool, job_id: UUID | None, config_path: Path | None
) -> MaintenanceJob:
    """Check a copy; raises when the check could not be carried out."""
    settings = load_settings(config_path)
    queued = queued_row(job_id)
    return run_showing_phases(
        lambda progress: operations.check_copy(
            store,
            settings=settings,
            budget=budget,
            read_data=read_data,
            job_id=queued,
            flow_run_id=current_flow_run(),
            progress=progress,
        )
    )


def show_copy_proof(job: MaintenanceJob, key: str) -> None:
    """Show on its run's page what a look at a copy's bytes found; raises DamageError when it did not pass."""
    create_markdown_artifact(maintenance_markdown(job), key=key, description=f"{key.capitalize()} {job.id}")
    if job.verification_status is not Verdict.PASSED:
        raise DamageError(
            f"the copy {job.store} did not pass: {'; '.join(job.findings[:5]) or 'no finding recorded'}",
            safe="nothing was changed; the primary is judged by its own proofs",
            hint="docs/operations/copies.md, A copy is damaged",
        )
