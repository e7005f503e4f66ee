-- Maintenance of the repository (prune, check, forget), and which backups are not there any more.

CREATE TABLE maintenance_jobs (
    id                  uuid PRIMARY KEY,
    kind                text NOT NULL,
    status              text NOT NULL,
    dry_run             boolean NOT NULL DEFAULT false,
    asked               text NOT NULL DEFAULT '',
    verification_status text,
    started_at          timestamptz,
    completed_at        timestamptz,
    figures             jsonb,
    findings            text[] NOT NULL DEFAULT '{}',
    warnings            text[] NOT NULL DEFAULT '{}',
    remarks             text[] NOT NULL DEFAULT '{}',
    error               text,
    hint                text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    flow_run_id         uuid,
    host                text NOT NULL DEFAULT '',
    pid                 integer,
    boot_id             text,
    pid_namespace       bigint,
    process_ticks       bigint,
    heartbeat_at        timestamptz,
    phase               text,
    progress            double precision,
    cpu_seconds         double precision NOT NULL DEFAULT 0,
    peak_memory         bigint NOT NULL DEFAULT 0,
    sent_bytes          bigint NOT NULL DEFAULT 0,
    cancel_requested_at timestamptz,
    CONSTRAINT maintenance_kind_known CHECK (kind IN ('prune', 'check', 'forget', 'repair', 'copy')),
    CONSTRAINT maintenance_status_known CHECK (
        status IN ('queued', 'running', 'completed', 'completed_with_warnings', 'failed', 'cancelled')),
    CONSTRAINT maintenance_verdict_known CHECK (verification_status IN ('pending', 'passed', 'failed')),
    CONSTRAINT maintenance_times_in_order CHECK (completed_at >= started_at),
    CONSTRAINT maintenance_ended_has_time CHECK (
        (status IN ('queued', 'running')) = (completed_at IS NULL)),
    CONSTRAINT maintenance_begun_has_time CHECK (
        started_at IS NOT NULL OR status IN ('queued', 'failed', 'cancelled')),
    CONSTRAINT maintenance_good_has_figures CHECK (
        status NOT IN ('completed', 'completed_with_warnings') OR figures IS NOT NULL),
    CONSTRAINT maintenance_figures_are_an_object CHECK (jsonb_typeof(figures) = 'object'),
    CONSTRAINT maintenance_passed_without_findings CHECK (
        verification_status IS DISTINCT FROM 'passed' OR cardinality(findings) = 0),
    CONSTRAINT maintenance_sizes_not_negative CHECK (cpu_seconds >= 0 AND peak_memory >= 0 AND sent_bytes >= 0),
    CONSTRAINT maintenance_progress_is_a_share CHECK (progress BETWEEN 0 AND 1)
) WITH (fillfactor = 70);

CREATE INDEX maintenance_jobs_newest ON maintenance_jobs ((coalesce(started_at, created_at)) DESC, id DESC);
CREATE INDEX maintenance_jobs_open ON maintenance_jobs (status) WHERE status IN ('queued', 'running');
CREATE INDEX maintenance_jobs_outcome ON maintenance_jobs (kind, completed_at DESC);

COMMENT ON TABLE maintenance_jobs IS 'Every prune, check and forgetting that was asked for';
COMMENT ON COLUMN maintenance_jobs.dry_run IS 'Whether it only said what it would do';
COMMENT ON COLUMN maintenance_jobs.asked IS 'The options that it was asked for with';
COMMENT ON COLUMN maintenance_jobs.verification_status IS 'What a check found';
COMMENT ON COLUMN maintenance_jobs.figures IS 'Sizes and counts after the job; their names are those of model/jobs.py';

-- a generated column cannot be changed, only made anew
ALTER TABLE job_phases
    DROP CONSTRAINT job_phases_pkey,
    DROP CONSTRAINT phase_of_one_job,
    DROP COLUMN job_id,
    ADD COLUMN maintenance_id uuid REFERENCES maintenance_jobs ON DELETE CASCADE;
ALTER TABLE job_phases
    ADD COLUMN job_id uuid NOT NULL
        GENERATED ALWAYS AS (coalesce(backup_id, verification_id, recovery_id, maintenance_id)) STORED,
    ADD PRIMARY KEY (job_id, ordinal),
    ADD CONSTRAINT phase_of_one_job CHECK (
        num_nonnulls(backup_id, verification_id, recovery_id, maintenance_id) = 1);

CREATE INDEX job_phases_maintenance ON job_phases (maintenance_id) WHERE maintenance_id IS NOT NULL;

ALTER TABLE backup_jobs
    ADD COLUMN forgotten_at timestamptz,
    ADD COLUMN forgotten_until timestamptz,
    ADD COLUMN missing_since timestamptz,
    ADD CONSTRAINT backup_forgotten_has_begin CHECK (forgotten_until IS NULL OR forgotten_at IS NOT NULL);

COMMENT ON COLUMN backup_jobs.forgotten_at IS 'When it was forgotten; null while its snapshots are there';
COMMENT ON COLUMN backup_jobs.forgotten_until IS 'Until when it can be brought back';
COMMENT ON COLUMN backup_jobs.missing_since IS
    'When it was first noticed that a snapshot is gone which nobody has forgotten';

-- what was forgotten, or is gone, cannot be restored: it does not count as the last good one
CREATE OR REPLACE VIEW analytics.last_good AS
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
      AND b.forgotten_at IS NULL AND b.missing_since IS NULL
      AND (b.type = t.type OR EXISTS (
          SELECT FROM public.backup_parts p WHERE p.backup_id = b.id AND p.part = t.type))
    ORDER BY b.started_at DESC, b.id DESC
    LIMIT 1
) g ON true;

COMMENT ON VIEW analytics.last_good IS
    'For each type the newest good backup that holds it and is still there; a full backup holds its parts, too';

CREATE VIEW analytics.maintenance_history AS
WITH jobs AS (SELECT * FROM public.maintenance_jobs)
SELECT m.id, m.kind, m.dry_run, m.status, m.verification_status, m.asked, m.started_at, m.completed_at,
       extract(epoch FROM m.completed_at - m.started_at)::double precision AS duration_seconds,
       (m.figures ->> 'snapshots')::bigint AS snapshots,
       (m.figures ->> 'packs')::bigint AS packs,
       (m.figures ->> 'bytes')::bigint AS repository_bytes,
       (m.figures -> 'pruned' ->> 'deleted_bytes')::bigint AS deleted_bytes,
       (m.figures -> 'pruned' ->> 'repacked_bytes')::bigint AS repacked_bytes,
       (m.figures -> 'pruned' ->> 'waiting_bytes')::bigint AS waiting_bytes,
       (m.figures -> 'checked' ->> 'bytes_read')::bigint AS bytes_read,
       (m.figures -> 'checked' ->> 'within_percent')::double precision AS proved_within_30_days_percent,
       (m.figures -> 'checked' ->> 'oldest_proof')::timestamptz AS oldest_proof,
       cardinality(m.findings) AS findings, cardinality(m.warnings) AS warnings,
       m.error, m.host, m.flow_run_id
FROM jobs m;

COMMENT ON VIEW analytics.maintenance_history IS 'One row for each prune, check and forgetting';
COMMENT ON COLUMN analytics.maintenance_history.id IS 'The job';
COMMENT ON COLUMN analytics.maintenance_history.kind IS 'prune, check or forget';
COMMENT ON COLUMN analytics.maintenance_history.dry_run IS 'Whether it only said what it would do';
COMMENT ON COLUMN analytics.maintenance_history.status IS 'How the job went';
COMMENT ON COLUMN analytics.maintenance_history.verification_status IS 'What a check found: passed or failed';
COMMENT ON COLUMN analytics.maintenance_history.asked IS 'The options that it was asked for with';
COMMENT ON COLUMN analytics.maintenance_history.started_at IS 'When its work began';
COMMENT ON COLUMN analytics.maintenance_history.completed_at IS 'When it ended';
COMMENT ON COLUMN analytics.maintenance_history.duration_seconds IS 'Seconds from start to end';
COMMENT ON COLUMN analytics.maintenance_history.snapshots IS 'Snapshots after the job';
COMMENT ON COLUMN analytics.maintenance_history.packs IS 'Packs after the job';
COMMENT ON COLUMN analytics.maintenance_history.repository_bytes IS 'Bytes of all packs after the job';
COMMENT ON COLUMN analytics.maintenance_history.deleted_bytes IS 'Bytes of the packs that a prune deleted';
COMMENT ON COLUMN analytics.maintenance_history.repacked_bytes IS 'Bytes that a prune wrote again';
COMMENT ON COLUMN analytics.maintenance_history.waiting_bytes IS 'Bytes of packs that wait for the end of their grace';
COMMENT ON COLUMN analytics.maintenance_history.bytes_read IS 'Bytes that a check read and proved';
COMMENT ON COLUMN analytics.maintenance_history.proved_within_30_days_percent IS
    'The share of all bytes that were proved within 30 days, as a check saw it';
COMMENT ON COLUMN analytics.maintenance_history.oldest_proof IS 'When the pack that has waited longest was proved';
COMMENT ON COLUMN analytics.maintenance_history.findings IS 'Number of findings';
COMMENT ON COLUMN analytics.maintenance_history.warnings IS 'Number of warnings';
COMMENT ON COLUMN analytics.maintenance_history.error IS 'Why it failed';
COMMENT ON COLUMN analytics.maintenance_history.host IS 'The machine that ran it';
COMMENT ON COLUMN analytics.maintenance_history.flow_run_id IS 'The flow run that ran it';
