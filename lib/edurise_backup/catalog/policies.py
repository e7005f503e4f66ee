"""What schedules say of retention, and the restore points that they are measured against."""

from __future__ import annotations

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.jobs import BackupJobs
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.jobs import BackupFilters, BackupJob, JobStatus
from edurise_backup.model.schedules import Schedule

_ALL = 1_000_000
"""More backups than a catalog has."""


def read_policies(sessions: Sessions) -> tuple[Schedule, ...]:
    """Return the schedules, paused ones too, by name; of each what retention needs."""

    def read(connection: Connection) -> tuple[Schedule, ...]:
        with connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(
                """SELECT id, name, type, frequency, retention, is_active, source, zone, tags, keep, version,
                          created_at, updated_at
                   FROM backup_schedules ORDER BY name"""
            ).fetchall()
        return msgspec.convert(rows, tuple[Schedule, ...])

    return sessions.run(read)


def good_backups(sessions: Sessions, *, restorable: bool | None = None) -> tuple[BackupJob, ...]:
    """Return every backup that ended well, newest first; by default also those that were forgotten or are missing."""
    jobs = BackupJobs(sessions)
    found = [
        job
        for status in JobStatus
        if status.good
        for job in jobs.find(BackupFilters(status=status, restorable=restorable, limit=_ALL))
    ]
    return tuple(sorted(found, key=lambda job: (job.started_at is not None, job.started_at, job.id), reverse=True))
