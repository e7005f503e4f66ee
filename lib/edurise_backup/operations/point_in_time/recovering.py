"""Bring a cluster back as it was at a moment, as a job: chosen, refused when impossible, restored, replayed, proved."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

from edurise_backup.catalog.heartbeat import JobReporter
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.cluster import ClusterRecord
from edurise_backup.model.jobs import (
    BackupType,
    JobId,
    JobStatus,
    RecoveryJob,
    RecoveryTarget,
    Verdict,
)
from edurise_backup.model.recovery_target import TargetMoment, parse_target
from edurise_backup.model.settings import ClusterSettings
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.clusters import record_in
from edurise_backup.operations.copy_contents import read_contents
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.jobs import run_job, storable, told_in_row
from edurise_backup.operations.opening import readable
from edurise_backup.operations.point_in_time.choosing import Choice, choose
from edurise_backup.operations.point_in_time.known import known_by_catalog, read_known
from edurise_backup.operations.point_in_time.opening import Serving, open_nearest
from edurise_backup.operations.point_in_time.windows import only_cluster
from edurise_backup.operations.records import keep_record
from edurise_backup.ports import Progress
from edurise_backup.recovery.cluster.recovering import RecoveredCluster, RecoveryOptions, recover_cluster
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_archive import WalArchive, open_archive

_SHOWN = 1000
_BEFORE = "before "


@dataclass(frozen=True, slots=True)
class Opened:
    """What a recovery to a moment works with; the repository is readable."""

    repository: Repository
    archive: WalArchive
    choice: Choice
    record: ClusterRecord
    tree: str
    """The base backup's snapshot's."""


def plan_recovery_to(
    moment: TargetMoment | str, *, source: str = "", base: str = "", store: str = "", settings: Settings | None = None
) -> Choice:
    """Say what a recovery to a moment would begin with, without doing anything; raises InputError, NotFoundError."""
    settings = settings or load_settings()
    name = only_cluster(settings, source).name
    with open_catalog(settings) as catalog:
        repository = open_nearest(settings, catalog, Errand(settings), only=store).repository
        with readable(repository):
            known = read_known(repository, catalog.wal, name, host=settings.host)
            return choose(known, as_target(moment), base=base)


def recover_to(
    moment: TargetMoment | str,
    directory: Path,
    *,
    source: str = "",
    base: str = "",
    store: str = "",
    tablespaces: Mapping[int, Path] | None = None,
    amcheck: bool = True,
    settings: Settings | None = None,
    job_id: JobId | None = None,
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> RecoveryJob:
    """Bring a cluster back into a new or empty directory as it was at a moment; return the finished, proved job.

    `moment` as `model.recovery_target` writes it (`time:…`, `xid:…`, `lsn:…`, `name:…`, `immediate`, `latest`).
    No server runs afterwards; the directory is a cluster of its own on a new timeline, which archives nowhere.
    `store`: where it is taken from; else the primary, or the nearest copy when that does not open.
    Raises InputError and its kinds before anything is written, BackupError after the job's row says failed.
    """
    settings = settings or load_settings()
    target = as_target(moment)
    cluster = only_cluster(settings, source)
    errand = Errand(settings, progress=progress, stop=stop)
    with open_catalog(settings) as catalog, told_in_row(catalog.recoveries, job_id):
        errand.await_job(catalog, catalog.recoveries, job_id)
        serving = open_nearest(settings, catalog, errand, only=store)
        repository = serving.repository
        with readable(repository):
            opened = open_moment(settings, catalog, repository, cluster, target, base)
            job = new_job(opened.choice, directory, target, job_id, serving)

            def work(reporter: JobReporter, started: RecoveryJob) -> RecoveryJob:
                done = recover_cluster(
                    opened.repository,
                    opened.tree,
                    opened.record,
                    opened.archive,
                    opened.choice.target,
                    directory,
                    tablespaces=tablespaces,
                    options=options_of(cluster, opened.choice, amcheck=amcheck),
                    progress=reporter,
                )
                found = replace(started, backup_id=job.backup_id, stores=job.stores, store_notes=job.store_notes)
                return ended(found, done)

            return run_job(
                catalog.recoveries,
                job,
                work,
                keep=partial(keep_record, repository),
                flow_run_id=flow_run_id,
                progress=progress,
                stop=stop,
                errand=errand,
            )


def queue_recovery_to(moment: str, directory: Path, *, source: str = "", settings: Settings | None = None) -> JobId:
    """Write the row of a recovery to a moment that a flow run will do; return its id.

    Chosen by the catalog, without the repository; the run chooses anew. Raises InputError, NotFoundError.
    """
    settings = settings or load_settings()
    target, cluster = as_target(moment), only_cluster(settings, source)
    with open_catalog(settings) as catalog:
        choice = choose(known_by_catalog(catalog, cluster.name), target)
        job = new_job(choice, directory, target)
        catalog.recoveries.create(job)
        return job.id


def open_moment(
    settings: Settings,
    catalog: Catalog,
    repository: Repository,
    cluster: ClusterSettings,
    target: TargetMoment,
    base: str = "",
) -> Opened:
    """Choose, and open what the recovery reads; raises InputError, NotFoundError, DamageError."""
    known = read_known(repository, catalog.wal, cluster.name, host=settings.host)
    choice = choose(known, target, base=base)
    ids = read_contents(repository).ids  # a copy's snapshots have names of their own
    bases = catalog.wal.bases(cluster.name, elsewhere=True)
    backup = next((one for one in bases if ids.get(one.snapshot_id) == choice.base.snapshot_id), None)
    if backup is None:
        raise NotFoundError(
            f"the catalog does not know the base backup {choice.base.snapshot_id[:8]}",
            safe="nothing was restored or changed",
            hint="`edurise-backup rebuild-catalog` reads it from the repository",
        )
    tree = repository.load_snapshot(SnapshotId(choice.base.snapshot_id)).tree
    record = record_in(repository, tree, cluster.name)
    if record is None:
        raise DamageError(f"the record of the base backup {choice.base.snapshot_id[:8]} cannot be read")
    archive = open_archive(repository, cluster.name, host=settings.host)
    if archive is None:
        archive = WalArchive(
            repository, cluster.name, record.system_identifier, record.segment_size, host=settings.host
        )
    return Opened(repository, archive, replace(choice, base=backup), record, tree)


def as_target(moment: TargetMoment | str) -> TargetMoment:
    """Return a moment that may be in words, `before ` in front of them for just before it; raises InputError."""
    if not isinstance(moment, str):
        return moment
    words = moment.strip()
    return parse_target(words.removeprefix(_BEFORE), inclusive=not words.startswith(_BEFORE))


def options_of(cluster: ClusterSettings, choice: Choice, *, amcheck: bool = True) -> RecoveryOptions:
    """Return how a recovery of this cluster is done."""
    bindir = Path(cluster.bindir) if cluster.bindir else None
    return RecoveryOptions(bindir=bindir, amcheck=amcheck, expected=choice.expected)


def new_job(
    choice: Choice,
    directory: Path,
    target: TargetMoment,
    job_id: JobId | None = None,
    serving: Serving | None = None,
) -> RecoveryJob:
    """Return the row of a recovery that begins."""
    assert choice.base.backup_id is not None
    return RecoveryJob(
        id=job_id or JobId(uuid4()),
        backup_id=JobId(choice.base.backup_id),
        type=BackupType.CLUSTER,
        status=JobStatus.QUEUED,
        target_time=target.time or (choice.window.end_at if target.latest else choice.base.stop_at),
        target=RecoveryTarget(
            str(directory.absolute()), parts=(BackupType.CLUSTER,), moment=str(target), source=choice.base.source
        ),
        stores=(serving.store,) if serving else (),
        store_notes=serving.notes if serving else (),
    )


def ended(job: RecoveryJob, done: RecoveredCluster) -> RecoveryJob:
    """Return the job with what the recovery brought and proved."""
    findings = done.proof.findings
    left_out = f"the recovering server did not load {', '.join(done.left_out)}" if done.left_out else ""
    warnings = [*done.problems, *([left_out] if left_out else [])]
    good = JobStatus.COMPLETED_WITH_WARNINGS if warnings else JobStatus.COMPLETED
    return replace(
        job,
        status=JobStatus.FAILED if findings else good,
        verification_status=Verdict.FAILED if findings else Verdict.PASSED,
        restored_bytes=done.bytes,
        findings=tuple(map(storable, findings[:_SHOWN])),
        checks=tuple(map(storable, done.proof.checks)),
        warnings=tuple(map(storable, warnings[:_SHOWN])),
        error=storable(f"what was recovered does not pass its proof: {findings[0]}") if findings else None,
        hint="recover to another moment or from another base backup (--base)" if findings else None,
        target_time=done.replayed.last_commit or job.target_time,
    )
