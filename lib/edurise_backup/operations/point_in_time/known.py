"""What is known of a cluster's moments: the repository says what is there, the catalog what happened in it."""

from __future__ import annotations

from collections.abc import Sequence

from edurise_backup.catalog.wal import WalCatalog
from edurise_backup.model.recovery_window import RecoveryWindow
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.model.wal_status import BaseBackup
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.clusters import record_in
from edurise_backup.operations.point_in_time.choosing import Known
from edurise_backup.operations.point_in_time.windows import windows_in, windows_of
from edurise_backup.repository.repository import Repository

_EVENTS = 10_000


def read_known(repository: Repository, catalog: WalCatalog, source: str, *, host: str) -> Known:
    """Return what is known; the index must be loaded. Raises DamageError."""
    windows = windows_in(repository, source, host=host)
    next_xids = []
    for snapshot_id in dict.fromkeys(base.snapshot_id for window in windows for base in window.bases):
        record = record_in(repository, repository.load_snapshot(SnapshotId(snapshot_id)).tree, source)
        if record is not None and record.next_xid:
            next_xids.append((snapshot_id, record.next_xid))
    return _known(catalog, source, windows, next_xids)


def known_by_catalog(catalog: Catalog, source: str) -> Known:
    """Return what the catalog alone knows: of a transaction without a mark only that it may be in the newest window."""
    windows = windows_of(catalog, source).windows
    newest = _newest(windows)
    return _known(catalog.wal, source, windows, [(newest.snapshot_id, 0)] if newest else [])


def _known(
    catalog: WalCatalog, source: str, windows: tuple[RecoveryWindow, ...], next_xids: Sequence[tuple[str, int]]
) -> Known:
    newest = _newest(windows)
    rows = catalog.segments(source, newest.system_identifier) if newest else ()
    points = tuple(point for row in rows for point in row.points)
    return Known(source, windows, points, catalog.events(source, limit=_EVENTS), tuple(next_xids))


def _newest(windows: tuple[RecoveryWindow, ...]) -> BaseBackup | None:
    bases = [base for window in windows for base in window.bases]
    return max(bases, key=lambda base: base.stop_at, default=None)
