"""Figures over time for the pages: storage by day and source, durations and throughput; the server adds up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.jobs import BackupType

T = TypeVar("T")

_GOOD = "('completed', 'completed_with_warnings')"

_STORAGE = f"""
SELECT date_trunc('day', b.started_at, 'UTC') AS day, count(*) AS backups, sum(b.size)::bigint AS original,
       CASE WHEN count(b.new_bytes) = count(*) THEN sum(b.new_bytes)::bigint END AS deduplicated,
       CASE WHEN count(b.compressed_bytes) = count(*) THEN sum(b.compressed_bytes)::bigint END AS compressed,
       coalesce(sum(b.stored_bytes), 0)::bigint AS stored
FROM backup_jobs b
WHERE b.status IN {_GOOD} AND coalesce(b.started_at, b.created_at) >= %(since)s
GROUP BY 1 ORDER BY 1
"""

_SOURCES = f"""
SELECT p.part, p.source, count(*) AS backups, sum(p.source_bytes)::bigint AS original,
       CASE WHEN count(p.new_bytes) = count(*) THEN sum(p.new_bytes)::bigint END AS deduplicated,
       CASE WHEN count(p.compressed_bytes) = count(*) THEN sum(p.compressed_bytes)::bigint END AS compressed,
       sum(p.stored_bytes)::bigint AS stored,
       (array_agg(p.source_bytes ORDER BY b.started_at DESC))[1] AS newest_original
FROM backup_jobs b JOIN backup_parts p ON p.backup_id = b.id
WHERE b.status IN {_GOOD} AND coalesce(b.started_at, b.created_at) >= %(since)s
GROUP BY p.part, p.source ORDER BY stored DESC, p.part, p.source
"""

READ_A_PART = "(b.incremental AND (b.read_bytes IS NULL OR b.size IS NULL OR b.read_bytes < b.size))"
"""Whether a backup (`b`) was incremental in deed: a source's first one, and a dump, read everything in any case."""

_WORK = f"""
    SELECT b.started_at, b.completed_at, b.type || CASE WHEN {READ_A_PART} THEN ', incremental' ELSE '' END AS work,
           CASE WHEN {READ_A_PART} THEN 'incremental' ELSE 'full' END AS objective, b.read_bytes AS bytes
    FROM backup_jobs b WHERE b.status IN {_GOOD} AND coalesce(b.started_at, b.created_at) >= %(since)s
    UNION ALL
    SELECT v.started_at, v.completed_at, 'verification', 'verification', v.bytes_read FROM verification_jobs v
    WHERE v.status IN {_GOOD} AND coalesce(v.started_at, v.created_at) >= %(since)s
    UNION ALL
    SELECT r.started_at, r.completed_at, 'recovery', 'recovery', r.restored_bytes FROM recovery_jobs r
    WHERE r.status IN {_GOOD} AND coalesce(r.started_at, r.created_at) >= %(since)s
"""
_TOOK = "completed_at - started_at"
_DURATIONS = f"""
    count(*) AS jobs,
    extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY {_TOOK}))::double precision AS p50,
    extract(epoch FROM percentile_cont(0.95) WITHIN GROUP (ORDER BY {_TOOK}))::double precision AS p95,
    extract(epoch FROM max({_TOOK}))::double precision AS longest,
    (sum(bytes) / nullif(extract(epoch FROM sum({_TOOK}) FILTER (WHERE bytes IS NOT NULL)), 0)
        )::double precision AS bytes_per_second"""

_BY_WORK = f"""
SELECT work, objective, {_DURATIONS},
       count(*) FILTER (WHERE completed_at - started_at <= make_interval(secs => CASE objective
           WHEN 'full' THEN %(full)s WHEN 'incremental' THEN %(incremental)s
           WHEN 'verification' THEN %(verification)s ELSE %(recovery)s END)) AS within
FROM ({_WORK}) jobs GROUP BY work, objective
ORDER BY array_position(ARRAY['full', 'incremental', 'verification', 'recovery'], objective), work
"""

_BY_DAY = f"""
SELECT date_trunc('day', started_at, 'UTC') AS day, objective, {_DURATIONS}
FROM ({_WORK}) jobs GROUP BY 1, 2 ORDER BY 1, 2
"""

_PHASES = f"""
WITH jobs AS (
    SELECT b.id, 'backup' AS kind, coalesce(b.started_at, b.created_at) AS at FROM backup_jobs b
    WHERE b.status IN {_GOOD} AND coalesce(b.started_at, b.created_at) >= %(since)s
    UNION ALL
    SELECT v.id, 'verification', coalesce(v.started_at, v.created_at) FROM verification_jobs v
    WHERE v.status IN {_GOOD} AND coalesce(v.started_at, v.created_at) >= %(since)s
    UNION ALL
    SELECT r.id, 'recovery', coalesce(r.started_at, r.created_at) FROM recovery_jobs r
    WHERE r.status IN {_GOOD} AND coalesce(r.started_at, r.created_at) >= %(since)s
), phases AS (
    SELECT j.kind, f.name AS work, f.started_at, f.completed_at, f.bytes_done AS bytes
    FROM jobs j JOIN job_phases f ON f.job_id = j.id WHERE f.completed_at IS NOT NULL
)
SELECT kind, work AS phase, {_DURATIONS}
FROM phases GROUP BY kind, work ORDER BY kind, sum(completed_at - started_at) DESC, work
"""


@dataclass(frozen=True, slots=True)
class StorageDay:
    """Bytes of the good backups that began on one day (UTC)."""

    day: datetime
    backups: int
    original: int
    deduplicated: int | None
    """What the repository did not hold yet; None when a backup does not tell. So is the next."""
    compressed: int | None
    stored: int


@dataclass(frozen=True, slots=True)
class SourceStorage:
    """The same of one source, over the whole span."""

    part: BackupType
    source: str
    backups: int
    original: int
    deduplicated: int | None
    compressed: int | None
    stored: int
    newest_original: int


@dataclass(frozen=True, slots=True)
class WorkFigures:
    """How long one kind of job takes; seconds, and bytes a second of those whose bytes are known."""

    work: str
    objective: str
    """full, incremental, verification or recovery."""
    jobs: int
    within: int
    p50: float | None
    p95: float | None
    longest: float | None
    bytes_per_second: float | None


@dataclass(frozen=True, slots=True)
class WorkDay:
    """The same of one day, by objective."""

    day: datetime
    objective: str
    jobs: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class PhaseFigures:
    """How long one phase takes."""

    kind: str
    """backup, verification or recovery."""
    phase: str
    jobs: int
    p50: float | None
    p95: float | None
    longest: float | None
    bytes_per_second: float | None


def storage_by_day(sessions: Sessions, since: datetime) -> tuple[StorageDay, ...]:
    """Return each day with good backups since then, oldest first."""
    return _read(sessions, _STORAGE, {"since": since}, tuple[StorageDay, ...])


def storage_by_source(sessions: Sessions, since: datetime) -> tuple[SourceStorage, ...]:
    """Return each source that was backed up since then, the one that was stored most of first."""
    return _read(sessions, _SOURCES, {"since": since}, tuple[SourceStorage, ...])


def work_figures(
    sessions: Sessions, since: datetime, *, full: int, incremental: int, verification: int, recovery: int
) -> tuple[WorkFigures, ...]:
    """Return each kind of job that ended well since then, against objectives in seconds."""
    limits = {"full": full, "incremental": incremental, "verification": verification, "recovery": recovery}
    return _read(sessions, _BY_WORK, {"since": since, **limits}, tuple[WorkFigures, ...])


def work_by_day(sessions: Sessions, since: datetime) -> tuple[WorkDay, ...]:
    """Return the durations of each day and objective, oldest first."""
    return _read(sessions, _BY_DAY, {"since": since}, tuple[WorkDay, ...])


def phase_figures(sessions: Sessions, since: datetime) -> tuple[PhaseFigures, ...]:
    """Return each phase of the jobs that ended well since then, by kind, the longest in all first."""
    return _read(sessions, _PHASES, {"since": since}, tuple[PhaseFigures, ...])


def _read(sessions: Sessions, query: str, values: dict[str, object], kind: type[T]) -> T:
    def read(connection: Connection) -> T:
        with connection.cursor(row_factory=dict_row) as cursor:
            return msgspec.convert(cursor.execute(query.encode(), values).fetchall(), kind)

    return sessions.run(read)
