"""The questions that facts answer, in SQL: the server counts, however many jobs there are.

A job belongs to the period in which it began, and one that never began to the
period in which it was asked for. `source` limits all that is about backups;
checks and the repository's size are those of the whole repository.
"""

from __future__ import annotations

from edurise_backup.catalog.trends import READ_A_PART

GOOD = "('completed', 'completed_with_warnings')"

# who reads these by one source reads the parts only then
OF_SOURCE = """(%(source)s = '' OR b.source = %(source)s
    OR EXISTS (SELECT FROM backup_parts p WHERE p.backup_id = b.id AND p.source = %(source)s))"""
EXPECTED_OF_SOURCE = """(%(source)s = '' OR e.source = %(source)s
    OR e.source = '' AND (e.type = 'full' OR e.type = ANY(%(parts)s::text[])))"""


def began(alias: str) -> str:
    """Return the condition that a job belongs to the period."""
    moment = f"coalesce({alias}.started_at, {alias}.created_at)"
    return f"{moment} >= %(start)s AND {moment} < %(until)s"


def _durations(prefix: str, objective: str, condition: str) -> str:
    """Return the columns of `facts.Durations`; `took` is null for a job that runs and may still keep its time."""
    return f"""
    count(*) FILTER (WHERE {condition} AND took <= %({objective})s) AS {prefix}within,
    count(*) FILTER (WHERE {condition} AND took IS NOT NULL) AS {prefix}of,
    extract(epoch FROM max(took) FILTER (WHERE {condition}))::double precision AS {prefix}longest,
    extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY took)
        FILTER (WHERE {condition}))::double precision AS {prefix}p50,
    extract(epoch FROM percentile_cont(0.95) WITHIN GROUP (ORDER BY took)
        FILTER (WHERE {condition}))::double precision AS {prefix}p95"""


def _took(alias: str, objective: str) -> str:
    return f"""CASE WHEN {alias}.status IN {GOOD} THEN {alias}.completed_at - {alias}.started_at
        WHEN {alias}.status = 'running' AND %(until)s - {alias}.started_at > {objective}
        THEN %(until)s - {alias}.started_at END"""


BACKUPS = f"""
WITH jobs AS (
    SELECT b.status, {READ_A_PART} AS incremental, b.verification_status,
           {_took("b", f"CASE WHEN {READ_A_PART} THEN %(incremental)s ELSE %(full)s END")} AS took
    FROM backup_jobs b WHERE {began("b")} AND {OF_SOURCE}
)
SELECT count(*) FILTER (WHERE status IN {GOOD}) AS good,
       count(*) FILTER (WHERE status = 'completed_with_warnings') AS warned,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
       count(*) FILTER (WHERE status IN ('queued', 'running')) AS open,
       count(*) FILTER (WHERE status IN {GOOD} AND verification_status = 'passed') AS verified,
       {_durations("full_", "full", "NOT incremental")},
       {_durations("incremental_", "incremental", "incremental")}
FROM jobs
"""


def _proofs(condition: str) -> str:
    return f"""
    count(*) FILTER (WHERE {condition} AND verification_status = 'passed') AS passed,
    count(*) FILTER (WHERE verification_status = 'failed') AS failed,
    count(*) FILTER (WHERE status = 'failed' AND verification_status IS DISTINCT FROM 'failed') AS undone"""


VERIFICATIONS = f"""
WITH jobs AS (
    SELECT v.status, v.verification_status, {_took("v", "%(verification)s")} AS took
    FROM verification_jobs v JOIN backup_jobs b ON b.id = v.backup_id
    WHERE {began("v")} AND {OF_SOURCE}
)
SELECT {_proofs(f"status IN {GOOD}")}, {_durations("", "verification", "true")} FROM jobs
"""

# a recovery that ended and was not proved shows nothing: it counts as one that did not get so far
RECOVERIES = f"""
WITH jobs AS (
    SELECT r.status, CASE WHEN r.status IN {GOOD} AND r.verification_status = 'pending' THEN 'failed'
                          ELSE r.status END AS ended,
           r.verification_status, {_took("r", "%(recovery)s")} AS took
    FROM recovery_jobs r JOIN backup_jobs b ON b.id = r.backup_id
    WHERE {began("r")} AND {OF_SOURCE}
)
SELECT count(*) FILTER (WHERE ended IN {GOOD} AND verification_status = 'passed') AS passed,
       count(*) FILTER (WHERE verification_status = 'failed') AS failed,
       count(*) FILTER (WHERE ended = 'failed' AND verification_status <> 'failed') AS undone,
       {_durations("", "recovery", "true")}
FROM jobs
"""

CHECKS = f"""
SELECT {_proofs(f"status IN {GOOD}")} FROM maintenance_jobs m
WHERE kind = 'check' AND store = '' AND NOT dry_run AND {began("m")}
"""

# a good backup covers its source from its end until its beginning is older than the objective;
# what the ones before it covered already is not counted again, and one from longer ago covers nothing of the period
SOURCES = f"""
WITH good AS NOT MATERIALIZED (
    SELECT p.part, p.source AS name, b.started_at, b.completed_at, b.verification_status,
           b.forgotten_at IS NULL AND b.missing_since IS NULL AS there,
           least(b.started_at + %(age)s, %(until)s) AS covers_to
    FROM backup_jobs b JOIN backup_parts p ON p.backup_id = b.id
    WHERE b.status IN {GOOD} AND b.started_at < %(until)s AND b.completed_at <= %(until)s
      AND (%(source)s = '' OR p.source = %(source)s)
), behind AS (
    SELECT *, max(covers_to) OVER (PARTITION BY part, name ORDER BY completed_at, started_at
                                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered_to
    FROM good WHERE started_at > %(start)s - %(age)s
), coverage AS (
    SELECT part, name,
           sum(greatest(interval '0', covers_to - greatest(completed_at, covered_to, %(start)s))) AS covered
    FROM behind GROUP BY part, name
), sources AS (
    SELECT part, name,
           count(*) FILTER (WHERE started_at >= %(start)s) AS backups,
           max(started_at) FILTER (WHERE there) AS newest,
           max(started_at) FILTER (WHERE there AND verification_status = 'passed') AS newest_verified,
           %(until)s - greatest(%(start)s, min(completed_at)) AS counted
    FROM good GROUP BY part, name
)
SELECT part, name, backups, newest, newest_verified,
       floor(extract(epoch FROM counted))::bigint AS seconds,
       floor(extract(epoch FROM coalesce(covered, interval '0')))::bigint AS seconds_covered
FROM sources LEFT JOIN coverage USING (part, name) ORDER BY part, name
"""

EXPECTED = f"""
WITH due AS (
    SELECT e.schedule_id, e.due_at, e.outcome, e.grace_until,
           coalesce(e.outcome IN ('failed', 'missed'), e.grace_until < %(until)s) AS lost
    FROM expected_runs e WHERE e.due_at >= %(start)s AND e.due_at < %(until)s AND {EXPECTED_OF_SOURCE}
), counted AS (
    SELECT *, lost AND lag(lost, 1, false) OVER (PARTITION BY schedule_id ORDER BY due_at) AS again
    FROM due WHERE outcome IN ('kept', 'failed', 'missed') OR outcome IS NULL AND lost
)
SELECT count(*) FILTER (WHERE outcome = 'kept') AS kept,
       count(*) FILTER (WHERE outcome = 'failed') AS failed,
       count(*) FILTER (WHERE outcome = 'missed') AS missed,
       count(*) FILTER (WHERE outcome IS NULL AND lost) AS overdue,
       count(*) FILTER (WHERE outcome IS NULL AND NOT lost) AS pending,
       count(*) FILTER (WHERE outcome = 'skipped') AS skipped,
       count(*) FILTER (WHERE outcome = 'withdrawn') AS withdrawn,
       (SELECT count(*) FILTER (WHERE again) FROM counted) AS consecutive
FROM due
"""

PROMISED = """(SELECT e.job_id, max(s.retention) AS days FROM expected_runs e
    JOIN backup_schedules s ON s.id = e.schedule_id WHERE e.job_id IS NOT NULL GROUP BY e.job_id)"""

RETENTION = f"""
WITH good AS (
    SELECT b.started_at, b.forgotten_at, b.missing_since,
           b.forgotten_at >= %(start)s AND b.forgotten_at < %(until)s AS forgotten_now,
           b.started_at >= %(start)s AS taken_now,
           b.started_at + make_interval(days => s.days) AS promised_until
    FROM backup_jobs b LEFT JOIN {PROMISED} s ON s.job_id = b.id
    WHERE b.status IN {GOOD} AND b.started_at < %(until)s AND {OF_SOURCE}
)
SELECT count(*) FILTER (WHERE (taken_now OR forgotten_now) AND promised_until IS NOT NULL) AS of,
       count(*) FILTER (WHERE (taken_now OR forgotten_now) AND promised_until IS NOT NULL
                        AND NOT coalesce(forgotten_now AND forgotten_at < promised_until, false)) AS kept,
       count(*) FILTER (WHERE forgotten_now) AS forgotten,
       count(*) FILTER (WHERE forgotten_now AND promised_until IS NULL) AS unknown,
       count(*) FILTER (WHERE missing_since < %(until)s AND forgotten_at IS NULL) AS missing,
       count(*) FILTER (WHERE (missing_since IS NULL OR missing_since >= %(until)s)
                        AND (forgotten_at IS NULL OR forgotten_at >= %(until)s)) AS present
FROM good
"""

STORAGE = f"""
SELECT b.type, count(*) AS backups, sum(b.size)::bigint AS original,
       CASE WHEN count(b.new_bytes) = count(*) THEN sum(b.new_bytes)::bigint END AS new,
       CASE WHEN count(b.compressed_bytes) = count(*) THEN sum(b.compressed_bytes)::bigint END AS compressed,
       coalesce(sum(b.stored_bytes), 0)::bigint AS stored
FROM backup_jobs b WHERE b.status IN {GOOD} AND {began("b")} AND {OF_SOURCE}
GROUP BY b.type
ORDER BY array_position(ARRAY['full', 'database', 'files', 'configuration', 'metadata'], b.type)
"""

# a bar for every hour, day, … of the zone, also where nothing began: a gap is to be seen
BINS = f"""
WITH bars AS (
    SELECT generate_series(date_trunc(%(unit)s::text, %(start)s AT TIME ZONE %(zone)s::text),
                           (%(until)s - interval '1 microsecond') AT TIME ZONE %(zone)s::text,
                           ('1 ' || %(unit)s::text)::interval) AS bar
), jobs AS (
    SELECT date_trunc(%(unit)s::text, coalesce(b.started_at, b.created_at) AT TIME ZONE %(zone)s::text) AS bar,
           count(*) FILTER (WHERE b.status IN {GOOD}) AS good,
           count(*) FILTER (WHERE b.status = 'completed_with_warnings') AS warned,
           count(*) FILTER (WHERE b.status = 'failed') AS failed,
           extract(epoch FROM percentile_cont(0.95) WITHIN GROUP (ORDER BY b.completed_at - b.started_at)
               FILTER (WHERE b.status IN {GOOD}))::double precision AS p95,
           coalesce(sum(b.stored_bytes) FILTER (WHERE b.status IN {GOOD}), 0)::bigint AS stored
    FROM backup_jobs b WHERE {began("b")} AND {OF_SOURCE} GROUP BY 1
)
SELECT bar AT TIME ZONE %(zone)s::text AS start, coalesce(good, 0) AS good, coalesce(warned, 0) AS warned,
       coalesce(failed, 0) AS failed, p95, coalesce(stored, 0) AS stored
FROM bars LEFT JOIN jobs USING (bar) ORDER BY bar
"""

REPOSITORY = f"""
SELECT m.completed_at AS at, (m.figures ->> 'bytes')::bigint AS bytes
FROM maintenance_jobs m
WHERE m.status IN {GOOD} AND m.store = '' AND m.figures ->> 'bytes' IS NOT NULL AND {began("m")}
ORDER BY m.completed_at, m.id
"""

# of copies the catalog knows how they stand now, not how they stood then
COPIES = f"""
WITH good AS (
    SELECT b.id FROM backup_jobs b
    WHERE b.status IN {GOOD} AND b.forgotten_at IS NULL AND b.missing_since IS NULL AND {began("b")} AND {OF_SOURCE}
), there AS (
    SELECT g.id, bool_or(c.state = 'whole') AS copied,
           bool_or(c.state = 'whole' AND s.own_key AND s.own_place) AS apart,
           bool_or(c.state = 'whole' AND s.own_key AND s.own_place AND c.outcome = 'passed') AS proved,
           bool_or(c.state = 'gone' OR c.outcome = 'failed') AS damaged
    FROM good g LEFT JOIN backup_copies c ON c.backup_id = g.id LEFT JOIN stores s ON s.name = c.store
    GROUP BY g.id
)
SELECT count(*) AS of, count(*) FILTER (WHERE copied) AS copied, count(*) FILTER (WHERE apart) AS apart,
       count(*) FILTER (WHERE proved) AS proved, count(*) FILTER (WHERE damaged) AS damaged
FROM there
"""

SOURCE_KNOWN = """SELECT EXISTS (SELECT FROM backup_parts WHERE source = %(source)s)
    OR EXISTS (SELECT FROM backup_jobs WHERE source = %(source)s)
    OR EXISTS (SELECT FROM expected_runs WHERE source = %(source)s)"""
