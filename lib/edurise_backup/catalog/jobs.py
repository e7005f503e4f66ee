"""The rows of `backup_jobs`."""

from __future__ import annotations

from psycopg import sql

from edurise_backup.catalog.lifecycle import Jobs, check_page
from edurise_backup.catalog.rows import BACKUPS
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.model.jobs import BackupFilters, BackupJob
from edurise_backup.ports import Clock, utc_now

# each is left out when its filter is None
_CONDITIONS = {
    "type": sql.SQL("type = %(type)s"),
    "status": sql.SQL("status = %(status)s"),
    "source": sql.SQL(
        """(source = %(source)s OR EXISTS (
               SELECT FROM backup_parts p WHERE p.backup_id = backup_jobs.id AND p.source = %(source)s))"""
    ),
    "since": sql.SQL("coalesce(started_at, created_at) >= %(since)s"),
    "until": sql.SQL("coalesce(started_at, created_at) < %(until)s"),
    "verified": sql.SQL("(verification_status IS NOT DISTINCT FROM 'passed') = %(verified)s"),
    "tag": sql.SQL("tags @> ARRAY[%(tag)s]::text[]"),
    "set_id": sql.SQL("set_id = %(set_id)s"),
    "restorable": sql.SQL(
        """(status IN ('completed', 'completed_with_warnings')
            AND forgotten_at IS NULL AND missing_since IS NULL) = %(restorable)s"""
    ),
}


class BackupJobs(Jobs[BackupJob]):
    """Backups, from the moment that they are asked for."""

    def __init__(self, sessions: Sessions, *, clock: Clock = utc_now, host: str = "") -> None:
        super().__init__(sessions, BACKUPS, clock=clock, host=host)

    def find(self, filters: BackupFilters) -> tuple[BackupJob, ...]:
        """Return the backups that pass every filter, newest first.

        The time range is of the start (of the request, for one that waits),
        `until` excluded. `source` is the backup's or one of its parts'.
        `verified` means that the last verification passed,
        `restorable` that it ended well and its snapshots are there. Raises InputError
        for an impossible page.
        """
        check_page(filters.limit, filters.offset)
        given = {name: getattr(filters, name) for name in _CONDITIONS}
        conditions = [condition for name, condition in _CONDITIONS.items() if given[name] is not None]
        where = sql.SQL("WHERE {} ").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL("")
        return self._fetch(
            where
            + sql.SQL("ORDER BY coalesce(started_at, created_at) DESC, id DESC ")
            + sql.SQL("LIMIT %(limit)s OFFSET %(offset)s"),
            given | {"limit": filters.limit, "offset": filters.offset},
        )
