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
from edurise_backup.catalog.jobs import BackupJobs
from edurise_backup.catalog.recoveries import RecoveryJobs
from edurise_backup.catalog.statistics import JobSummary, backup_stats, open_jobs, recent_jobs
from edurise_backup.catalog.verifications import Verifications
from edurise_backup.config import Settings, load_settings
from edurise_backup.model.jobs import BackupFilters, BackupJob, BackupStats, JobId, RecoveryJob, Verification
from edurise_backup.operations import Catalog

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


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    """Return the settings that this dashboard was started with; raises ConfigError."""
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


@st.cache_data(ttl=timedelta(seconds=1), show_spinner=False)
def running() -> tuple[JobSummary, ...]:
    """Return the jobs that wait or run."""
    return open_jobs(catalog().sessions)


@st.cache_data(ttl=FRESH, show_spinner=False)
def good_backups() -> tuple[BackupJob, ...]:
    """Return the newest backups that can be verified or recovered."""
    return tuple(
        job for job in BackupJobs(catalog().sessions).find(BackupFilters(limit=2 * OFFERED)) if job.status.good
    )[:OFFERED]


def job(kind: str, job_id: UUID) -> BackupJob | Verification | RecoveryJob:
    """Return one job as it stands now; raises NotFoundError."""
    return _rows(kind).get(job_id)


@st.cache_resource(show_spinner=False)
def actions() -> Actions:
    """Return the door to Prefect; raises ConfigError."""

    def withdraw(kind: str, job_id: JobId) -> bool:
        return _rows(kind).request_cancel(job_id)

    return Actions(settings(), withdraw=withdraw)


def _rows(kind: str) -> BackupJobs | Verifications | RecoveryJobs:
    sessions = catalog().sessions
    if kind == "backup":
        return BackupJobs(sessions)
    return Verifications(sessions) if kind == "verification" else RecoveryJobs(sessions)
