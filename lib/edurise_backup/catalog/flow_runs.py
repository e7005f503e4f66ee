"""Which flow runs have nothing left to do, by the rows of their jobs: whoever runs flows ends those that linger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.reconcile import DIED
from edurise_backup.catalog.sessions import Connection, Sessions

LOOKED_BACK = timedelta(days=2)
GRACE = timedelta(minutes=10)
"""A run may go on for so long after its job: it writes its page, or waits to try again (up to 6 min)."""

_ENDED = """
WITH jobs AS (
    SELECT flow_run_id, completed_at, error FROM backup_jobs
    WHERE flow_run_id IS NOT NULL AND (completed_at IS NULL OR completed_at > %(since)s)
    UNION ALL
    SELECT flow_run_id, completed_at, error FROM verification_jobs
    WHERE flow_run_id IS NOT NULL AND (completed_at IS NULL OR completed_at > %(since)s)
    UNION ALL
    SELECT flow_run_id, completed_at, error FROM recovery_jobs
    WHERE flow_run_id IS NOT NULL AND (completed_at IS NULL OR completed_at > %(since)s)
    UNION ALL
    SELECT flow_run_id, completed_at, error FROM maintenance_jobs
    WHERE flow_run_id IS NOT NULL AND (completed_at IS NULL OR completed_at > %(since)s)
), runs AS (
    SELECT DISTINCT ON (flow_run_id) flow_run_id, completed_at, coalesce(error, '') AS error,
           coalesce(error LIKE ANY (%(died)s), false) AS died
    FROM jobs ORDER BY flow_run_id, completed_at DESC NULLS FIRST
)
SELECT flow_run_id AS id, error FROM runs
WHERE completed_at IS NOT NULL AND (died OR completed_at < %(before)s) ORDER BY completed_at
"""


@dataclass(frozen=True, slots=True)
class OverRun:
    """A flow run whose jobs have all ended."""

    id: UUID
    error: str
    """Of its last job; empty when that ended well."""


def over_runs(sessions: Sessions, now: datetime) -> tuple[OverRun, ...]:
    """Return the flow runs of late whose jobs have ended: found dead, or so long ago that the run must have, too."""
    given = {"since": now - LOOKED_BACK, "before": now - GRACE, "died": list(DIED)}

    def read(connection: Connection) -> tuple[OverRun, ...]:
        with connection.cursor(row_factory=dict_row) as cursor:
            return msgspec.convert(cursor.execute(_ENDED, given).fetchall(), tuple[OverRun, ...])

    return sessions.run(read)
