"""The figures of metrics that nobody else needs: counts of jobs, the queue, the newest parts, expected runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.metrics import Sample

_JOBS = """
WITH jobs AS (
    SELECT 'backup' AS kind, type, source, status, created_at, started_at, completed_at FROM backup_jobs
    UNION ALL
    SELECT 'verification', 'verification', '', status, created_at, started_at, completed_at FROM verification_jobs
    UNION ALL
    SELECT 'recovery', type, '', status, created_at, started_at, completed_at FROM recovery_jobs
    UNION ALL
    SELECT 'maintenance', kind, '', status, created_at, started_at, completed_at FROM maintenance_jobs
    WHERE NOT dry_run
)
"""
_ENDED = (
    "SELECT kind, type, status, count(*) FROM jobs WHERE completed_at IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
)
_LAST = """
SELECT DISTINCT ON (kind, type, source, status) kind, type, source, status,
       extract(epoch FROM completed_at)::double precision,
       extract(epoch FROM completed_at - started_at)::double precision,
       status IN ('completed', 'completed_with_warnings') AND completed_at = max(completed_at) FILTER (
           WHERE status IN ('completed', 'completed_with_warnings')) OVER (PARTITION BY kind, type, source)
FROM jobs WHERE completed_at IS NOT NULL ORDER BY kind, type, source, status, completed_at DESC
"""
_OPEN = """
SELECT k.kind, s.status, count(j.kind)
FROM (VALUES ('backup'), ('verification'), ('recovery'), ('maintenance')) k (kind)
CROSS JOIN (VALUES ('queued'), ('running')) s (status)
LEFT JOIN jobs j ON j.kind = k.kind AND j.status = s.status AND j.completed_at IS NULL
GROUP BY 1, 2 ORDER BY 1, 2
"""
_QUEUED = """
SELECT coalesce(greatest(extract(epoch FROM %(now)s - min(created_at)), 0), 0)::double precision
FROM jobs WHERE status = 'queued'
"""
_PARTS = """
SELECT DISTINCT ON (p.part, p.source) p.part, p.source, p.source_bytes, p.read_bytes, p.stored_bytes, p.files
FROM backup_parts p JOIN backup_jobs b ON b.id = p.backup_id
WHERE b.status IN ('completed', 'completed_with_warnings')
ORDER BY p.part, p.source, b.started_at DESC, b.id
"""
_RUNS = """
SELECT o.outcome, count(e.outcome)
FROM (VALUES ('kept'), ('failed'), ('missed'), ('skipped'), ('withdrawn')) o (outcome)
LEFT JOIN expected_runs e ON e.outcome = o.outcome GROUP BY 1 ORDER BY 1
"""
_ALARMS = """
SELECT kind, severity, acknowledged_at IS NOT NULL, count(*) FROM alarms WHERE settled_at IS NULL
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_WAITING = "SELECT count(*) FROM notifications WHERE sent_at IS NULL AND given_up_at IS NULL"


def read_samples(sessions: Sessions, now: datetime) -> tuple[Sample, ...]:
    """Return the samples that are counted from the catalog's tables; one consistent picture."""
    return sessions.run(lambda connection: tuple(_samples(connection, now)))


def _samples(connection: Connection, now: datetime) -> Iterator[Sample]:
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    yield from _of_jobs(connection)
    for kind, status, count in _rows(connection, _JOBS + _OPEN):
        yield Sample("jobs_open", _number(count), (str(kind), str(status)))
    for (seconds,) in _rows(connection, _JOBS + _QUEUED, {"now": now}):
        yield Sample("oldest_queued_seconds", _number(seconds))
    for part, source, *figures in _rows(connection, _PARTS):
        for name, value in zip(("source_bytes", "read_bytes", "stored_bytes", "files"), figures, strict=True):
            yield Sample(f"last_backup_{name}", _number(value), (str(part), str(source)))
    for outcome, count in _rows(connection, _RUNS):
        yield Sample("schedule_runs", _number(count), (str(outcome),))
    for kind, severity, acknowledged, count in _rows(connection, _ALARMS):
        yield Sample("alarms_open", _number(count), (str(kind), str(severity), "yes" if acknowledged else "no"))
    for (count,) in _rows(connection, _WAITING):
        yield Sample("notifications_waiting", _number(count))


def _of_jobs(connection: Connection) -> Iterator[Sample]:
    for kind, type_, status, count in _rows(connection, _JOBS + _ENDED):
        yield Sample("jobs_ended", _number(count), (str(kind), str(type_), str(status)))
    for kind, type_, source, status, ended, seconds, newest_good in _rows(connection, _JOBS + _LAST):
        labels = (str(kind), str(type_), str(source))
        yield Sample("last_job_end_timestamp_seconds", _number(ended), (*labels, str(status)))
        if newest_good:
            yield Sample("last_job_duration_seconds", _number(seconds), labels)


def _rows(connection: Connection, query: str, parameters: dict[str, object] | None = None) -> list[tuple[object, ...]]:
    return connection.execute(query.encode(), parameters).fetchall()


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)
