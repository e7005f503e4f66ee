"""How the reception of each cluster's log stands, from the catalog alone."""

from __future__ import annotations

from edurise_backup.config import Settings
from edurise_backup.model.wal_status import WalStatus
from edurise_backup.operations.catalogs import open_catalog


def read_status(settings: Settings) -> tuple[WalStatus, ...]:
    """Return a row for each log that was ever received; raises UnreachableError."""
    with open_catalog(settings) as catalog:
        return catalog.wal.statuses()
