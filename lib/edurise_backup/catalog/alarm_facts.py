"""Read from the catalog what the rules of alarms look at: one short transaction, a handful of indexed queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.reconcile import DIED
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.catalog.signs import read_signs
from edurise_backup.catalog.workers import read_workers
from edurise_backup.model.alarm_change import WINDOW
from edurise_backup.model.alarm_facts import Change, Ended, Facts, FailedProof, LastGood, Size

T = TypeVar("T")

JOBS_SINCE = timedelta(days=30)
"""A job that ended badly longer ago is no alarm any more: ages and proofs still are."""
SIZES_SINCE = timedelta(days=90)
_SIZES = 120
_CHANGES = 4 * WINDOW

_LAST_GOOD = """
WITH good AS (
    SELECT b.id, b.type, b.started_at, b.verification_status = 'passed' AS passed
    FROM backup_jobs b
    WHERE b.status IN ('completed', 'completed_with_warnings')
      AND b.forgotten_at IS NULL AND b.missing_since IS NULL
), shown AS (
    SELECT 'full' AS part, '' AS source, started_at AS moment, passed FROM good WHERE type = 'full'
    UNION ALL
    SELECT p.part, p.source, coalesce(p.snapshot_time, g.started_at), g.passed
    FROM good g JOIN backup_parts p ON p.backup_id = g.id
)
SELECT part, source, min(moment) AS first_at, max(moment) AS newest_at, max(moment) FILTER (WHERE passed) AS verified_at
FROM shown GROUP BY part, source ORDER BY part, source
"""

# of each series the newest that ended well, and the newest that did not
_ENDED = """
WITH ended AS (
    SELECT 'backup' AS kind, type, source, id, status, completed_at, cardinality(warnings) AS warnings, error, hint
    FROM backup_jobs WHERE completed_at > %(since)s
    UNION ALL
    SELECT 'verification', 'verification', '', id, status, completed_at, 0, error, hint
    FROM verification_jobs WHERE completed_at > %(since)s
    UNION ALL
    SELECT 'recovery', 'recovery', '', id, status, completed_at, cardinality(warnings), error, hint
    FROM recovery_jobs WHERE completed_at > %(since)s
    UNION ALL
    SELECT 'maintenance', kind, '', id, status, completed_at, cardinality(warnings), error, hint
    FROM maintenance_jobs WHERE completed_at > %(since)s AND NOT dry_run AND store = ''
)
SELECT DISTINCT ON (kind, type, source, status)
       kind, type, source, id, status, completed_at AS ended_at,
       status IN ('completed', 'completed_with_warnings') AS good,
       coalesce(error LIKE ANY (%(died)s), false) AS died,
       warnings, coalesce(error, '') AS error, coalesce(hint, '') AS hint
FROM ended
-- of a run that a schedule expected, whoever judges those tells
WHERE status <> 'cancelled' AND NOT EXISTS (
    SELECT FROM expected_runs e WHERE e.job_id = ended.id AND e.outcome = 'failed')
ORDER BY kind, type, source, status, completed_at DESC, id
"""

# a check within a budget may pass because it reads other packs: what one found stands until every byte was read
_PROOFS = """
SELECT 'backup ' || left(id::text, 8) AS subject, verified_at AS at, '{}'::text[] AS findings
FROM backup_jobs
WHERE verification_status = 'failed' AND forgotten_at IS NULL AND missing_since IS NULL
  AND status IN ('completed', 'completed_with_warnings')
UNION ALL
(SELECT 'repository', f.completed_at, f.findings FROM maintenance_jobs f
 WHERE f.kind = 'check' AND f.store = '' AND f.verification_status = 'failed' AND f.completed_at IS NOT NULL
   AND NOT EXISTS (
     SELECT FROM maintenance_jobs p
     WHERE p.kind = 'check' AND p.store = '' AND p.verification_status = 'passed' AND p.completed_at > f.completed_at
       AND (p.asked = 'every byte' OR f.asked = 'structure'))
 ORDER BY f.completed_at DESC, f.id DESC LIMIT 1)
UNION ALL
(SELECT 'recovery ' || left(id::text, 8), completed_at, findings FROM (
    SELECT id, completed_at, findings, verification_status FROM recovery_jobs
    WHERE verification_status IN ('passed', 'failed') AND completed_at > %(since)s
    ORDER BY completed_at DESC, id DESC LIMIT 1) newest
 WHERE verification_status = 'failed')
ORDER BY 1
"""

_MISSING = """
SELECT id FROM backup_jobs WHERE missing_since IS NOT NULL AND forgotten_at IS NULL ORDER BY started_at, id
"""

_MEASURED = """
SELECT completed_at AS moment, (figures ->> 'bytes')::bigint AS bytes FROM maintenance_jobs
WHERE status IN ('completed', 'completed_with_warnings') AND store = '' AND figures ->> 'bytes' IS NOT NULL
  AND completed_at > %(since)s
ORDER BY completed_at DESC, id DESC LIMIT %(limit)s
"""

_ADDED = """
WITH days AS (
    SELECT max(completed_at) AS moment, sum(stored_bytes) AS bytes FROM backup_jobs
    WHERE status IN ('completed', 'completed_with_warnings') AND completed_at > %(since)s
    GROUP BY date_trunc('day', completed_at)
)
SELECT moment, (sum(bytes) OVER (ORDER BY moment))::bigint AS bytes FROM days ORDER BY moment DESC LIMIT %(limit)s
"""

_CHANGED = """
SELECT part, source, backup_id, moment, source_bytes, stored_bytes, read_bytes, files FROM (
    SELECT p.part, p.source, p.backup_id, b.started_at AS moment, p.source_bytes, p.stored_bytes, p.read_bytes, p.files,
           row_number() OVER (PARTITION BY p.part, p.source ORDER BY b.started_at DESC, b.id DESC) AS place
    FROM backup_parts p JOIN backup_jobs b ON b.id = p.backup_id
    WHERE b.status IN ('completed', 'completed_with_warnings') AND p.part <> 'metadata' AND b.started_at > %(since)s
) newest WHERE place <= %(limit)s ORDER BY part, source, moment, backup_id
"""

_NEWEST = """
SELECT greatest((SELECT max(started_at) FROM backup_jobs), (SELECT max(completed_at) FROM verification_jobs),
                (SELECT max(completed_at) FROM maintenance_jobs)) AS moment
"""


class _Moment(msgspec.Struct):
    moment: datetime | None


class _Id(msgspec.Struct):
    id: UUID


class _Changed(msgspec.Struct):
    part: str
    source: str
    backup_id: UUID
    moment: datetime
    source_bytes: int
    stored_bytes: int
    read_bytes: int
    files: int


def read_facts(sessions: Sessions, now: datetime) -> Facts:
    """Return what the catalog alone knows; who asks adds what is configured, the store and the clocks."""
    facts = sessions.run(lambda connection: _facts(connection, now))
    seen = read_workers(sessions)
    return replace(facts, signs=read_signs(sessions), workers=seen.workers, workers_at=seen.now)


def read_sizes(sessions: Sessions, now: datetime) -> tuple[Size, ...]:
    """Return how large the repository was, oldest first: as prunes and checks measured it, else as backups grew it."""

    def read(connection: Connection) -> tuple[Size, ...]:
        given: dict[str, object] = {"since": now - SIZES_SINCE, "limit": _SIZES}
        measured = _read(connection, _MEASURED, given, Size)[::-1]
        added = _read(connection, _ADDED, given, Size)[::-1]
        return measured if len(measured) >= 3 else added

    return sessions.run(read)


def clock_offset(sessions: Sessions, clock: Callable[[], datetime]) -> timedelta:
    """Return how far `clock` is ahead of the catalog server's, beyond what asking it took."""

    def ask(connection: Connection) -> timedelta:
        before = clock()
        row = connection.execute("SELECT clock_timestamp()").fetchone()
        after = clock()
        assert row is not None
        there = row[0]
        assert isinstance(there, datetime)
        if before <= there <= after:
            return timedelta(0)
        return after - there if there > after else before - there

    return sessions.run(ask)


def _facts(connection: Connection, now: datetime) -> Facts:
    since: dict[str, object] = {"since": now - JOBS_SINCE}
    changes: dict[tuple[str, str], tuple[Change, ...]] = {}
    for row in _read(connection, _CHANGED, {"limit": _CHANGES, "since": now - SIZES_SINCE}, _Changed):
        change = Change(row.backup_id, row.moment, row.source_bytes, row.stored_bytes, row.read_bytes, row.files)
        changes[row.part, row.source] = (*changes.get((row.part, row.source), ()), change)
    return Facts(
        now=now,
        last_good=_read(connection, _LAST_GOOD, {}, LastGood),
        ended=_read(connection, _ENDED, {**since, "died": list(DIED)}, Ended),
        failed_proofs=_read(connection, _PROOFS, since, FailedProof),
        missing=tuple(row.id for row in _read(connection, _MISSING, {}, _Id)),
        newest_moment=_read(connection, _NEWEST, {}, _Moment)[0].moment,
        changes=changes,
    )


def _read(connection: Connection, query: str, parameters: dict[str, object], kind: type[T]) -> tuple[T, ...]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query.encode(), parameters).fetchall()
    return msgspec.convert(rows, tuple[kind, ...])  # type: ignore[valid-type]
