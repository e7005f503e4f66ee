"""The recovery flow: one run is one recovery job."""

# No `from __future__ import annotations` here: Prefect checks a run's parameters against real types, not their names.

from pathlib import Path
from uuid import UUID

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.errors import BackupError, ProofError
from edurise_backup.model.jobs import BackupType, BucketsTo, JobId, RecoveryJob, RecoveryTarget, Verdict
from flows.phases import run_showing_phases
from flows.policies import current_flow_run, told_in_full
from flows.results import recovery_markdown
from flows.sharding import workers_of


@flow(name="recover", persist_result=False, result_serializer="json")
@told_in_full
def recover(
    *,
    backup_id: UUID,
    directory: str,
    database_suffix: str = "_restored",
    database_source: str | None = None,
    parts: list[BackupType] | None = None,
    store: str = "",
    buckets: BucketsTo = BucketsTo.FILES,
    job_id: UUID | None = None,
    config_path: Path | None = None,
) -> str:
    """Bring a backup back into a fresh directory and fresh databases, and prove it; returns the job's id.

    `directory` must be empty or missing, and no database of the new names may
    exist. `parts` limits what is brought back, `store` where it is taken from,
    `buckets` says where buckets go. `job_id` is the row that was queued for
    this run, if there is one.
    """
    target = RecoveryTarget(
        directory=directory,
        database_source=database_source,
        database_suffix=database_suffix,
        parts=tuple(parts or ()),
        store=store,
        buckets=buckets,
    )
    job = bring_back(backup_id, target, job_id, config_path)
    create_markdown_artifact(recovery_markdown(job), key="recovery", description=f"Recovery {job.id}")
    if job.verification_status is not Verdict.PASSED:
        raise ProofError(
            f"what was restored differs from backup {backup_id}: {'; '.join(job.findings[:5]) or 'not proved'}",
            safe="the backup and the live platform are unchanged; what was restored is left in place to be looked at",
            hint="verify the backup, then recover into another fresh target",
        )
    return str(job.id)


# No retries: a second attempt would find the first one's files in the target and report
# that instead of what went wrong.
@task(name="bring back", cache_policy=NO_CACHE, persist_result=False)
def bring_back(backup_id: UUID, target: RecoveryTarget, job_id: UUID | None, config_path: Path | None) -> RecoveryJob:
    """Recover the backup; raises when the recovery could not be carried out."""
    settings = load_settings(config_path)
    job = run_showing_phases(
        lambda progress: operations.initiate_recovery(
            backup_id,
            target,
            settings=settings,
            job_id=JobId(job_id) if job_id else None,
            flow_run_id=current_flow_run(),
            progress=progress,
            workers=workers_of(settings, config_path),
        )
    )
    if not job.status.good and job.verification_status is not Verdict.FAILED:
        raise BackupError(job.error or f"the recovery ended as {job.status.value}", hint=job.hint or "")
    return job
