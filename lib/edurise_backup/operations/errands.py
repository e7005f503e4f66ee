"""What one job asks of stores: counted for each, held to the limits of the time of day, and ended with the job."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from datetime import datetime
from uuid import UUID

from edurise_backup.catalog.lifecycle import Jobs
from edurise_backup.catalog.records import JobRecord, kind_of
from edurise_backup.catalog.rows import RecordT
from edurise_backup.catalog.store_use import StoreUse
from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, CancelledError
from edurise_backup.model.bandwidth import download_schedule, upload_schedule
from edurise_backup.model.jobs import JobStatus
from edurise_backup.model.store_settings import StoreSettings
from edurise_backup.model.stores import PRIMARY
from edurise_backup.model.traffic import Traffic
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.opening import Limits
from edurise_backup.ports import Progress
from edurise_backup.s3.traffic import Meter

_log = logging.getLogger(__name__)
_LOOK_EVERY = 1.0
"""Seconds between two looks whether a queued job was cancelled before it could start."""


class Errand:
    """Is there before the job is: opening a repository may take long, too, when its server is ill."""

    def __init__(
        self,
        settings: Settings,
        *,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._use: StoreUse | None = None
        self._progress = progress
        self._stop = stop
        self._meters: dict[str, Meter] = {}
        self._clock = settings.around.clock
        self._queued: tuple[Jobs[JobRecord], UUID] | None = None
        self._looked = time.monotonic()
        self.limits = self.limits_of(PRIMARY, settings.repository)

    def limits_of(self, name: str, store: StoreSettings) -> Limits:
        """Return the limits of a store by its own settings; what is asked of it is counted under its name."""
        return Limits(
            upload_schedule(store.bandwidth, store.bandwidth_zone),
            download_schedule(store.bandwidth, store.bandwidth_zone),
            self.raise_if_cancelled,
            meter=self._meters.setdefault(name, Meter()),
            clock=self._clock,
        )

    def await_job(self, catalog: Catalog, jobs: Jobs[RecordT], job_id: UUID | None) -> None:
        """Until the job starts, look at its row (if there is one): a person may cancel it before."""
        self._use = catalog.store_use
        if job_id is not None:
            self._queued = (jobs, job_id)  # type: ignore[assignment]  # only its status is read

    def follow(self, progress: Progress) -> None:
        """The job has started: from now on its reporter says when to stop."""
        self._queued = None
        self._progress = progress

    def end(self) -> None:
        """The work is done: a request to stop that comes now comes too late, and must not cost its record."""
        self._progress = self._stop = None

    def raise_if_cancelled(self) -> None:
        """Raise CancelledError when the job is to stop; asked several times a second while a store waits."""
        if self._stop is not None and self._stop.is_set():
            raise _cancelled()
        if self._progress is not None:
            self._progress.raise_if_cancelled()
        if self._queued is not None and time.monotonic() - self._looked >= _LOOK_EVERY:
            self._looked = time.monotonic()
            jobs, job_id = self._queued
            try:
                ended = jobs.get(job_id).status is JobStatus.CANCELLED
            except BackupError:  # the catalog's trouble is not the store's
                return
            if ended:
                raise _cancelled()

    def traffic(self, store: str = PRIMARY) -> Traffic:
        """Return what was asked of a store so far."""
        return self._meters[store].read()

    def count(self, store: str, traffic: Traffic) -> None:
        """Count what others have asked of a store for this job."""
        meter = self._meters.setdefault(store, Meter())
        for operation, count in traffic.operations.items():
            meter.add(operation, count)

    def note_queued(self) -> None:
        """Write down what a queued job asked that ends before it could start."""
        if self._queued is None:
            return
        jobs, job_id = self._queued
        with suppress(BackupError):
            self.note(jobs.get(job_id), self._clock())

    def note(self, job: JobRecord, at: datetime) -> None:
        """Write down what the job asked; what keeps it from being written is logged, and fails no job."""
        use = self._use
        if use is None:
            return
        for store, meter in self._meters.items():
            traffic = meter.read()
            if not traffic.operations:
                continue  # a directory is asked for nothing that anybody counts
            try:
                use.add_traffic(job.id, kind_of(job).value, at, traffic, store=store)
            except BackupError as error:
                _log.warning("the requests of %s could not be recorded: %s", job.id, error)


def _cancelled() -> CancelledError:
    return CancelledError("the job was cancelled", safe="what was published before it is whole", hint="start it again")
