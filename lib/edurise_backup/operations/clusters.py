"""What base backups say of themselves, and where the catalog gets it from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edurise_backup.catalog.wal import WalCatalog
from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.cluster import RECORD, ClusterRecord, decode_record, folder_of
from edurise_backup.model.jobs import BackupJob, BackupType, PartResult
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.model.wal import Timeline, parse_lsn
from edurise_backup.model.wal_status import BaseBackup
from edurise_backup.recovery.streaming import SnapshotFiles
from edurise_backup.repository.repository import Repository


def record_in(repository: Repository, tree: str, source: str) -> ClusterRecord | None:
    """Return what a snapshot's base backup says of itself; None where there is none that can be read."""
    try:
        return decode_record(SnapshotFiles(repository, tree).read(f"{folder_of(source)}/{RECORD}"))
    except (NotFoundError, DamageError):
        return None


def note_bases(
    catalog: WalCatalog,
    repository: Repository,
    jobs: Iterable[BackupJob],
    *,
    ids: Mapping[str, SnapshotId] | None = None,
) -> None:
    """Write down where the base backups of these jobs begin and end, unless it is; the index must be loaded.

    `ids`: what the snapshots that the jobs name are called in this repository, a copy.
    """
    known = catalog.known_bases()
    for job in jobs:
        for part in job.parts:
            if part.part is BackupType.CLUSTER and (job.id, part.source) not in known:
                base = _base(repository, job, part, ids or {})
                if base is not None:
                    catalog.add_base(base)


def _base(repository: Repository, job: BackupJob, part: PartResult, ids: Mapping[str, SnapshotId]) -> BaseBackup | None:
    try:
        tree = repository.load_snapshot(ids.get(part.snapshot_id, SnapshotId(part.snapshot_id))).tree
    except (NotFoundError, DamageError):
        return None
    record = record_in(repository, tree, part.source)
    return None if record is None else base_of(record, part.snapshot_id, job)


def base_of(record: ClusterRecord, snapshot_id: str, job: BackupJob | None = None) -> BaseBackup:
    """Return where a base backup begins and ends, by its record."""
    return BaseBackup(
        source=record.name,
        snapshot_id=snapshot_id,
        system_identifier=record.system_identifier,
        timeline=Timeline(record.timeline),
        start_lsn=parse_lsn(record.start_lsn),
        stop_lsn=parse_lsn(record.stop_lsn),
        start_at=record.start_time,
        stop_at=record.stop_time,
        segment_size=record.segment_size,
        server_version=record.server_version,
        method=record.method,
        damaged=sum(len(one.pages) for one in record.damaged),
        backup_id=job.id if job else None,
    )
