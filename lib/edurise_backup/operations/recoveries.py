"""Bring a backup back into fresh databases and a fresh directory, and prove that it is what was backed up.

Nothing live is touched: what exists already is a reason to refuse, before a
byte is written.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from uuid import UUID, uuid4

from edurise_backup.catalog.heartbeat import JobReporter
from edurise_backup.catalog.records import JobKind
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import InputError, NotFoundError
from edurise_backup.model.jobs import (
    BackupJob,
    JobId,
    JobStatus,
    PartResult,
    RecoveryJob,
    RecoveryTarget,
)
from edurise_backup.operations.backups import find_backup
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.jobs import run_job, told_in_row
from edurise_backup.operations.recovering import Recovery
from edurise_backup.operations.sharding import ShardedJob, shares_workers
from edurise_backup.operations.supplying import open_supply
from edurise_backup.operations.verifications import refuse_incomplete
from edurise_backup.ports import Progress, Workers

_SHOWN = 1000


def initiate_recovery(
    backup_id: UUID | str,
    target: RecoveryTarget,
    *,
    settings: Settings | None = None,
    job_id: JobId | None = None,
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    workers: Workers | None = None,
) -> RecoveryJob:
    """Restore a backup, or the parts of it that `target` names, and prove the result; return the finished job.

    Databases come back as NAME + `target.database_suffix`. Files come back as
    `target.directory`/PART/SOURCE/their path, buckets where `target.buckets`
    says. `verification_status` is the proof's verdict: row counts, table
    checksums, schema objects, file hashes; a recovery whose proof fails has the
    status `failed` and its `findings`. A database that cannot be brought back
    keeps nothing else back: the rest is there, and the status is `failed`, too.
    The bytes come from the nearest store that has them whole, or from
    `target.store` alone; when one fails in the middle, the next steps in, and
    the job's `store_notes` say so (`operations/supply`). `workers` share what is
    written of sources that are configured so, from the primary; they must see
    the directory at the same place. Before anything is made, all names, the
    directory, the rights on the servers and the room on the disks of this host
    are checked: raises InputError (and its kinds) and SpaceError, nothing was
    changed. Raises BackupError when nothing could be restored.
    """
    settings = settings or load_settings()
    with open_catalog(settings) as catalog, told_in_row(catalog.recoveries, job_id):
        backup = find_backup(catalog, backup_id)
        refuse_unrecoverable(catalog, backup)
        parts = chosen_parts(backup, target)
        errand = Errand(settings, progress=progress, stop=stop)
        errand.await_job(catalog, catalog.recoveries, job_id)
        supply = open_supply(settings, catalog, backup, parts, errand, only=target.store)
        recovery = Recovery(settings, supply, target, parts)
        recovery.check_target()
        job = replace(_new_job(backup, target, job_id), stores=supply.stores, store_notes=supply.tell())

        def work(reporter: JobReporter, started: RecoveryJob) -> RecoveryJob:
            shared = None
            if workers is not None and shares_workers(settings, backup):
                workers.check()
                shared = ShardedJob(
                    workers,
                    catalog,
                    supply.repository,
                    JobKind.RECOVERY,
                    started.id,
                    reporter,
                    errand,
                    supply.stores[0],
                )
            return recovery.run(reporter, started, shared)

        return run_job(
            catalog.recoveries,
            job,
            work,
            keep=supply.keep,
            flow_run_id=flow_run_id,
            progress=progress,
            stop=stop,
            errand=errand,
        )


def queue_recovery(backup_id: UUID | str, target: RecoveryTarget, *, settings: Settings | None = None) -> JobId:
    """Write the row of a recovery that a flow run will do; return its id."""
    with open_catalog(settings or load_settings()) as catalog:
        backup = find_backup(catalog, backup_id)
        refuse_unrecoverable(catalog, backup)
        chosen_parts(backup, target)
        job = _new_job(backup, target, None)
        catalog.recoveries.create(job)
        return job.id


def chosen_parts(backup: BackupJob, target: RecoveryTarget) -> list[PartResult]:
    """Return the parts of the backup to bring back; raises InputError, NotFoundError."""
    if not target.directory:
        raise InputError("no target directory is named", hint="name a new or empty directory")
    missing = [part.value for part in target.parts if part not in {result.part for result in backup.parts}]
    if missing:
        raise NotFoundError(
            f"the backup {backup.id} does not hold {', '.join(missing)}",
            hint=f"it holds {', '.join(part.part.value for part in backup.parts)}",
        )
    return [part for part in backup.parts if not target.parts or part.part in target.parts]


def _new_job(backup: BackupJob, target: RecoveryTarget, job_id: JobId | None) -> RecoveryJob:
    times = [part.snapshot_time for part in backup.parts if part.snapshot_time]
    return RecoveryJob(
        id=job_id or JobId(uuid4()),
        backup_id=backup.id,
        type=target.parts[0] if len(target.parts) == 1 else backup.type,
        status=JobStatus.QUEUED,
        target_time=min(times, default=backup.started_at),
        target=target,
    )


def refuse_unrecoverable(catalog: Catalog, backup: BackupJob) -> None:
    """Raise InputError for a backup that has not ended well, or that neither the primary nor a copy has any more."""
    if backup.status.good and backup.id in catalog.copies.whole_somewhere():
        return
    refuse_incomplete(backup)
