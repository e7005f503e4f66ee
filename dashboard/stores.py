"""The door to the catalog for the page Storage and cost: one reading of everything that it shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import streamlit as st

from dashboard import queries
from dashboard.trends import FRESH
from edurise_backup.catalog.maintenance import MaintenanceJobs, RepositorySize
from edurise_backup.catalog.space import StoreSpace
from edurise_backup.catalog.trends import SourceStorage, storage_by_source
from edurise_backup.model.space import Forecast, forecast
from edurise_backup.operations.costs import StoreCosts, read_copy_costs, read_costs
from edurise_backup.operations.space import space_location

DAYS = 30
"""So far back growth is looked at."""


@dataclass(frozen=True, slots=True)
class StoreState:
    """What the page shows, of one moment."""

    costs: StoreCosts
    copies: tuple[StoreCosts, ...]
    sources: tuple[SourceStorage, ...]
    sizes: tuple[RepositorySize, ...]
    forecast: Forecast | None
    """When the store's disk is full; None: a bucket has no end."""

    @property
    def growth(self) -> float | None:
        """Bytes a day that the repository grew by; None when its size was recorded less than twice a day apart."""
        if len(self.sizes) < 2:
            return None
        first, last = self.sizes[0], self.sizes[-1]
        days = (last.moment - first.moment) / timedelta(days=1)
        return (last.bytes - first.bytes) / days if days >= 1 else None


@st.cache_data(ttl=FRESH, show_spinner=False)
def state() -> StoreState:
    """Return what is known of the configured store; raises UnreachableError or TransientError."""
    sessions, settings, now = queries.catalog().sessions, queries.settings(), datetime.now(UTC)
    since = now - timedelta(days=DAYS)
    location = space_location(settings)
    local = bool(location) and not location.startswith("s3:")
    return StoreState(
        costs=read_costs(sessions, settings, now),
        copies=read_copy_costs(queries.catalog(), settings, now),
        sources=storage_by_source(sessions, since),
        sizes=tuple(size for size in MaintenanceJobs(sessions).sizes() if size.moment >= since),
        forecast=forecast(StoreSpace(sessions).readings(location)) if local else None,
    )
