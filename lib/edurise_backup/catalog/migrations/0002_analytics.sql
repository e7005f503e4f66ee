-- Views for people and tools that ask questions; the tables may change, these stay.
-- Each begins with WITH (or groups), which makes PostgreSQL refuse writes through it.

CREATE SCHEMA IF NOT EXISTS analytics;
COMMENT ON SCHEMA analytics IS 'Documented, read-only views on the backup catalog';

CREATE VIEW analytics.backup_history AS
WITH parts AS (
    SELECT backup_id, count(*) AS parts FROM public.backup_parts GROUP BY backup_id
)
SELECT b.id, b.type, b.status,
       b.status IN ('completed', 'completed_with_warnings') AS good,
       b.source, b.set_id, b.incremental, b.tags,
       b.created_at, b.started_at, b.completed_at,
       extract(epoch FROM b.completed_at - b.started_at)::double precision AS duration_seconds,
       b.size AS source_bytes, b.read_bytes, b.stored_bytes, b.sent_bytes, b.files,
       coalesce(p.parts, 0) AS parts,
       b.size::double precision / nullif(b.stored_bytes, 0) AS dedup_ratio,
       b.read_bytes::double precision / nullif(extract(epoch FROM b.completed_at - b.started_at)::double precision, 0)
           AS read_bytes_per_second,
       b.cpu_seconds, b.peak_memory, cardinality(b.warnings) AS warnings, b.error,
       b.verification_status, b.verified_at, b.host, b.flow_run_id, b.product_version
FROM public.backup_jobs b LEFT JOIN parts p ON p.backup_id = b.id;

COMMENT ON VIEW analytics.backup_history IS 'One row for each backup that was asked for, whatever became of it';
COMMENT ON COLUMN analytics.backup_history.id IS 'The backup';
COMMENT ON COLUMN analytics.backup_history.type IS 'full, database, files, configuration or metadata';
COMMENT ON COLUMN analytics.backup_history.status IS
    'queued, running, completed, completed_with_warnings, failed or cancelled';
COMMENT ON COLUMN analytics.backup_history.good IS 'Whether it counts toward an objective';
COMMENT ON COLUMN analytics.backup_history.source IS 'What was protected';
COMMENT ON COLUMN analytics.backup_history.set_id IS 'The recovery set that it belongs to';
COMMENT ON COLUMN analytics.backup_history.incremental IS 'Whether only what changed was to be read';
COMMENT ON COLUMN analytics.backup_history.tags IS 'Words given to it';
COMMENT ON COLUMN analytics.backup_history.created_at IS 'When it was asked for';
COMMENT ON COLUMN analytics.backup_history.started_at IS 'When its work began';
COMMENT ON COLUMN analytics.backup_history.completed_at IS 'When it ended, well or not';
COMMENT ON COLUMN analytics.backup_history.duration_seconds IS 'Seconds from start to end';
COMMENT ON COLUMN analytics.backup_history.source_bytes IS 'Bytes of the source';
COMMENT ON COLUMN analytics.backup_history.read_bytes IS 'Bytes that were read from the source';
COMMENT ON COLUMN analytics.backup_history.stored_bytes IS 'Bytes that it added to the repository';
COMMENT ON COLUMN analytics.backup_history.sent_bytes IS 'Bytes handed to the store';
COMMENT ON COLUMN analytics.backup_history.files IS 'Number of files';
COMMENT ON COLUMN analytics.backup_history.parts IS 'Number of snapshots';
COMMENT ON COLUMN analytics.backup_history.dedup_ratio IS 'Source bytes for each stored byte; null when nothing was stored';
COMMENT ON COLUMN analytics.backup_history.read_bytes_per_second IS 'Read bytes by duration';
COMMENT ON COLUMN analytics.backup_history.cpu_seconds IS 'Processor time of the process and its children';
COMMENT ON COLUMN analytics.backup_history.peak_memory IS 'Largest resident set in bytes';
COMMENT ON COLUMN analytics.backup_history.warnings IS 'Number of warnings';
COMMENT ON COLUMN analytics.backup_history.error IS 'Why it failed';
COMMENT ON COLUMN analytics.backup_history.verification_status IS 'What its last verification found; null: never verified';
COMMENT ON COLUMN analytics.backup_history.verified_at IS 'When it was last verified';
COMMENT ON COLUMN analytics.backup_history.host IS 'The machine that ran it';
COMMENT ON COLUMN analytics.backup_history.flow_run_id IS 'The flow run that ran it; null: run from the command line';
COMMENT ON COLUMN analytics.backup_history.product_version IS 'The release that made it';

CREATE VIEW analytics.storage_by_day AS
WITH days AS (
    SELECT (completed_at AT TIME ZONE 'UTC')::date AS day, type,
           count(*) AS backups,
           sum(size)::bigint AS source_bytes,
           sum(coalesce(read_bytes, 0))::bigint AS read_bytes,
           sum(coalesce(stored_bytes, 0))::bigint AS stored_bytes
    FROM public.backup_jobs
    WHERE status IN ('completed', 'completed_with_warnings')
    GROUP BY 1, 2
)
SELECT day, type, backups, source_bytes, read_bytes, stored_bytes,
       (sum(source_bytes) OVER running)::bigint AS source_bytes_total,
       (sum(stored_bytes) OVER running)::bigint AS stored_bytes_total
FROM days
WINDOW running AS (PARTITION BY type ORDER BY day);

COMMENT ON VIEW analytics.storage_by_day IS 'What the good backups of each day (UTC) and type read and stored';
COMMENT ON COLUMN analytics.storage_by_day.day IS 'The day in UTC on which the backups ended';
COMMENT ON COLUMN analytics.storage_by_day.type IS 'Type of backup';
COMMENT ON COLUMN analytics.storage_by_day.backups IS 'Number of good backups';
COMMENT ON COLUMN analytics.storage_by_day.source_bytes IS 'Bytes of their sources, added up';
COMMENT ON COLUMN analytics.storage_by_day.read_bytes IS 'Bytes read from the sources';
COMMENT ON COLUMN analytics.storage_by_day.stored_bytes IS 'Bytes added to the repository';
COMMENT ON COLUMN analytics.storage_by_day.source_bytes_total IS 'Source bytes of this type up to and with the day';
COMMENT ON COLUMN analytics.storage_by_day.stored_bytes_total IS
    'Bytes added by this type up to and with the day; what prune removed is not taken off';

CREATE VIEW analytics.last_good AS
WITH types (type) AS (
    VALUES ('full'), ('database'), ('files'), ('configuration'), ('metadata')
)
SELECT t.type, g.id AS backup_id, g.backup_type, g.started_at, g.completed_at, g.source_bytes,
       g.verification_status, g.verified_at,
       extract(epoch FROM now() - g.started_at)::double precision AS age_seconds
FROM types t
LEFT JOIN LATERAL (
    SELECT b.id, b.type AS backup_type, b.started_at, b.completed_at, b.size AS source_bytes,
           b.verification_status, b.verified_at
    FROM public.backup_jobs b
    WHERE b.status IN ('completed', 'completed_with_warnings')
      AND (b.type = t.type OR EXISTS (
          SELECT FROM public.backup_parts p WHERE p.backup_id = b.id AND p.part = t.type))
    ORDER BY b.started_at DESC, b.id DESC
    LIMIT 1
) g ON true;

COMMENT ON VIEW analytics.last_good IS
    'For each type the newest good backup that holds it; a full backup holds its parts, too';
COMMENT ON COLUMN analytics.last_good.type IS 'What is held';
COMMENT ON COLUMN analytics.last_good.backup_id IS 'The newest good backup; null when there is none';
COMMENT ON COLUMN analytics.last_good.backup_type IS 'That backup''s own type';
COMMENT ON COLUMN analytics.last_good.started_at IS 'When it began to read';
COMMENT ON COLUMN analytics.last_good.completed_at IS 'When it ended';
COMMENT ON COLUMN analytics.last_good.source_bytes IS 'Bytes of its source, all parts';
COMMENT ON COLUMN analytics.last_good.verification_status IS 'What its last verification found';
COMMENT ON COLUMN analytics.last_good.verified_at IS 'When it was last verified';
COMMENT ON COLUMN analytics.last_good.age_seconds IS
    'Seconds since its start: data written later may be missing in it';

CREATE VIEW analytics.verification_history AS
WITH jobs AS (SELECT * FROM public.verification_jobs)
SELECT v.id, v.backup_id, b.type AS backup_type, v.status, v.verification_status,
       v.started_at, v.completed_at,
       extract(epoch FROM v.completed_at - v.started_at)::double precision AS duration_seconds,
       v.bytes_read, v.blobs, cardinality(v.findings) AS findings, v.error, v.host, v.flow_run_id
FROM jobs v JOIN public.backup_jobs b ON b.id = v.backup_id;

COMMENT ON VIEW analytics.verification_history IS 'One row for each verification of a backup';
COMMENT ON COLUMN analytics.verification_history.id IS 'The verification';
COMMENT ON COLUMN analytics.verification_history.backup_id IS 'The backup that was verified';
COMMENT ON COLUMN analytics.verification_history.backup_type IS 'That backup''s type';
COMMENT ON COLUMN analytics.verification_history.status IS 'How the job went';
COMMENT ON COLUMN analytics.verification_history.verification_status IS 'What it found: pending, passed or failed';
COMMENT ON COLUMN analytics.verification_history.started_at IS 'When its work began';
COMMENT ON COLUMN analytics.verification_history.completed_at IS 'When it ended';
COMMENT ON COLUMN analytics.verification_history.duration_seconds IS 'Seconds from start to end';
COMMENT ON COLUMN analytics.verification_history.bytes_read IS 'Bytes that were read back';
COMMENT ON COLUMN analytics.verification_history.blobs IS 'Number of blobs that were proved';
COMMENT ON COLUMN analytics.verification_history.findings IS 'Number of findings';
COMMENT ON COLUMN analytics.verification_history.error IS 'Why it could not be done';
COMMENT ON COLUMN analytics.verification_history.host IS 'The machine that ran it';
COMMENT ON COLUMN analytics.verification_history.flow_run_id IS 'The flow run that ran it';

CREATE VIEW analytics.recovery_history AS
WITH jobs AS (SELECT * FROM public.recovery_jobs)
SELECT r.id, r.backup_id, b.type AS backup_type, r.type, r.status, r.verification_status,
       r.target_time, r.started_at, r.completed_at,
       extract(epoch FROM r.completed_at - r.started_at)::double precision AS duration_seconds,
       r.restored_bytes,
       r.restored_bytes::double precision
           / nullif(extract(epoch FROM r.completed_at - r.started_at)::double precision, 0)
           AS restored_bytes_per_second,
       cardinality(r.checks) AS checks, cardinality(r.findings) AS findings,
       cardinality(r.warnings) AS warnings, r.error, r.host, r.flow_run_id
FROM jobs r JOIN public.backup_jobs b ON b.id = r.backup_id;

COMMENT ON VIEW analytics.recovery_history IS 'One row for each recovery, with what its proof found';
COMMENT ON COLUMN analytics.recovery_history.id IS 'The recovery';
COMMENT ON COLUMN analytics.recovery_history.backup_id IS 'The backup that it brings back';
COMMENT ON COLUMN analytics.recovery_history.backup_type IS 'That backup''s type';
COMMENT ON COLUMN analytics.recovery_history.type IS 'What was brought back';
COMMENT ON COLUMN analytics.recovery_history.status IS 'How the job went';
COMMENT ON COLUMN analytics.recovery_history.verification_status IS 'What the proof found: pending, passed or failed';
COMMENT ON COLUMN analytics.recovery_history.target_time IS 'The moment that was asked for';
COMMENT ON COLUMN analytics.recovery_history.started_at IS 'When its work began';
COMMENT ON COLUMN analytics.recovery_history.completed_at IS 'When it ended';
COMMENT ON COLUMN analytics.recovery_history.duration_seconds IS 'Seconds from start to end: the recovery time';
COMMENT ON COLUMN analytics.recovery_history.restored_bytes IS 'Bytes that were written';
COMMENT ON COLUMN analytics.recovery_history.restored_bytes_per_second IS 'Restored bytes by duration';
COMMENT ON COLUMN analytics.recovery_history.checks IS 'Number of comparisons that the proof made';
COMMENT ON COLUMN analytics.recovery_history.findings IS 'Number of differences that it found';
COMMENT ON COLUMN analytics.recovery_history.warnings IS 'Number of warnings';
COMMENT ON COLUMN analytics.recovery_history.error IS 'Why it failed';
COMMENT ON COLUMN analytics.recovery_history.host IS 'The machine that ran it';
COMMENT ON COLUMN analytics.recovery_history.flow_run_id IS 'The flow run that ran it';
