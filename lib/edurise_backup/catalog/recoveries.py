"""The rows of `recovery_jobs`."""

from __future__ import annotations

from uuid import UUID

from psycopg import sql

from edurise_backup.catalog.lifecycle import Jobs
from edurise_backup.catalog.rows import RECOVERIES
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.model.jobs import RecoveryJob
from edurise_backup.ports import Clock, utc_now


class RecoveryJobs(Jobs[RecoveryJob]):
    """Recoveries of backups."""

    def __init__(self, sessions: Sessions, *, clock: Clock = utc_now, host: str = "") -> None:
        super().__init__(sessions, RECOVERIES, clock=clock, host=host)

    def of_backup(self, backup_id: UUID) -> tuple[RecoveryJob, ...]:
        """Return the recoveries of the backup, newest first."""
        return self._fetch(
            sql.SQL("WHERE backup_id = %(id)s ORDER BY coalesce(started_at, created_at) DESC, id DESC"),
            {"id": backup_id},
        )
