"""A small operation in virtual time: backups with rows in a catalog, their snapshots in a real repository in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from edurise_backup.catalog.jobs import BackupJobs
from edurise_backup.catalog.sessions import Connection
from edurise_backup.model.jobs import BackupJob, BackupType, JobId, JobStatus, PartResult
from edurise_backup.operations.backups import set_checksum
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.repository.repository import Repository
from tests.support import engine


class SetClock:
    """A clock that stands where it was put."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Return the moment at which it stands."""
        return self.now

    def forward(self, length: timedelta) -> None:
        """Let time pass."""
        self.now += length


def plant_schedule(
    catalog: Catalog,
    name: str,
    *,
    work: str = "files",
    source: str = "",
    retention: int = 7,
    keep: str = "{}",
    edited: datetime | None = None,
    frequency: str = "every hour",
) -> UUID:
    """Write a schedule's row; return its id."""
    made = uuid5(NAMESPACE_URL, name)

    def write(connection: Connection) -> None:
        connection.execute(
            """INSERT INTO backup_schedules (id, name, type, frequency, retention, source, keep, updated_at)
               VALUES (%s, %s, %s, %s, %s, %s, %s::jsonb, coalesce(%s, '2020-01-01 00:00Z'::timestamptz))""",
            (made, name, work, frequency, retention, source, keep, edited),
        )

    catalog.sessions.run(write)
    return made


def back_up(
    catalog: Catalog,
    repository: Repository,
    *trees: Path,
    at: datetime,
    tags: Iterable[str] = (),
    warnings: Iterable[str] = (),
    kind: BackupType = BackupType.FILES,
) -> BackupJob:
    """Take a backup at a moment: a real snapshot of each tree, and the row of a job that made them."""
    clock = SetClock(at)
    parts = []
    for tree in trees:
        saved = engine.back_up(repository, tree, now=clock)
        part = BackupType.FILES if kind is BackupType.FULL else kind
        parts.append(PartResult(part, saved.id, tree.name, 10, saved.added.sent_bytes, 10, 1))
    return plant_backup(catalog, parts, at=at, tags=tags, warnings=warnings, kind=kind)


def plant_backup(
    catalog: Catalog,
    parts: Iterable[PartResult],
    *,
    at: datetime,
    tags: Iterable[str] = (),
    warnings: Iterable[str] = (),
    kind: BackupType = BackupType.FILES,
    source: str = "",
) -> BackupJob:
    """Write the row of a backup that was taken at a moment."""
    jobs, parts, warned = BackupJobs(catalog.sessions, clock=SetClock(at)), tuple(parts), tuple(warnings)
    queued = BackupJob(JobId(uuid4()), kind, JobStatus.QUEUED, tags=tuple(tags), source=source)
    jobs.create(queued)
    jobs.start(queued.id)
    done = replace(
        queued,
        status=JobStatus.COMPLETED_WITH_WARNINGS if warned else JobStatus.COMPLETED,
        size=10 * len(parts),
        location="memory",
        checksum=set_checksum([part.snapshot_id for part in parts]),
        stored_bytes=sum(part.stored_bytes for part in parts),
        parts=parts,
        warnings=warned,
        completed_at=at + timedelta(minutes=1),
    )
    assert jobs.finish(done)
    return jobs.get(queued.id)
