"""The rows that a report is made of, as tables that are streamed from the catalog.

Column names are stable: a release may append columns, and never renames one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edurise_backup.catalog.sessions import Connection
from reports.questions import EXPECTED_OF_SOURCE, GOOD, OF_SOURCE, PROMISED, began

_PAGE = 5000


@dataclass(frozen=True, slots=True)
class Evidence:
    """One table of a report."""

    name: str
    """Of its file, without `.csv`."""
    title: str
    query: str


def stream(
    connection: Connection, evidence: Evidence, parameters: Mapping[str, object]
) -> tuple[Sequence[str], Iterator[tuple[object, ...]]]:
    """Return the table's columns and its rows, which come page by page; the transaction stays open until the last."""
    cursor = connection.cursor(name=f"report_{evidence.name}")
    cursor.itersize = _PAGE
    cursor.execute(evidence.query.encode(), parameters)
    assert cursor.description is not None
    columns = [column.name for column in cursor.description]

    def rows() -> Iterator[tuple[object, ...]]:
        with cursor:
            yield from cursor

    return columns, rows()


def _seconds(alias: str) -> str:
    return f"round(extract(epoch FROM {alias}.completed_at - {alias}.started_at), 3) AS duration_seconds"


def _newest(alias: str) -> str:
    return f"ORDER BY coalesce({alias}.started_at, {alias}.created_at) DESC, {alias}.id DESC"


BACKUPS = Evidence(
    "backups",
    "Backups",
    f"""SELECT b.id, b.type, b.incremental, b.source, b.status, b.created_at, b.started_at, b.completed_at,
    {_seconds("b")}, b.size AS source_bytes, b.new_bytes, b.compressed_bytes, b.stored_bytes, b.read_bytes, b.files,
    b.verification_status, b.verified_at, b.checksum, b.location, b.set_id, b.tags, b.warnings, b.error, b.hint,
    b.forgotten_at, b.missing_since, b.host, b.flow_run_id, b.product_version
FROM backup_jobs b WHERE {began("b")} AND {OF_SOURCE} {_newest("b")}""",
)

VERIFICATIONS = Evidence(
    "verifications",
    "Verifications",
    f"""SELECT v.id, v.backup_id, b.type AS backup_type, v.status, v.verification_status, v.started_at, v.completed_at,
    {_seconds("v")}, v.bytes_read, v.blobs, v.findings, v.error, v.hint, v.host, v.flow_run_id
FROM verification_jobs v JOIN backup_jobs b ON b.id = v.backup_id
WHERE {began("v")} AND {OF_SOURCE} {_newest("v")}""",
)

RECOVERIES = Evidence(
    "recoveries",
    "Recoveries",
    f"""SELECT r.id, r.backup_id, r.type, r.status, r.verification_status, r.target_time, r.started_at, r.completed_at,
    {_seconds("r")}, r.restored_bytes, r.target ->> 'directory' AS target_directory, r.checks, r.findings, r.warnings,
    r.error, r.hint, r.host, r.flow_run_id
FROM recovery_jobs r JOIN backup_jobs b ON b.id = r.backup_id
WHERE {began("r")} AND {OF_SOURCE} {_newest("r")}""",
)

EXPECTED_RUNS = Evidence(
    "expected_runs",
    "Expected runs",
    f"""SELECT e.schedule_id, e.name AS schedule, e.type, e.source, e.due_at, e.grace_until, e.frozen_at,
    coalesce(e.outcome, CASE WHEN e.grace_until < %(until)s THEN 'overdue' ELSE 'pending' END) AS outcome,
    e.judged_at, e.job_id, e.reason
FROM expected_runs e WHERE e.due_at >= %(start)s AND e.due_at < %(until)s AND {EXPECTED_OF_SOURCE}
ORDER BY e.due_at DESC, e.schedule_id""",
)

MAINTENANCE = Evidence(
    "maintenance",
    "Checks, prunes, forgetting and copies",
    f"""SELECT m.id, m.kind, m.store, m.dry_run, m.asked, m.status, m.verification_status, m.started_at, m.completed_at,
    {_seconds("m")}, (m.figures ->> 'bytes')::bigint AS repository_bytes,
    (m.figures ->> 'snapshots')::bigint AS snapshots,
    (m.figures -> 'pruned' ->> 'deleted_bytes')::bigint AS deleted_bytes,
    (m.figures -> 'checked' ->> 'bytes_read')::bigint AS bytes_read,
    m.findings, m.warnings, m.error, m.hint, m.host, m.flow_run_id
FROM maintenance_jobs m WHERE {began("m")} {_newest("m")}""",
)

DELETIONS = Evidence(
    "deletions",
    "Forgotten and missing backups",
    f"""SELECT b.id, b.type, b.source, b.started_at, b.size AS source_bytes, b.forgotten_at, b.forgotten_until,
    b.missing_since, s.days AS promised_days, b.started_at + make_interval(days => s.days) AS promised_until,
    CASE WHEN b.forgotten_at IS NULL THEN 'missing'
         WHEN s.days IS NULL THEN 'forgotten, no schedule known'
         WHEN b.forgotten_at < b.started_at + make_interval(days => s.days) THEN 'forgotten early'
         ELSE 'forgotten' END AS judgement
FROM backup_jobs b LEFT JOIN {PROMISED} s ON s.job_id = b.id
WHERE b.status IN {GOOD} AND b.started_at < %(until)s AND {OF_SOURCE}
  AND (b.forgotten_at >= %(start)s AND b.forgotten_at < %(until)s
       OR b.missing_since < %(until)s AND b.forgotten_at IS NULL)
ORDER BY coalesce(b.forgotten_at, b.missing_since) DESC, b.id DESC""",
)

ALARMS = Evidence(
    "alarms",
    "Alarms",
    """SELECT a.id, a.severity, a.kind, a.subject, a.message, a.remedy, a.raised_at, a.last_seen_at, a.seen,
    a.settled_at, a.acknowledged_at, a.acknowledged_by
FROM alarms a WHERE a.raised_at < %(until)s AND (a.settled_at IS NULL OR a.settled_at >= %(start)s)
ORDER BY a.raised_at DESC, a.id DESC""",
)

_EXCEPTIONS = f"""
SELECT 1 AS rank, 'backup is missing' AS kind, b.missing_since AS at, b.id, b.type AS about,
       'its snapshots are gone, and nobody has forgotten them' AS what,
       'docs/operations/repository.md, A backup is missing' AS to_do
FROM backup_jobs b WHERE b.status IN {GOOD} AND b.missing_since < %(until)s AND b.forgotten_at IS NULL
  AND b.started_at < %(until)s AND {OF_SOURCE}
UNION ALL
SELECT 1, 'backup forgotten early', b.forgotten_at, b.id, b.type,
       'promised for ' || s.days || ' days from '
           || to_char(b.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'),
       'ask who forgot it: the audit trail says so'
FROM backup_jobs b JOIN {PROMISED} s ON s.job_id = b.id
WHERE b.status IN {GOOD} AND b.forgotten_at >= %(start)s AND b.forgotten_at < %(until)s
  AND b.forgotten_at < b.started_at + make_interval(days => s.days) AND {OF_SOURCE}
UNION ALL
SELECT 1, 'recovery failed', coalesce(r.started_at, r.created_at), r.id, r.type,
       coalesce(r.findings[1], r.error, 'what was restored was not proved'), coalesce(r.hint, '')
FROM recovery_jobs r JOIN backup_jobs b ON b.id = r.backup_id
WHERE {began("r")} AND {OF_SOURCE}
  AND (r.status = 'failed' OR r.verification_status = 'failed'
       OR r.status IN {GOOD} AND r.verification_status <> 'passed')
UNION ALL
SELECT CASE WHEN v.verification_status = 'failed' THEN 1 ELSE 2 END,
       CASE WHEN v.verification_status = 'failed' THEN 'verification found damage' ELSE 'verification not done' END,
       coalesce(v.started_at, v.created_at), v.id, b.type, coalesce(v.findings[1], v.error, ''), coalesce(v.hint, '')
FROM verification_jobs v JOIN backup_jobs b ON b.id = v.backup_id
WHERE {began("v")} AND {OF_SOURCE} AND (v.status = 'failed' OR v.verification_status = 'failed')
UNION ALL
SELECT CASE WHEN m.verification_status = 'failed' THEN 1 ELSE 2 END,
       CASE WHEN m.verification_status = 'failed' THEN 'check found damage' ELSE m.kind || ' failed' END,
       coalesce(m.started_at, m.created_at), m.id, m.kind, coalesce(m.findings[1], m.error, ''), coalesce(m.hint, '')
FROM maintenance_jobs m
WHERE NOT m.dry_run AND {began("m")} AND (m.status = 'failed' OR m.verification_status = 'failed')
UNION ALL
SELECT 2, 'backup failed', coalesce(b.started_at, b.created_at), b.id, b.type, coalesce(b.error, ''),
       coalesce(b.hint, '')
FROM backup_jobs b WHERE b.status = 'failed' AND {began("b")} AND {OF_SOURCE}
UNION ALL
SELECT 2, 'expected run ' || coalesce(e.outcome, 'not judged'), e.due_at, coalesce(e.job_id, e.schedule_id), e.type,
       'schedule ' || e.name || CASE WHEN e.reason = '' THEN '' ELSE ': ' || e.reason END, ''
FROM expected_runs e
WHERE e.due_at >= %(start)s AND e.due_at < %(until)s AND {EXPECTED_OF_SOURCE}
  AND (e.outcome = 'missed' OR e.outcome = 'failed' AND e.job_id IS NULL
       OR e.outcome IS NULL AND e.grace_until < %(until)s)
UNION ALL
SELECT CASE a.severity WHEN 'critical' THEN 2 ELSE 3 END, 'alarm ' || a.kind, a.raised_at, a.id, a.subject, a.message,
       a.remedy
FROM alarms a WHERE a.raised_at < %(until)s AND (a.settled_at IS NULL OR a.settled_at >= %(start)s)
  AND a.severity <> 'info'
UNION ALL
SELECT 3, 'backup with warnings', coalesce(b.started_at, b.created_at), b.id, b.type, coalesce(b.warnings[1], ''), ''
FROM backup_jobs b WHERE b.status = 'completed_with_warnings' AND {began("b")} AND {OF_SOURCE}
"""

EXCEPTIONS = Evidence(
    "exceptions",
    "Exceptions",
    f"""SELECT CASE rank WHEN 1 THEN 'critical' WHEN 2 THEN 'error' ELSE 'warning' END AS severity, kind, at, id, about,
    what, to_do
FROM ({_EXCEPTIONS}) found ORDER BY rank, at DESC, kind, id""",
)

PARTS = Evidence(
    "parts",
    "Snapshots of the backups",
    f"""SELECT p.backup_id, p.ordinal, p.part, p.source, p.snapshot_id, p.source_bytes, p.new_bytes, p.compressed_bytes,
    p.stored_bytes, p.read_bytes, p.files, p.lsn, p.snapshot_time
FROM backup_parts p JOIN backup_jobs b ON b.id = p.backup_id
WHERE {began("b")} AND (%(source)s = '' OR p.source = %(source)s) {_newest("b")}, p.ordinal""",
)

TABLES: tuple[Evidence, ...] = (
    EXCEPTIONS,
    BACKUPS,
    PARTS,
    VERIFICATIONS,
    RECOVERIES,
    EXPECTED_RUNS,
    MAINTENANCE,
    DELETIONS,
    ALARMS,
)
"""Every table that comes straight from the catalog."""
