"""What is known of a cluster's moments: the repository says what is there, the catalog what happened in it."""

from __future__ import annotations

from edurise_backup.catalog.wal import WalCatalog
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.operations.clusters import record_in
from edurise_backup.operations.point_in_time.choosing import Known
from edurise_backup.operations.point_in_time.windows import windows_in
from edurise_backup.repository.repository import Repository

_EVENTS = 10_000


def read_known(repository: Repository, catalog: WalCatalog, source: str, *, host: str) -> Known:
    """Return what is known; the index must be loaded. Raises DamageError."""
    windows = windows_in(repository, source, host=host)
    bases = {base.snapshot_id: base for window in windows for base in window.bases}
    system = next((base.system_identifier for base in bases.values()), "")
    next_xids = []
    for snapshot_id in bases:
        record = record_in(repository, repository.load_snapshot(SnapshotId(snapshot_id)).tree, source)
        if record is not None and record.next_xid:
            next_xids.append((snapshot_id, record.next_xid))
    return Known(
        source=source,
        windows=windows,
        points=tuple(point for row in catalog.segments(source, system) for point in row.points),
        events=catalog.events(source, limit=_EVENTS),
        next_xids=tuple(next_xids),
    )
