"""The flow of a recovery to a moment: one run is one recovery job."""

# No `from __future__ import annotations` here: Prefect checks a run's parameters against real types, not their names.

from pathlib import Path
from uuid import UUID

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from edurise_backup.config import load_settings
from edurise_backup.errors import BackupError, ProofError
from edurise_backup.model.jobs import JobId, RecoveryJob, Verdict
from edurise_backup.operations import point_in_time
from flows.phases import run_showing_phases
from flows.policies import current_flow_run, told_in_full
from flows.results import recovery_markdown


@flow(name="recover-to", persist_result=False, result_serializer="json")
@told_in_full
def recover_to(
    *,
    moment: str,
    directory: str,
    source: str = "",
    base: str = "",
    store: str = "",
    amcheck: bool = True,
    job_id: UUID | None = None,
    config_path: Path | None = None,
) -> str:
    """Bring a cluster back into a fresh directory as it was at a moment, and prove it; returns the job's id.

    `moment`: latest, immediate, time:…, xid:…, lsn:… or name:…, with `before ` in front for just before it.
    `base`: the base backup to begin with; `store`: where it is taken from. `job_id` is the row that was queued for
    this run, if there is one.
    """
    job = bring_back(moment, directory, source, base, store, amcheck, job_id, config_path)
    create_markdown_artifact(recovery_markdown(job), key="recovery", description=f"Recovery {job.id}")
    if job.verification_status is not Verdict.PASSED:
        raise ProofError(
            f"what was recovered does not pass its proof: {'; '.join(job.findings[:5]) or 'not proved'}",
            safe="the backups and the live cluster are unchanged; what was recovered is left in place to be looked at",
            hint="recover to another moment, or from another base backup, into another fresh directory",
        )
    return str(job.id)


# No retries: a second attempt would find the first one's files in the target.
@task(name="bring back", cache_policy=NO_CACHE, persist_result=False)
def bring_back(
    moment: str,
    directory: str,
    source: str,
    base: str,
    store: str,
    amcheck: bool,
    job_id: UUID | None,
    config_path: Path | None,
) -> RecoveryJob:
    """Recover the cluster; raises when the recovery could not be carried out."""
    settings = load_settings(config_path)
    job = run_showing_phases(
        lambda progress: point_in_time.recover_to(
            moment,
            Path(directory),
            source=source,
            base=base,
            store=store,
            amcheck=amcheck,
            settings=settings,
            job_id=JobId(job_id) if job_id else None,
            flow_run_id=current_flow_run(),
            progress=progress,
        )
    )
    if not job.status.good and job.verification_status is not Verdict.FAILED:
        raise BackupError(job.error or f"the recovery ended as {job.status.value}", hint=job.hint or "")
    return job
