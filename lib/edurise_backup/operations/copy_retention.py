"""Thin out a copy by the schedules' retention: its own restore points, by the same rules as the primary's."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

from edurise_backup.catalog.heartbeat import JobReporter
from edurise_backup.config import Settings
from edurise_backup.errors import NotFoundError
from edurise_backup.model.jobs import JobId, JobStatus
from edurise_backup.model.maintenance import ForgetFigures, MaintenanceFigures, MaintenanceJob, MaintenanceKind
from edurise_backup.model.people import Actor
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.model.stores import BackupCopy, CopyState
from edurise_backup.model.words import span
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.copy_contents import follow_contents, read_contents
from edurise_backup.operations.copy_holds import mirror_protections
from edurise_backup.operations.copy_jobs import run_on_copy
from edurise_backup.operations.copy_logs import tidy_logs
from edurise_backup.operations.guarding import authorise_forgetting
from edurise_backup.operations.jobs import storable
from edurise_backup.operations.retention_plan import plan_of_copy
from edurise_backup.operations.stores import find_copy
from edurise_backup.ports import Progress
from edurise_backup.repository.holds import kept_snapshots
from edurise_backup.repository.locks import wait_for_lock
from edurise_backup.repository.moments import moment_of
from edurise_backup.repository.repository import Repository

_SHOWN = 1000


def retain_copy(
    settings: Settings,
    catalog: Catalog,
    store: str,
    *,
    actor: Actor,
    grace: timedelta,
    wait: timedelta = timedelta(0),
    dry_run: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> MaintenanceJob:
    """Forget in a copy what the schedules' retention does not keep of the restore points that are there.

    It judges the copy's own restore points: the newest one there stays, whatever the primary has by now.
    """
    asked = f"grace {span(grace)}, by the schedules' retention"
    job = MaintenanceJob(
        JobId(uuid4()), MaintenanceKind.FORGET, JobStatus.QUEUED, dry_run=dry_run, store=store, asked=asked
    )

    def work(repository: Repository, reporter: JobReporter, started: MaintenanceJob) -> MaintenanceJob:
        reporter.phase("judge")
        there = read_contents(repository)
        rows = follow_contents(catalog, store, there, catalog.clock())
        if not dry_run:
            mirror_protections(catalog, repository, there)
        moments = {name: moment_of(there.snapshots[found].time) for name, found in there.ids.items()}
        plan = plan_of_copy(catalog, repository, rows, settings.objectives, catalog.clock(), moments=moments)
        cut_short = [row for row in rows.values() if row.state is CopyState.FORGOTTEN and any(row.snapshots)]
        if not dry_run and (plan.dropped or cut_short):
            authorise_forgetting(catalog, settings, actor, plan.dropped, grace)
            going = [*cut_short, *(rows[backup] for backup in plan.dropped)]
            _forget(catalog, repository, going, reporter, started, now=plan.as_of, actor=actor, grace=grace, wait=wait)
        if not (dry_run or find_copy(settings, catalog, store).settings.append_only):
            tidy_logs(repository, there, now=catalog.clock)
        until = plan.as_of + grace if plan.dropped and grace > timedelta(0) and not dry_run else None
        return replace(
            started,
            status=JobStatus.COMPLETED,
            figures=MaintenanceFigures(len(there.snapshots), forgotten=ForgetFigures(plan.dropped, until)),
            remarks=tuple(map(storable, plan.remarks[:_SHOWN])),
        )

    return run_on_copy(settings, catalog, job, work, progress=progress, stop=stop)


def _forget(
    catalog: Catalog,
    repository: Repository,
    going: Sequence[BackupCopy],
    progress: Progress,
    job: MaintenanceJob,
    *,
    now: datetime,
    actor: Actor,
    grace: timedelta,
    wait: timedelta,
) -> None:
    """Forget these in the copy; the audit row is written first, a backup's row once all of it has gone.

    A run that was cut short leaves a part of one: the next one finishes it.
    """
    detail = {"store": job.store, "backups": [str(row.backup_id) for row in going], "grace": str(grace)}
    catalog.audit.add(actor, "retention.forget", str(job.id), detail=detail)
    progress.phase("forget")
    with wait_for_lock(lambda: repository.lock(at_once=True), wait, progress.raise_if_cancelled):
        for row in going:
            progress.raise_if_cancelled()
            kept = kept_snapshots(repository.box, now)
            if not kept.keys().isdisjoint(row.snapshots):
                continue  # pinned or held since the plan: all of it stays
            for name in filter(None, reversed(row.snapshots)):  # the metadata first: a set that has it looks whole
                with suppress(NotFoundError):  # somebody else has forgotten it since
                    removed = catalog.clock()
                    repository.forget(SnapshotId(name), grace=grace, now=now, kept=kept, removed=removed)
            gone = tuple("" for _ in row.snapshots)
            catalog.copies.put([replace(row, state=CopyState.FORGOTTEN, snapshots=gone)])
