"""The rows of `maintenance_jobs`, and how the repository's size has changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec
from psycopg import sql
from psycopg.rows import dict_row

from edurise_backup.catalog.lifecycle import Jobs, check_page
from edurise_backup.catalog.rows import MAINTENANCE
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.maintenance import MaintenanceJob, MaintenanceKind
from edurise_backup.ports import Clock, utc_now

_SIZES = """
SELECT completed_at AS moment, (figures ->> 'bytes')::bigint AS bytes
FROM maintenance_jobs
WHERE status IN ('completed', 'completed_with_warnings') AND store = '' AND figures ->> 'bytes' IS NOT NULL
ORDER BY completed_at DESC, id DESC LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class RepositorySize:
    """What all packs of the repository took at a moment, in bytes."""

    moment: datetime
    bytes: int


class MaintenanceJobs(Jobs[MaintenanceJob]):
    """Prunes, checks and forgetting."""

    def __init__(self, sessions: Sessions, *, clock: Clock = utc_now, host: str = "") -> None:
        super().__init__(sessions, MAINTENANCE, clock=clock, host=host)

    def last(
        self, kind: MaintenanceKind, *, dry_run: bool = False, good: bool = False, store: str = ""
    ) -> MaintenanceJob | None:
        """Return the newest job of a kind on a store that has ended (well, if `good`), or None."""
        found = self._fetch(
            sql.SQL(
                """WHERE kind = %(kind)s AND store = %(store)s AND dry_run = %(dry_run)s AND completed_at IS NOT NULL
                     AND (status IN ('completed', 'completed_with_warnings') OR NOT %(good)s)
                   ORDER BY completed_at DESC, id DESC LIMIT 1"""
            ),
            {"kind": kind.value, "store": store, "dry_run": dry_run, "good": good},
        )
        return found[0] if found else None

    def sizes(self, *, limit: int = 366) -> tuple[RepositorySize, ...]:
        """Return the repository's size after the newest `limit` prunes and checks, oldest first."""
        check_page(limit, 0)

        def read(connection: Connection) -> tuple[RepositorySize, ...]:
            with connection.cursor(row_factory=dict_row) as cursor:
                rows = cursor.execute(_SIZES, (limit,)).fetchall()
            return msgspec.convert(rows[::-1], tuple[RepositorySize, ...])

        return self._sessions.run(read)
