"""Verify a backup: read every byte of it back from the repository, and prove it."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from uuid import UUID, uuid4

from edurise_backup.catalog.heartbeat import JobReporter
from edurise_backup.catalog.records import JobKind
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import InputError, NotFoundError
from edurise_backup.model.jobs import BackupFilters, BackupJob, BackupType, JobId, JobStatus, Verdict, Verification
from edurise_backup.operations.backups import find_backup, set_checksum
from edurise_backup.operations.catalogs import open_catalog
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.jobs import run_job, storable, told_in_row
from edurise_backup.operations.primary import opened_primary
from edurise_backup.operations.records import keep_record
from edurise_backup.operations.sharding import ShardedJob, shares_workers
from edurise_backup.ports import Clock, Progress, Workers
from edurise_backup.repository.repository import Repository
from edurise_backup.verification.checker import Prove, check

_SHOWN = 1000
_LOOKED_AT = 500


def verify_backup(
    backup_id: UUID | str,
    *,
    settings: Settings | None = None,
    job_id: JobId | None = None,
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    workers: Workers | None = None,
) -> Verification:
    """Read the backup's structure and every byte that it needs, and return the finished verification.

    A backup that does not pass is no error: `verification_status` is then
    `failed`, and `findings` says what is wrong. `workers` share the packs. Raises NotFoundError,
    AmbiguousError, InputError for a backup that did not end well, and BackupError
    when the verification itself could not be done.
    """
    settings = settings or load_settings()
    with open_catalog(settings) as catalog, told_in_row(catalog.verifications, job_id):
        backup = find_backup(catalog, backup_id)
        refuse_incomplete(backup)
        errand = Errand(settings, progress=progress, stop=stop)
        errand.await_job(catalog, catalog.verifications, job_id)
        repository = opened_primary(settings, catalog, errand)
        job = _new_job(backup, job_id)

        def work(reporter: JobReporter, started: Verification) -> Verification:
            prove: Prove | None = None
            if workers is not None and shares_workers(settings, backup):
                workers.check()
                shared = ShardedJob(workers, catalog, repository, JobKind.VERIFICATION, started.id, reporter, errand)
                prove = shared.prove
            return _verify(repository, backup, reporter, started, now=catalog.clock, prove=prove)

        return run_job(
            catalog.verifications,
            job,
            work,
            keep=partial(keep_record, repository),
            flow_run_id=flow_run_id,
            progress=progress,
            stop=stop,
            errand=errand,
        )


def queue_verification(backup_id: UUID | str, *, settings: Settings | None = None) -> JobId:
    """Write the row of a verification that a flow run will do; return its id."""
    with open_catalog(settings or load_settings()) as catalog:
        backup = find_backup(catalog, backup_id)
        refuse_incomplete(backup)
        job = _new_job(backup, None)
        catalog.verifications.create(job)
        return job.id


def newest_unverified(*, settings: Settings | None = None) -> JobId:
    """Return the newest good full set that nobody verified yet, else the newest backup; when all were, the newest.

    Raises NotFoundError. A full set goes first: hourly backups of one part must not keep it from its turn for ever.
    """
    with open_catalog(settings or load_settings()) as catalog:
        full = catalog.jobs.find(BackupFilters(type=BackupType.FULL, restorable=True, limit=1))
        good = [*full, *catalog.jobs.find(BackupFilters(restorable=True, limit=_LOOKED_AT))]
    if not good:
        raise NotFoundError("there is no good backup to verify yet", hint="take one with `edurise-backup backup`")
    return next((job for job in good if job.verification_status is None), good[0]).id


def refuse_incomplete(backup: BackupJob) -> None:
    """Raise InputError for a backup that has not ended well, or is not there any more: it cannot be restored."""
    if not backup.status.good:
        raise InputError(
            f"the backup {backup.id} is {backup.status.value.replace('_', ' ')}",
            hint="choose one that is completed: `edurise-backup list` shows them",
        )
    if backup.forgotten_at is not None:
        raise InputError(
            f"the backup {backup.id} was forgotten at {backup.forgotten_at:%Y-%m-%d %H:%M} UTC",
            hint=f"`edurise-backup forget --undo {backup.id}` brings it back while its grace lasts",
        )
    if backup.missing_since is not None:
        raise InputError(
            f"the backup {backup.id} is missing: a snapshot of it is not in the repository any more",
            hint="choose another one; docs/operations/repository.md says how to look for it",
        )


def _new_job(backup: BackupJob, job_id: JobId | None) -> Verification:
    return Verification(id=job_id or JobId(uuid4()), backup_id=backup.id, status=JobStatus.QUEUED)


def _verify(
    repository: Repository,
    backup: BackupJob,
    progress: Progress,
    job: Verification,
    *,
    now: Clock,
    prove: Prove | None,
) -> Verification:
    ids = [part.snapshot_id for part in backup.parts]
    with repository.lock():
        result = check(repository, progress=progress, read_data=True, snapshots=ids, now=now, prove=prove)
    findings = list(result.findings)
    if set_checksum(ids) != backup.checksum:
        findings.append("the backup's checksum does not fit its snapshots: the catalog's row was changed")
    return replace(
        job,
        status=JobStatus.COMPLETED,
        verification_status=Verdict.FAILED if findings else Verdict.PASSED,
        bytes_read=result.bytes_read,
        blobs=result.blobs,
        findings=tuple(map(storable, findings[:_SHOWN])),
    )
