"""Plant rows of a catalog with times of one's choice: what a month of backups would have left."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

from edurise_backup.catalog import rows
from edurise_backup.catalog.rows import BACKUPS, MAINTENANCE
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.model.jobs import BackupJob, BackupType, JobId, JobStatus, PartResult
from edurise_backup.model.maintenance import MaintenanceFigures, MaintenanceJob, MaintenanceKind

MIB = 1024**2
PARTS = ((BackupType.FILES, "uploads"), (BackupType.CONFIGURATION, "settings"), (BackupType.METADATA, "platform"))


def part(
    kind: BackupType,
    source: str,
    *,
    source_bytes: int = 100 * MIB,
    stored_bytes: int = MIB,
    read_bytes: int = 3 * MIB,
    files: int = 1000,
) -> PartResult:
    """Return a part of a backup with a snapshot of its own."""
    snapshot = hashlib.sha256(uuid4().bytes).hexdigest()
    return PartResult(kind, snapshot, source, source_bytes, stored_bytes, read_bytes, files)


def backup(
    sessions: Sessions,
    started: datetime,
    *,
    kind: BackupType = BackupType.FULL,
    parts: tuple[PartResult, ...] | None = None,
    **changes: object,
) -> JobId:
    """Write a backup that took a minute; completed unless `changes` say otherwise."""
    held = parts if parts is not None else tuple(part(*one) for one in PARTS if kind in (BackupType.FULL, one[0]))
    job = BackupJob(
        id=JobId(uuid4()),
        type=kind,
        status=JobStatus.COMPLETED,
        started_at=started,
        completed_at=started + timedelta(minutes=1),
        created_at=started,
        size=sum(one.source_bytes for one in held),
        stored_bytes=sum(one.stored_bytes for one in held),
        location="a test's",
        checksum=hashlib.sha256(uuid4().bytes).hexdigest(),
        parts=held,
    )
    job = replace(job, **changes)  # type: ignore[arg-type]
    sessions.run(lambda c: rows.insert(c, BACKUPS, job, created_at=started, replace=False))
    return job.id


def maintenance(sessions: Sessions, ended: datetime, kind: MaintenanceKind, **changes: object) -> JobId:
    """Write a prune or check that took a minute; completed unless `changes` say otherwise."""
    job = MaintenanceJob(
        id=JobId(uuid4()),
        kind=kind,
        status=JobStatus.COMPLETED,
        started_at=ended - timedelta(minutes=1),
        completed_at=ended,
        figures=MaintenanceFigures(1, 1, 100 * MIB),
    )
    job = replace(job, **changes)  # type: ignore[arg-type]
    sessions.run(lambda c: rows.insert(c, MAINTENANCE, job, created_at=ended, replace=False))
    return job.id
