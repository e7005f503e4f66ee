"""Run a job on a copy: its row is in the catalog, its record in the copy, and the register says how it went."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from uuid import UUID

from edurise_backup.catalog.heartbeat import JobReporter
from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, CancelledError
from edurise_backup.model.jobs import JobId
from edurise_backup.model.maintenance import MaintenanceJob
from edurise_backup.model.stores import KnownStore
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.jobs import run_job, storable, told_in_row
from edurise_backup.operations.records import keep_record
from edurise_backup.operations.stores import find_copy, note_opened, opened_copy
from edurise_backup.ports import Progress
from edurise_backup.repository.repository import Repository

CopyWork = Callable[[Repository, JobReporter, MaintenanceJob], MaintenanceJob]


def begin_row(catalog: Catalog, job: MaintenanceJob, queued: JobId | None, flow_run_id: UUID | None) -> JobId | None:
    """Return the job's row that must tell what keeps it from starting: of a flow run, which nobody watches."""
    if queued is None and flow_run_id is not None:
        catalog.maintenance.create(job)
        catalog.maintenance.attach_flow_run(job.id, flow_run_id)
        return job.id
    return queued


def run_on_copy(
    settings: Settings,
    catalog: Catalog,
    job: MaintenanceJob,
    work: CopyWork,
    *,
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    queued: JobId | None = None,
    errand: Errand | None = None,
) -> MaintenanceJob:
    """Open the copy that the job names, do the work there, and return the finished job; raises what it raises."""
    row = begin_row(catalog, job, queued, flow_run_id)
    with told_in_row(catalog.maintenance, row):
        store = find_copy(settings, catalog, job.store)
        errand = errand or Errand(settings, progress=progress, stop=stop)
        errand.await_job(catalog, catalog.maintenance, row)
        repository = opened_copy(settings, catalog, store, errand.limits_of(store.name, store.settings))

        def run(reporter: JobReporter, started: MaintenanceJob) -> MaintenanceJob:
            return work(repository, reporter, started)

        try:
            done = run_job(
                catalog.maintenance,
                job,
                run,
                keep=partial(_keep, repository),
                flow_run_id=flow_run_id,
                progress=progress,
                stop=stop,
                errand=errand,
            )
        except CancelledError:
            raise
        except BackupError as error:
            _note_trouble(catalog, store, error)
            raise
        note_opened(settings, catalog, store, repository)
        return done


def _keep(repository: Repository, job: MaintenanceJob) -> None:
    if not job.dry_run:
        keep_record(repository, job)


def _note_trouble(catalog: Catalog, store: KnownStore, error: BackupError) -> None:
    with suppress(BackupError):  # the job's own row says it, too
        catalog.stores.note_trouble(store.name, storable(error.message), unreachable=False)
