"""The verification flow: one run is one verification job (one more for each repetition)."""

# No `from __future__ import annotations` here: Prefect checks a run's parameters against real types, not their names.

from pathlib import Path
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.errors import BackupError, DamageError, InputError
from edurise_backup.model.jobs import Verdict, Verification
from flows.copies import prove_copy, show_copy_proof
from flows.phases import run_showing_phases
from flows.policies import current_flow_run, queued_row, told_in_full, whole_operation
from flows.results import verification_markdown
from flows.sharding import workers_of


@flow(name="verify", persist_result=False, result_serializer="json")
@told_in_full
def verify(
    backup_id: UUID | None = None, store: str = "", job_id: UUID | None = None, config_path: Path | None = None
) -> str:
    """Read the backup's bytes back from the repository and prove them; returns the verification's id.

    `store` names a copy to read it back from; without a backup the next to be
    proved there. `job_id` is the row that was queued for this run, if there is one.
    """
    if store:
        job = prove_copy(store, str(backup_id or ""), job_id, config_path)
        show_copy_proof(job, "verification")
        return str(job.id)
    if backup_id is None:
        raise InputError("no backup is named", safe="nothing was done", hint="give backup_id, or the name of a copy")
    verification = prove_backup(backup_id, job_id, config_path)
    show_verification(verification)
    return str(verification.id)


def show_verification(verification: Verification) -> None:
    """Show a finished verification on its run's page; raises DamageError when the backup did not pass."""
    create_markdown_artifact(
        verification_markdown(verification), key="verification", description=f"Verification {verification.id}"
    )
    if verification.verification_status is not Verdict.PASSED:
        raise DamageError(
            f"backup {verification.backup_id} did not pass: "
            + ("; ".join(verification.findings[:5]) or "no finding recorded"),
            safe="nothing was changed; other backups are judged by their own verification",
            hint="make a new full backup now, then verify the other backups",
        )


@whole_operation("prove backup")
def prove_backup(backup_id: UUID, job_id: UUID | None, config_path: Path | None) -> Verification:
    """Verify the backup; raises when the verification could not be carried out."""
    settings = load_settings(config_path)
    queued = queued_row(job_id)
    verification = run_showing_phases(
        lambda progress: operations.verify_backup(
            backup_id,
            settings=settings,
            job_id=queued,
            flow_run_id=current_flow_run(),
            progress=progress,
            workers=workers_of(settings, config_path),
        )
    )
    if not verification.status.good and verification.verification_status is not Verdict.FAILED:
        raise BackupError(
            verification.error or f"the verification ended as {verification.status.value}",
            hint=verification.hint or "",
        )
    return verification
