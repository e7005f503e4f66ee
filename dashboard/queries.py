"""The door to the catalog: everything that a page shows is read here, by short SELECTs.

No page opens the repository or asks a store. What was read is kept for a few
seconds, so that many open pages cost the catalog no more than one.
"""

from __future__ import annotations

import atexit
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import streamlit as st

from dashboard.actions import Actions
from edurise_backup import operations
from edurise_backup.catalog.expected_runs import ExpectedRuns
from edurise_backup.catalog.jobs import BackupJobs
from edurise_backup.catalog.maintenance import MaintenanceJobs, RepositorySize
from edurise_backup.catalog.records import JobRecord
from edurise_backup.catalog.recoveries import RecoveryJobs
from edurise_backup.catalog.schedules import Schedules
from edurise_backup.catalog.statistics import JobSummary, backup_stats, open_jobs, recent_jobs
from edurise_backup.catalog.store_use import StoreUse
from edurise_backup.catalog.verifications import Verifications
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import InputError
from edurise_backup.model.jobs import BackupFilters, BackupJob, BackupStats, JobId, JobStatus
from edurise_backup.model.maintenance import MaintenanceJob, MaintenanceKind
from edurise_backup.model.schedules import ExpectedRun, Schedule
from edurise_backup.model.traffic import Traffic
from edurise_backup.monitoring.redaction import protect_logs
from edurise_backup.operations import Catalog
from edurise_backup.operations.places import Places
from edurise_backup.operations.schedules import PreviewedRun, previewed
from edurise_backup.operations.workers import WorkerState, list_workers

FRESH = timedelta(seconds=2)
RECENT = 20
OFFERED = 50
"""Backups that can be picked for a verification or a recovery."""


@dataclass(frozen=True, slots=True)
class Overview:
    """What the first page shows, of one moment."""

    as_of: datetime
    stats: BackupStats
    recent: tuple[JobSummary, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing was ever started."""
        return not self.recent


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """What the page of the repository shows, of one moment."""

    as_of: datetime
    last_prune: MaintenanceJob | None
    """The newest that has ended, whatever its end; as the next two."""
    last_dry_run: MaintenanceJob | None
    last_check: MaintenanceJob | None
    good_check: MaintenanceJob | None
    """The newest whose work was done, whatever it found: its figures stand."""
    good_prune: MaintenanceJob | None
    recent: tuple[MaintenanceJob, ...]
    sizes: tuple[RepositorySize, ...]
    gone: tuple[BackupJob, ...]
    """Good backups that are forgotten or missing, newest first."""


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """A schedule with its past and its future."""

    schedule: Schedule
    runs: tuple[ExpectedRun, ...]
    """Those whose time has come, newest first."""
    ahead: tuple[PreviewedRun, ...]


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    """Return the settings that this dashboard was started with; raises ConfigError."""
    protect_logs()
    return load_settings()


@st.cache_resource(show_spinner=False, on_release=lambda catalog: catalog.close())
def catalog() -> Catalog:
    """Return the catalog, opened once for all sessions; raises UnreachableError."""
    opened = operations.open_catalog(settings())
    atexit.register(opened.close)  # leaving an embedded server to itself would keep it running for ever
    return opened


@st.cache_data(ttl=FRESH, show_spinner=False)
def overview() -> Overview:
    """Return figures and recent jobs; raises UnreachableError or TransientError."""
    now = datetime.now(UTC)
    sessions = catalog().sessions
    return Overview(now, backup_stats(sessions, now), recent_jobs(sessions, limit=RECENT))


@st.cache_data(ttl=FRESH, show_spinner=False)
def repository() -> RepositoryState:
    """Return what is known of the repository; raises UnreachableError or TransientError."""
    sessions = catalog().sessions
    jobs = MaintenanceJobs(sessions)
    unrestorable = [
        job
        for status in JobStatus
        if status.good
        for job in BackupJobs(sessions).find(BackupFilters(status=status, restorable=False, limit=OFFERED))
    ]
    return RepositoryState(
        as_of=datetime.now(UTC),
        last_prune=jobs.last(MaintenanceKind.PRUNE),
        last_dry_run=jobs.last(MaintenanceKind.PRUNE, dry_run=True),
        last_check=jobs.last(MaintenanceKind.CHECK),
        good_check=jobs.last(MaintenanceKind.CHECK, good=True),
        good_prune=jobs.last(MaintenanceKind.PRUNE, good=True),
        recent=jobs.newest(limit=RECENT),
        sizes=jobs.sizes(),
        gone=tuple(unrestorable),
    )


@st.cache_data(ttl=FRESH, show_spinner=False)
def schedules() -> tuple[ScheduleState, ...]:
    """Return all schedules by name; raises UnreachableError or TransientError."""
    now, sessions = datetime.now(UTC), catalog().sessions
    runs = ExpectedRuns(sessions)
    return tuple(
        ScheduleState(one, runs.newest(one.id, before=now, limit=10), _ahead(one, now))
        for one in Schedules(sessions).all()
    )


def _ahead(schedule: Schedule, now: datetime) -> tuple[PreviewedRun, ...]:
    try:
        return tuple(previewed(schedule, now, 10))
    except InputError:  # a row that somebody wrote past the product: the page shows it, and lets it be edited
        return ()


@st.cache_data(ttl=timedelta(seconds=1), show_spinner=False)
def running() -> tuple[JobSummary, ...]:
    """Return the jobs that wait or run."""
    return open_jobs(catalog().sessions)


@st.cache_data(ttl=FRESH, show_spinner=False)
def good_backups() -> tuple[BackupJob, ...]:
    """Return the newest backups that can be verified or recovered."""
    return BackupJobs(catalog().sessions).find(BackupFilters(restorable=True, limit=OFFERED))


def job(kind: str, job_id: UUID) -> JobRecord:
    """Return one job as it stands now; raises NotFoundError."""
    return _rows(kind).get(job_id)


def traffic_of(job_id: UUID) -> Traffic:
    """Return what a job asked of the store, by operation."""
    return StoreUse(catalog().sessions).traffic_of(job_id)


def request_cancel(kind: str, job_id: JobId) -> bool:
    """Ask a job to stop; False when it has ended. Raises NotFoundError."""
    return _rows(kind).request_cancel(job_id)


@st.cache_resource(show_spinner=False)
def actions() -> Actions:
    """Return the door to Prefect; raises ConfigError."""

    from dashboard import people  # which reads the catalog through this module

    return Actions(
        settings(),
        withdraw=request_cancel,
        permitted=people.permitted,
        audit=lambda: catalog().audit,
        place=lambda kind, source: Places.of(catalog()).backup(kind, source),
        living=lambda: {state.worker.host for state in workers() if state.lives},
    )


@st.cache_data(ttl=FRESH, show_spinner=False)
def workers() -> tuple[WorkerState, ...]:
    """Return the hosts that share the work, none where one machine does everything; raises as `running`."""
    return list_workers(catalog())


def _rows(kind: str) -> BackupJobs | Verifications | RecoveryJobs | MaintenanceJobs:
    sessions = catalog().sessions
    match kind:
        case "backup":
            return BackupJobs(sessions)
        case "verification":
            return Verifications(sessions)
        case "recovery":
            return RecoveryJobs(sessions)
        case _:
            return MaintenanceJobs(sessions)
