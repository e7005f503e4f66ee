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
from edurise_backup.operations.engine import Limits
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
) -> MaintenanceJob:
    """Open the copy that the job names, do the work there, and return the finished job; raises what it raises."""
    with told_in_row(catalog.maintenance, begin_row(catalog, job, queued, flow_run_id)):
        store = find_copy(settings, catalog, job.store)
        asked = _Asked(progress, stop)
        repository = opened_copy(settings, catalog, store, Limits(0, 0, asked))

        def run(reporter: JobReporter, started: MaintenanceJob) -> MaintenanceJob:
            asked.reporter = reporter
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
            )
        except CancelledError:
            raise
        except BackupError as error:
            _note_trouble(catalog, store, error)
            raise
        note_opened(settings, catalog, store, repository)
        return done


class _Asked:
    """Ends the waiting of a store whose server is ill, when somebody asked to stop: here, or in the job's row."""

    def __init__(self, progress: Progress | None, stop: threading.Event | None) -> None:
        self.reporter: JobReporter | None = None
        self._progress = progress
        self._stop = stop

    def __call__(self) -> None:
        if self.reporter is not None:
            self.reporter.raise_if_cancelled()
        elif self._stop is not None and self._stop.is_set():
            raise CancelledError("the job was cancelled", safe="what was published before it is whole")
        elif self._progress is not None:
            self._progress.raise_if_cancelled()


def _keep(repository: Repository, job: MaintenanceJob) -> None:
    if not job.dry_run:
        keep_record(repository, job)


def _note_trouble(catalog: Catalog, store: KnownStore, error: BackupError) -> None:
    with suppress(BackupError):  # the job's own row says it, too
        catalog.stores.note_trouble(store.name, storable(error.message), unreachable=False)
