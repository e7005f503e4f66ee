"""Figures over the catalog, computed by the server: for `stats` and for the dashboard's first page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeVar
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.lifecycle import check_page
from edurise_backup.catalog.records import JobKind
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.jobs import BackupStats, BackupType, JobId, JobStatus, TypeStats, Verdict
from edurise_backup.model.maintenance import MaintenanceKind

T = TypeVar("T")

_BY_TYPE = """
SELECT t.type,
       count(b.id) FILTER (WHERE b.status = 'completed') AS completed,
       count(b.id) FILTER (WHERE b.status = 'completed_with_warnings') AS warned,
       count(b.id) FILTER (WHERE b.status = 'failed') AS failed,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY b.completed_at - b.started_at)
           FILTER (WHERE b.status IN ('completed', 'completed_with_warnings')) AS median_duration,
       g.backup_id AS last_good_id, g.started_at AS last_good_at,
       greatest(%(now)s - g.started_at, interval '0') AS last_good_age
FROM unnest(%(types)s::text[]) WITH ORDINALITY AS t (type, place)
LEFT JOIN analytics.last_good g ON g.type = t.type
LEFT JOIN backup_jobs b ON b.type = t.type
GROUP BY t.type, t.place, g.backup_id, g.started_at
ORDER BY t.place
"""

_TOTALS = """
WITH good AS (
    SELECT size, stored_bytes, verification_status = 'passed' AS verified,
           forgotten_at IS NULL AND missing_since IS NULL AS there
    FROM backup_jobs WHERE status IN ('completed', 'completed_with_warnings')
), recovered AS (
    SELECT verification_status = 'passed' AS passed, verification_status = 'failed' OR status = 'failed' AS failed
    FROM recovery_jobs
)
SELECT (SELECT count(*) FROM backup_jobs WHERE status = 'running') AS running,
       coalesce(sum(size), 0)::bigint AS source_bytes,
       coalesce(sum(stored_bytes), 0)::bigint AS stored_bytes,
       count(*) FILTER (WHERE there AND verified) AS verified,
       count(*) FILTER (WHERE there AND verified IS NOT TRUE) AS unverified,
       (SELECT count(*) FROM recovered WHERE passed) AS recoveries_passed,
       (SELECT count(*) FROM recovered WHERE failed AND NOT passed) AS recoveries_failed
FROM good
"""

# every kind brings its newest only, by its index; the backup tells what a verification was of
_RECENT = """
WITH backups AS (
    SELECT id, id AS backup_id, type, NULL AS maintenance, status,
           verification_status, created_at, started_at, completed_at,
           heartbeat_at, phase, progress, size AS bytes, cardinality(warnings) AS remarks, error, hint, flow_run_id
    FROM backup_jobs
    WHERE NOT %(running)s OR status IN ('queued', 'running')
    ORDER BY coalesce(started_at, created_at) DESC, id DESC LIMIT %(limit)s
), verifications AS (
    SELECT id, backup_id, (SELECT type FROM backup_jobs b WHERE b.id = v.backup_id), NULL, status,
           verification_status, created_at, started_at, completed_at,
           heartbeat_at, phase, progress, bytes_read, cardinality(findings), error, hint, flow_run_id
    FROM verification_jobs v
    WHERE NOT %(running)s OR status IN ('queued', 'running')
    ORDER BY coalesce(started_at, created_at) DESC, id DESC LIMIT %(limit)s
), recoveries AS (
    SELECT id, backup_id, type, NULL, status, verification_status, created_at, started_at, completed_at,
           heartbeat_at, phase, progress, restored_bytes, cardinality(warnings) + cardinality(findings),
           error, hint, flow_run_id
    FROM recovery_jobs
    WHERE NOT %(running)s OR status IN ('queued', 'running')
    ORDER BY coalesce(started_at, created_at) DESC, id DESC LIMIT %(limit)s
), maintenance AS (
    SELECT id, NULL::uuid, NULL, kind, status, verification_status, created_at, started_at, completed_at,
           heartbeat_at, phase, progress, (figures ->> 'bytes')::bigint,
           cardinality(warnings) + cardinality(findings), error, hint, flow_run_id
    FROM maintenance_jobs
    WHERE NOT %(running)s OR status IN ('queued', 'running')
    ORDER BY coalesce(started_at, created_at) DESC, id DESC LIMIT %(limit)s
)
SELECT * FROM (
    SELECT 'backup' AS kind, * FROM backups
    UNION ALL SELECT 'verification', * FROM verifications
    UNION ALL SELECT 'recovery', * FROM recoveries
    UNION ALL SELECT 'maintenance', * FROM maintenance
) jobs
ORDER BY coalesce(started_at, created_at) DESC, id DESC LIMIT %(limit)s
"""

_STORAGE = """
SELECT day, sum(backups)::bigint AS backups, sum(source_bytes)::bigint AS source_bytes,
       sum(stored_bytes)::bigint AS stored_bytes,
       (sum(sum(source_bytes)) OVER running)::bigint AS source_bytes_total,
       (sum(sum(stored_bytes)) OVER running)::bigint AS stored_bytes_total
FROM analytics.storage_by_day
GROUP BY day
WINDOW running AS (ORDER BY day)
ORDER BY day DESC LIMIT %(days)s
"""


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job of any kind, as a list shows it."""

    kind: JobKind
    id: JobId
    backup_id: JobId | None
    """None for maintenance, which is of the whole repository."""
    type: BackupType | None
    maintenance: MaintenanceKind | None
    status: JobStatus
    verification_status: Verdict | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    heartbeat_at: datetime | None
    phase: str | None
    progress: float | None
    """0 to 1, of the phase."""
    bytes: int | None
    """Of the source, read back, restored, or of the repository."""
    remarks: int
    """Number of warnings and findings."""
    error: str | None
    hint: str | None
    flow_run_id: UUID | None


@dataclass(frozen=True, slots=True)
class StorageDay:
    """What the good backups of a day (UTC) added, and the sums up to that day; bytes."""

    day: date
    backups: int
    source_bytes: int
    stored_bytes: int
    source_bytes_total: int
    stored_bytes_total: int


def backup_stats(sessions: Sessions, now: datetime) -> BackupStats:
    """Return the figures of all backups as of `now`.

    The last good backup of a type is the newest that holds it: a full backup
    counts for its parts, too. Its moment is its start: what was written later
    may be missing in it. `running` counts backups only.
    """

    def read(connection: Connection) -> BackupStats:
        types = _read(connection, _BY_TYPE, {"now": now, "types": [str(kind) for kind in BackupType]}, TypeStats)
        (totals,) = _read(connection, _TOTALS, {}, _Totals)
        return BackupStats(
            as_of=now,
            types=types,
            running=totals.running,
            source_bytes=totals.source_bytes,
            stored_bytes=totals.stored_bytes,
            verified=totals.verified,
            unverified=totals.unverified,
            recoveries_passed=totals.recoveries_passed,
            recoveries_failed=totals.recoveries_failed,
        )

    return sessions.run(read)


def recent_jobs(sessions: Sessions, *, limit: int = 20) -> tuple[JobSummary, ...]:
    """Return the newest jobs of all kinds, newest first."""
    check_page(limit, 0)
    return sessions.run(lambda c: _read(c, _RECENT, {"limit": limit, "running": False}, JobSummary))


def open_jobs(sessions: Sessions, *, limit: int = 100) -> tuple[JobSummary, ...]:
    """Return the jobs of all kinds that wait or run, newest first."""
    check_page(limit, 0)
    return sessions.run(lambda c: _read(c, _RECENT, {"limit": limit, "running": True}, JobSummary))


def storage_by_day(sessions: Sessions, *, days: int = 366) -> tuple[StorageDay, ...]:
    """Return the last `days` days on which a good backup ended, oldest first.

    The sums hold what backups added; what prune removed is not taken off.
    """
    check_page(days, 0)
    return sessions.run(lambda c: _read(c, _STORAGE, {"days": days}, StorageDay))[::-1]


@dataclass(frozen=True, slots=True)
class _Totals:
    running: int
    source_bytes: int
    stored_bytes: int
    verified: int
    unverified: int
    recoveries_passed: int
    recoveries_failed: int


def _read(connection: Connection, query: str, parameters: dict[str, object], kind: type[T]) -> tuple[T, ...]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query.encode(), parameters).fetchall()
    return msgspec.convert(rows, tuple[kind, ...])  # type: ignore[valid-type]
