"""The door to the catalog for the pages that look back: Storage trends, Performance, Reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import streamlit as st

from dashboard import queries
from edurise_backup.catalog.maintenance import MaintenanceJobs, RepositorySize
from edurise_backup.catalog.reports import Reports
from edurise_backup.catalog.space import StoreSpace
from edurise_backup.catalog.trends import (
    PhaseFigures,
    SourceStorage,
    StorageDay,
    WorkDay,
    WorkFigures,
    phase_figures,
    storage_by_day,
    storage_by_source,
    work_by_day,
    work_figures,
)
from edurise_backup.errors import NotFoundError
from edurise_backup.model.reports import Report
from edurise_backup.model.space import Forecast, SpaceReading, forecast
from edurise_backup.operations.space import space_location

SPANS = {30: "The last 30 days", 90: "The last 90 days", 366: "The last year"}
"""Days that a page looks back."""
FRESH = timedelta(seconds=20)
"""These figures cost more than those of the other pages, and change less."""


@dataclass(frozen=True, slots=True)
class Storage:
    """What the page Storage trends shows, of one moment."""

    days: tuple[StorageDay, ...]
    sources: tuple[SourceStorage, ...]
    sizes: tuple[RepositorySize, ...]
    space: tuple[SpaceReading, ...]
    forecast: Forecast


@dataclass(frozen=True, slots=True)
class Performance:
    """What the page Performance shows, of one moment."""

    work: tuple[WorkFigures, ...]
    days: tuple[WorkDay, ...]
    phases: tuple[PhaseFigures, ...]


@st.cache_data(ttl=FRESH, show_spinner=False)
def storage(days: int) -> Storage:
    """Return the figures of so many days; raises UnreachableError or TransientError."""
    sessions, now = queries.catalog().sessions, datetime.now(UTC)
    since = now - timedelta(days=days)
    space = StoreSpace(sessions).readings(space_location(queries.settings()))
    return Storage(
        days=storage_by_day(sessions, since),
        sources=storage_by_source(sessions, since),
        sizes=tuple(size for size in MaintenanceJobs(sessions).sizes() if size.moment >= since),
        space=space,
        forecast=forecast(space),
    )


@st.cache_data(ttl=FRESH, show_spinner=False)
def performance(days: int) -> Performance:
    """Return the figures of so many days; raises UnreachableError or TransientError."""
    sessions, since = queries.catalog().sessions, datetime.now(UTC) - timedelta(days=days)
    limits = objectives()
    return Performance(
        work=work_figures(
            sessions,
            since,
            full=limits["full"],
            incremental=limits["incremental"],
            verification=limits["verification"],
            recovery=limits["recovery"],
        ),
        days=work_by_day(sessions, since),
        phases=phase_figures(sessions, since),
    )


def objectives() -> dict[str, int]:
    """Return the seconds that each kind of work may take."""
    wanted = queries.settings().objectives
    return {
        "full": wanted.full_backup_minutes * 60,
        "incremental": wanted.incremental_backup_minutes * 60,
        "verification": wanted.verification_minutes * 60,
        "recovery": wanted.recovery_minutes * 60,
    }


def free_days() -> int:
    """Return how many days there must be at least until the store is full."""
    return queries.settings().objectives.free_days


@st.cache_data(ttl=queries.FRESH, show_spinner=False)
def reports() -> tuple[Report, ...]:
    """Return the newest reports."""
    return Reports(queries.catalog().sessions).newest(limit=100)


def report(report_id: UUID) -> Report | None:
    """Return a report as the catalog has it now, or None while it is not there."""
    try:
        return Reports(queries.catalog().sessions).get(report_id)
    except NotFoundError:
        return None
