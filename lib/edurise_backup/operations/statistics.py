"""Figures over all backups, from the catalog alone."""

from __future__ import annotations

from edurise_backup.catalog.statistics import backup_stats
from edurise_backup.config import Settings, load_settings
from edurise_backup.model.jobs import BackupStats
from edurise_backup.operations.catalogs import open_catalog


def get_backup_stats(*, settings: Settings | None = None) -> BackupStats:
    """Return counts, sizes, ages and medians by type; raises UnreachableError."""
    with open_catalog(settings or load_settings()) as catalog:
        return backup_stats(catalog.sessions, catalog.clock())
