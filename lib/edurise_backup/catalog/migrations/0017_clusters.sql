-- Base backups of clusters: one more part, and one more type, of a backup.

ALTER TABLE backup_jobs
    DROP CONSTRAINT backup_type_known,
    ADD CONSTRAINT backup_type_known CHECK (
        type IN ('full', 'database', 'cluster', 'files', 'configuration', 'metadata'));
ALTER TABLE backup_parts
    DROP CONSTRAINT part_known,
    ADD CONSTRAINT part_known CHECK (part IN ('database', 'cluster', 'files', 'configuration', 'metadata'));
ALTER TABLE recovery_jobs
    DROP CONSTRAINT recovery_type_known,
    ADD CONSTRAINT recovery_type_known CHECK (
        type IN ('full', 'database', 'cluster', 'files', 'configuration', 'metadata'));
ALTER TABLE backup_schedules
    DROP CONSTRAINT schedule_type_known,
    ADD CONSTRAINT schedule_type_known CHECK (type IN (
        'full', 'database', 'cluster', 'files', 'configuration', 'metadata', 'verify', 'check', 'retain', 'prune',
        'report', 'anchor', 'copy'));

CREATE OR REPLACE VIEW analytics.last_good AS
WITH types (type) AS (
    VALUES ('full'), ('database'), ('cluster'), ('files'), ('configuration'), ('metadata')
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
      AND b.forgotten_at IS NULL AND b.missing_since IS NULL
      AND (b.type = t.type OR EXISTS (
          SELECT FROM public.backup_parts p WHERE p.backup_id = b.id AND p.part = t.type))
    ORDER BY b.started_at DESC, b.id DESC
    LIMIT 1
) g ON true;
