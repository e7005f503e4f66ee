"""The rows of `verification_jobs`; the end of one is also written on its backup."""

from __future__ import annotations

from uuid import UUID

from psycopg import sql

from edurise_backup.catalog.lifecycle import Jobs
from edurise_backup.catalog.rows import VERIFICATIONS
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.jobs import Verdict, Verification
from edurise_backup.ports import Clock, utc_now


class Verifications(Jobs[Verification]):
    """Verifications of backups."""

    def __init__(self, sessions: Sessions, *, clock: Clock = utc_now, host: str = "") -> None:
        super().__init__(sessions, VERIFICATIONS, clock=clock, host=host)

    def of_backup(self, backup_id: UUID) -> tuple[Verification, ...]:
        """Return the backup's verifications, newest first."""
        return self._fetch(
            sql.SQL("WHERE backup_id = %(id)s ORDER BY coalesce(started_at, created_at) DESC, id DESC"),
            {"id": backup_id},
        )

    def _after_finish(self, connection: Connection, job: Verification) -> None:
        if job.verification_status is Verdict.PENDING:
            return  # it could not be done: what an earlier one found still stands
        connection.execute(
            """UPDATE backup_jobs b
               SET verified_at = v.completed_at, verification_status = v.verification_status
               FROM verification_jobs v
               WHERE v.id = %s AND b.id = v.backup_id
                 AND (b.verified_at IS NULL OR b.verified_at <= v.completed_at)""",
            (job.id,),
        )
