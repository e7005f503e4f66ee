"""Bring a cluster back as it was at a moment, as a job: chosen, refused when impossible, restored, replayed, proved."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

from edurise_backup.catalog.heartbeat import JobReporter
from edurise_backup.config import Settings, load_settings
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
from edurise_backup.operations.catalogs import open_catalog
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.jobs import run_job, storable, told_in_row
from edurise_backup.operations.point_in_time.choosing import Choice, choose
from edurise_backup.operations.point_in_time.known import known_by_catalog
from edurise_backup.operations.point_in_time.opening import open_moment
from edurise_backup.operations.point_in_time.windows import only_cluster
from edurise_backup.operations.supply import Supply
from edurise_backup.ports import Progress
from edurise_backup.recovery.cluster.recovering import RecoveredCluster, RecoveryOptions, recover_cluster

_SHOWN = 1000
_BEFORE = "before "


def plan_recovery_to(
    moment: TargetMoment | str, *, source: str = "", base: str = "", store: str = "", settings: Settings | None = None
) -> Choice:
    """Say what a recovery to a moment would begin with, without doing anything; raises InputError, NotFoundError."""
    settings = settings or load_settings()
    name, target = only_cluster(settings, source).name, as_target(moment)
    with (
        open_catalog(settings) as catalog,
        open_moment(settings, catalog, name, target, Errand(settings), base=base, store=store) as opened,
    ):
        return replace(opened.choice, store=opened.supply.stores[0], store_notes=opened.store_notes)


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
    `store`: where it is taken from; else the first that has the moment, the primary before the copies, and the others
    step in for what it does not give.
    Raises InputError and its kinds before anything is written, BackupError after the job's row says failed.
    """
    settings = settings or load_settings()
    target = as_target(moment)
    cluster = only_cluster(settings, source)
    errand = Errand(settings, progress=progress, stop=stop)
    with open_catalog(settings) as catalog, told_in_row(catalog.recoveries, job_id):
        errand.await_job(catalog, catalog.recoveries, job_id)
        with open_moment(settings, catalog, cluster.name, target, errand, base=base, store=store) as opened:
            job = new_job(opened.choice, directory, target, job_id, opened.supply)

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
                supply = opened.supply
                found = replace(started, backup_id=job.backup_id, stores=supply.stores, store_notes=supply.tell())
                return ended(found, done, opened.warning)

            return run_job(
                catalog.recoveries,
                job,
                work,
                keep=opened.supply.keep,
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
    supply: Supply | None = None,
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
        stores=supply.stores if supply else (),
        store_notes=supply.tell() if supply else (),
    )


def ended(job: RecoveryJob, done: RecoveredCluster, warning: str = "") -> RecoveryJob:
    """Return the job with what the recovery brought and proved; `warning`: about the store that served."""
    findings = done.proof.findings
    left_out = f"the recovering server did not load {', '.join(done.left_out)}" if done.left_out else ""
    warnings = [*filter(None, [warning]), *done.problems, *filter(None, [left_out])]
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
