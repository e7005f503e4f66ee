"""Bring a backup back into fresh databases and a fresh directory, and prove that it is what was backed up.

Nothing live is touched: what exists already is a reason to refuse, before a
byte is written.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

from edurise_backup.catalog.heartbeat import JobReporter
from edurise_backup.catalog.records import JobKind
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import DamageError, InputError, NotFoundError
from edurise_backup.model.database import DatabaseRecord, Globals, decode_record
from edurise_backup.model.jobs import (
    BackupJob,
    BackupType,
    BucketsTo,
    JobId,
    JobStatus,
    PartResult,
    RecoveryJob,
    RecoveryTarget,
    Verdict,
)
from edurise_backup.model.settings import DatabaseSettings
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.backups import find_backup
from edurise_backup.operations.buckets import bucket_target, is_of_bucket
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.collection import database_folder
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.jobs import run_job, storable, told_in_row
from edurise_backup.operations.recovery_target import (
    Needs,
    NewDatabase,
    make_private_directory,
    part_directory,
    refuse_names,
    refuse_taken,
    refuse_used_directory,
)
from edurise_backup.operations.servers import database_address, database_tools
from edurise_backup.operations.sharding import ShardedJob, shares_workers
from edurise_backup.operations.shared_sources import shared_source
from edurise_backup.operations.supply import Supply, open_supply
from edurise_backup.operations.verifications import refuse_incomplete
from edurise_backup.ports import Progress, Workers
from edurise_backup.recovery.database import restore_database
from edurise_backup.recovery.database_proof import prove_database
from edurise_backup.recovery.into_bucket import BucketTarget, Existing, plan_objects, restore_into_bucket
from edurise_backup.recovery.planning import plan_restore
from edurise_backup.recovery.restorer import prove_files, restore
from edurise_backup.recovery.streaming import SnapshotFiles
from edurise_backup.sources.database import GLOBALS

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
    status `failed` and its `findings`.
    The bytes come from the nearest store that has them whole, or from
    `target.store` alone; when one fails in the middle, the next steps in, and
    the job's `store_notes` say so (`operations/supply`). `workers` share what is
    written of sources that are configured so, from the primary; they must see
    the directory at the same place. Before anything is made, all names, the
    directory and the room on the disks of this host are checked: raises
    InputError (and its kinds) and SpaceError,
    nothing was changed. Raises BackupError when the restore failed.
    """
    settings = settings or load_settings()
    with open_catalog(settings) as catalog, told_in_row(catalog.recoveries, job_id):
        backup = find_backup(catalog, backup_id)
        refuse_unrecoverable(catalog, backup)
        parts = chosen_parts(backup, target)
        errand = Errand(settings, progress=progress, stop=stop)
        errand.await_job(catalog, catalog.recoveries, job_id)
        supply = open_supply(settings, catalog, backup, parts, errand, only=target.store)
        recovery = _Recovery(settings, supply, target, parts)
        recovery.check_target()
        job = replace(_new_job(backup, target, job_id), stores=supply.stores, store_notes=told(supply))

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


class _Recovery:
    """One running recovery job."""

    def __init__(self, settings: Settings, supply: Supply, target: RecoveryTarget, parts: list[PartResult]) -> None:
        self._settings = settings
        self._supply = supply
        self._repository = supply.repository
        self._target = target
        self._parts = parts
        self._checks: list[str] = []
        self._findings: list[str] = []
        self._warnings: list[str] = []
        self._bytes = 0

    def check_target(self) -> None:
        """Raise InputError, ConflictError, SpaceError when the target is in use, impossible or too small."""
        directory = Path(self._target.directory)
        refuse_used_directory(directory)
        if not len(self._repository.index):
            self._repository.load_index(strict=False)
        needs = Needs()
        new: list[NewDatabase] = []
        for part in self._parts:
            own = part_directory(directory, part)
            with suppress(DamageError):  # the recovery itself meets the damage, and tells it in its row
                if part.part is BackupType.DATABASE:
                    new += self._new_databases(part)
                elif self._goes_back(part):
                    self._bucket_target(part).check(SilentProgress())
                else:
                    needs.add(own, plan_restore(self._repository, self._supply.tree_of(part)).room)
        refuse_names(new)
        self._checks += refuse_taken(new, needs)
        needs.refuse_without_room()

    def _new_databases(self, part: PartResult) -> list[NewDatabase]:
        server = self._server(part)
        address = database_address(server)
        return [
            NewDatabase(record, record.name + self._target.database_suffix, server.name, address)
            for record in self._records(part, self._files(part))
        ]

    def run(self, progress: Progress, job: RecoveryJob, shared: ShardedJob | None) -> RecoveryJob:
        """Restore part after part, each proved right after it is there."""
        with self._supply.held():
            for part in self._parts:
                if part.part is BackupType.DATABASE:
                    self._databases(part, progress)
                elif self._goes_back(part):
                    self._bucket(part, progress)
                else:
                    self._tree(part, progress, shared)
        passed = not self._findings
        return replace(
            job,
            status=(JobStatus.COMPLETED_WITH_WARNINGS if self._warnings else JobStatus.COMPLETED)
            if passed
            else JobStatus.FAILED,
            verification_status=Verdict.PASSED if passed else Verdict.FAILED,
            restored_bytes=self._bytes,
            findings=tuple(map(storable, self._findings[:_SHOWN])),
            checks=tuple(self._checks),
            stores=self._supply.stores,
            store_notes=told(self._supply),
            warnings=tuple(map(storable, self._warnings[:_SHOWN])),
            error=None if passed else f"what was restored differs from the backup in {len(self._findings)} places",
            hint=None if passed else "verify the backup, then recover into another fresh target",
        )

    def _databases(self, part: PartResult, progress: Progress) -> None:
        settings = self._server(part)
        address = database_address(settings)
        tools = database_tools(settings, address)
        files = self._files(part)
        server_globals = decode_record(files.read(f"{database_folder(part.source)}/{GLOBALS}"), Globals)
        for record in self._records(part, files):
            name = record.name + self._target.database_suffix
            progress.phase(f"restore database {name}")
            restored = restore_database(
                files,
                record,
                address=address,
                new_name=name,
                tools=tools,
                server_globals=server_globals,
                parallel=settings.parallel,
                progress=progress,
            )
            self._checks += [note for note in restored.notes if note not in self._checks]
            progress.phase(f"prove database {name}")
            proof = prove_database(
                record, address=address, new_name=name, parallel=settings.parallel, progress=progress
            )
            self._checks += [f"{name}: {check}" for check in proof.checks]
            self._findings += [f"{name}: {finding}" for finding in proof.findings]
        self._bytes += part.source_bytes

    def _tree(self, part: PartResult, progress: Progress, shared: ShardedJob | None) -> None:
        shot = self._supply.shot_of(part)
        directory = part_directory(Path(self._target.directory), part)
        plan = plan_restore(self._repository, shot.tree, paths=shot.paths)
        progress.phase(f"restore {part.part.value} {part.source}", bytes_total=plan.bytes)
        make_private_directory(Path(self._target.directory))
        if not shared_source(self._settings, part.part, part.source):
            shared = None
        if shared is not None:
            restored = shared.restore(plan, directory, helped=self._supply.helped)
        else:
            restored = restore(self._repository, plan, directory, progress=progress)
        self._bytes += restored.bytes
        self._warnings += restored.problems
        progress.phase(f"prove {part.part.value} {part.source}", bytes_total=plan.bytes)
        if shared is not None:
            compared, differences = shared.prove_restored(shot.tree, directory, helped=self._supply.helped)
        else:
            compared, differences = prove_files(self._repository, shot.tree, directory, progress=progress)
        self._checks.append(f"{part.part.value} {part.source}: {compared} files have the bytes of the backup")
        self._findings += differences

    def _goes_back(self, part: PartResult) -> bool:
        """Whether the part is a bucket's, and goes into a bucket."""
        return self._target.buckets is not BucketsTo.FILES and is_of_bucket(self._supply.shot_of(part))

    def _bucket_target(self, part: PartResult) -> BucketTarget:
        existing = Existing.REFUSE if self._target.buckets is BucketsTo.EMPTY else Existing.KEEP
        return bucket_target(self._settings, part.source, existing)

    def _bucket(self, part: PartResult, progress: Progress) -> None:
        plan = plan_objects(plan_restore(self._repository, self._supply.tree_of(part)))
        target = self._bucket_target(part)
        progress.phase(f"restore bucket {part.source}", bytes_total=plan.bytes)
        done = restore_into_bucket(self._repository, plan, target, progress=progress)
        self._bytes += done.bytes
        self._warnings += [*plan.left_out, *done.problems]
        self._checks.append(
            f"bucket {part.source}: {done.sent} objects were sent to {target.wire.place.address} and looked at there, "
            f"{done.equal} were there and have the bytes and headers of the backup"
        )
        self._findings += done.failed

    def _server(self, part: PartResult) -> DatabaseSettings:
        wanted = self._target.database_source or part.source
        for source in self._settings.databases:
            if source.name == wanted:
                return source
        raise NotFoundError(
            f"no database source is named {wanted!r}",
            hint="name the server that receives the databases with --database-source",
        )

    def _records(self, part: PartResult, files: SnapshotFiles) -> list[DatabaseRecord]:
        top = database_folder(part.source)
        return [
            decode_record(files.read(f"{top}/{folder}/database.json"), DatabaseRecord) for folder in files.names(top)
        ]

    def _files(self, part: PartResult) -> SnapshotFiles:
        return SnapshotFiles(self._repository, self._supply.tree_of(part))


def told(supply: Supply) -> tuple[str, ...]:
    """Return what a row says of the stores that serve a recovery."""
    return tuple(map(storable, supply.tell()))


def refuse_unrecoverable(catalog: Catalog, backup: BackupJob) -> None:
    """Raise InputError for a backup that has not ended well, or that neither the primary nor a copy has any more."""
    if backup.status.good and backup.id in catalog.copies.whole_somewhere():
        return
    refuse_incomplete(backup)
