-- Jobs: backups, verifications, recoveries, with their parts and phases; schedules.
-- Sizes are bytes, times are instants. Rows of running jobs change every few
-- seconds: fillfactor leaves room for that, and no changing column is indexed.

CREATE TABLE backup_jobs (
    id                  uuid PRIMARY KEY,
    type                text NOT NULL,
    status              text NOT NULL,
    started_at          timestamptz,
    completed_at        timestamptz,
    size                bigint,
    location            text,
    checksum            text,
    stored_bytes        bigint,
    read_bytes          bigint,
    files               bigint,
    incremental         boolean NOT NULL DEFAULT false,
    set_id              uuid,
    source              text NOT NULL DEFAULT '',
    tags                text[] NOT NULL DEFAULT '{}',
    warnings            text[] NOT NULL DEFAULT '{}',
    error               text,
    hint                text,
    verified_at         timestamptz,
    verification_status text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    product_version     text NOT NULL DEFAULT '',
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
    CONSTRAINT backup_type_known CHECK (type IN ('full', 'database', 'files', 'configuration', 'metadata')),
    CONSTRAINT backup_status_known CHECK (
        status IN ('queued', 'running', 'completed', 'completed_with_warnings', 'failed', 'cancelled')),
    CONSTRAINT backup_times_in_order CHECK (completed_at >= started_at),
    CONSTRAINT backup_ended_has_time CHECK (
        (status IN ('queued', 'running')) = (completed_at IS NULL)),
    CONSTRAINT backup_begun_has_time CHECK (
        started_at IS NOT NULL OR status IN ('queued', 'failed', 'cancelled')),
    CONSTRAINT backup_good_is_whole CHECK (
        status NOT IN ('completed', 'completed_with_warnings')
        OR (size IS NOT NULL AND location <> '' AND location IS NOT NULL AND checksum IS NOT NULL)),
    CONSTRAINT backup_checksum_is_sha256 CHECK (checksum ~ '^[0-9a-f]{64}$'),
    CONSTRAINT backup_sizes_not_negative CHECK (
        size >= 0 AND stored_bytes >= 0 AND read_bytes >= 0 AND files >= 0
        AND cpu_seconds >= 0 AND peak_memory >= 0 AND sent_bytes >= 0),
    CONSTRAINT backup_progress_is_a_share CHECK (progress BETWEEN 0 AND 1),
    CONSTRAINT backup_verdict_known CHECK (verification_status IN ('pending', 'passed', 'failed')),
    CONSTRAINT backup_verdict_has_time CHECK (
        coalesce(verification_status, 'pending') = 'pending' OR verified_at IS NOT NULL)
) WITH (fillfactor = 70);

CREATE INDEX backup_jobs_newest ON backup_jobs ((coalesce(started_at, created_at)) DESC, id DESC);
CREATE INDEX backup_jobs_started ON backup_jobs (started_at DESC);
CREATE INDEX backup_jobs_open ON backup_jobs (status) WHERE status IN ('queued', 'running');
CREATE INDEX backup_jobs_outcome ON backup_jobs (type, status, completed_at DESC);
CREATE INDEX backup_jobs_set ON backup_jobs (set_id) WHERE set_id IS NOT NULL;
CREATE INDEX backup_jobs_tags ON backup_jobs USING gin (tags);

COMMENT ON TABLE backup_jobs IS 'Every backup that was asked for; what it holds is in the repository';
COMMENT ON COLUMN backup_jobs.size IS 'Bytes of the source';
COMMENT ON COLUMN backup_jobs.location IS 'The store''s address and the snapshot ids';
COMMENT ON COLUMN backup_jobs.checksum IS 'SHA-256 over the snapshot ids, in hex';
COMMENT ON COLUMN backup_jobs.stored_bytes IS 'Bytes that the backup added to the repository';
COMMENT ON COLUMN backup_jobs.boot_id IS 'The boot of the host that the process belongs to';
COMMENT ON COLUMN backup_jobs.process_ticks IS
    'When the process started, in clock ticks since boot: tells it from a later one with the same pid';

CREATE TABLE backup_parts (
    backup_id     uuid NOT NULL REFERENCES backup_jobs ON DELETE CASCADE,
    ordinal       integer NOT NULL,
    part          text NOT NULL,
    snapshot_id   text NOT NULL,
    source        text NOT NULL,
    source_bytes  bigint NOT NULL,
    stored_bytes  bigint NOT NULL,
    read_bytes    bigint NOT NULL,
    files         bigint NOT NULL,
    lsn           text,
    snapshot_time timestamptz,
    PRIMARY KEY (backup_id, ordinal),
    CONSTRAINT part_known CHECK (part IN ('database', 'files', 'configuration', 'metadata')),
    CONSTRAINT part_snapshot_id_is_hex CHECK (snapshot_id ~ '^[0-9a-f]{64}$'),
    CONSTRAINT part_sizes_not_negative CHECK (
        source_bytes >= 0 AND stored_bytes >= 0 AND read_bytes >= 0 AND files >= 0),
    CONSTRAINT part_lsn_is_an_lsn CHECK (lsn ~ '^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$')
);

CREATE INDEX backup_parts_snapshot ON backup_parts (snapshot_id);
CREATE INDEX backup_parts_source ON backup_parts (source);

COMMENT ON TABLE backup_parts IS 'The snapshots of each backup, in the order in which they were read';
COMMENT ON COLUMN backup_parts.snapshot_time IS 'The instant that the part shows';

CREATE TABLE backup_schedules (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    type       text NOT NULL,
    frequency  text NOT NULL,
    retention  integer NOT NULL,
    last_run   timestamptz,
    next_run   timestamptz,
    is_active  boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schedule_name_unique UNIQUE (name),
    CONSTRAINT schedule_name_not_empty CHECK (name <> ''),
    CONSTRAINT schedule_type_known CHECK (type IN ('full', 'database', 'files', 'configuration', 'metadata')),
    CONSTRAINT schedule_frequency_not_empty CHECK (frequency <> ''),
    CONSTRAINT schedule_retention_positive CHECK (retention > 0)
);

CREATE INDEX backup_schedules_due ON backup_schedules (next_run) WHERE is_active;

COMMENT ON COLUMN backup_schedules.retention IS 'Days';

CREATE TABLE verification_jobs (
    id                  uuid PRIMARY KEY,
    backup_id           uuid NOT NULL REFERENCES backup_jobs ON DELETE CASCADE,
    status              text NOT NULL,
    verification_status text NOT NULL DEFAULT 'pending',
    started_at          timestamptz,
    completed_at        timestamptz,
    bytes_read          bigint NOT NULL DEFAULT 0,
    blobs               bigint NOT NULL DEFAULT 0,
    findings            text[] NOT NULL DEFAULT '{}',
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
    CONSTRAINT verification_status_known CHECK (
        status IN ('queued', 'running', 'completed', 'completed_with_warnings', 'failed', 'cancelled')),
    CONSTRAINT verification_verdict_known CHECK (verification_status IN ('pending', 'passed', 'failed')),
    CONSTRAINT verification_times_in_order CHECK (completed_at >= started_at),
    CONSTRAINT verification_ended_has_time CHECK (
        (status IN ('queued', 'running')) = (completed_at IS NULL)),
    CONSTRAINT verification_begun_has_time CHECK (
        started_at IS NOT NULL OR status IN ('queued', 'failed', 'cancelled')),
    CONSTRAINT verification_passed_without_findings CHECK (
        verification_status <> 'passed' OR cardinality(findings) = 0),
    CONSTRAINT verification_good_has_verdict CHECK (
        status NOT IN ('completed', 'completed_with_warnings') OR verification_status <> 'pending'),
    CONSTRAINT verification_sizes_not_negative CHECK (
        bytes_read >= 0 AND blobs >= 0 AND cpu_seconds >= 0 AND peak_memory >= 0 AND sent_bytes >= 0),
    CONSTRAINT verification_progress_is_a_share CHECK (progress BETWEEN 0 AND 1)
) WITH (fillfactor = 70);

CREATE INDEX verification_jobs_newest ON verification_jobs ((coalesce(started_at, created_at)) DESC, id DESC);
CREATE INDEX verification_jobs_open ON verification_jobs (status) WHERE status IN ('queued', 'running');
CREATE INDEX verification_jobs_backup ON verification_jobs (backup_id, completed_at DESC);

COMMENT ON TABLE verification_jobs IS 'Every time that a backup was read back and proved';

CREATE TABLE recovery_jobs (
    id                  uuid PRIMARY KEY,
    backup_id           uuid NOT NULL REFERENCES backup_jobs ON DELETE RESTRICT,
    type                text NOT NULL,
    status              text NOT NULL,
    target_time         timestamptz,
    started_at          timestamptz,
    completed_at        timestamptz,
    verification_status text NOT NULL DEFAULT 'pending',
    target              jsonb,
    restored_bytes      bigint,
    findings            text[] NOT NULL DEFAULT '{}',
    checks              text[] NOT NULL DEFAULT '{}',
    warnings            text[] NOT NULL DEFAULT '{}',
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
    CONSTRAINT recovery_type_known CHECK (type IN ('full', 'database', 'files', 'configuration', 'metadata')),
    CONSTRAINT recovery_status_known CHECK (
        status IN ('queued', 'running', 'completed', 'completed_with_warnings', 'failed', 'cancelled')),
    CONSTRAINT recovery_verdict_known CHECK (verification_status IN ('pending', 'passed', 'failed')),
    CONSTRAINT recovery_times_in_order CHECK (completed_at >= started_at),
    CONSTRAINT recovery_ended_has_time CHECK (
        (status IN ('queued', 'running')) = (completed_at IS NULL)),
    CONSTRAINT recovery_begun_has_time CHECK (
        started_at IS NOT NULL OR status IN ('queued', 'failed', 'cancelled')),
    CONSTRAINT recovery_passed_without_findings CHECK (
        verification_status <> 'passed' OR cardinality(findings) = 0),
    CONSTRAINT recovery_target_is_an_object CHECK (jsonb_typeof(target) = 'object'),
    CONSTRAINT recovery_sizes_not_negative CHECK (
        restored_bytes >= 0 AND cpu_seconds >= 0 AND peak_memory >= 0 AND sent_bytes >= 0),
    CONSTRAINT recovery_progress_is_a_share CHECK (progress BETWEEN 0 AND 1)
) WITH (fillfactor = 70);

CREATE INDEX recovery_jobs_newest ON recovery_jobs ((coalesce(started_at, created_at)) DESC, id DESC);
CREATE INDEX recovery_jobs_open ON recovery_jobs (status) WHERE status IN ('queued', 'running');
CREATE INDEX recovery_jobs_backup ON recovery_jobs (backup_id);

COMMENT ON TABLE recovery_jobs IS 'Every recovery that was asked for, with its proof';
COMMENT ON COLUMN recovery_jobs.target_time IS 'The moment that was asked for';
COMMENT ON COLUMN recovery_jobs.verification_status IS 'What the proof of the restored data found';

CREATE TABLE job_phases (
    backup_id       uuid REFERENCES backup_jobs ON DELETE CASCADE,
    verification_id uuid REFERENCES verification_jobs ON DELETE CASCADE,
    recovery_id     uuid REFERENCES recovery_jobs ON DELETE CASCADE,
    job_id          uuid NOT NULL GENERATED ALWAYS AS (coalesce(backup_id, verification_id, recovery_id)) STORED,
    ordinal         integer NOT NULL,
    name            text NOT NULL,
    started_at      timestamptz NOT NULL,
    completed_at    timestamptz,
    bytes_done      bigint NOT NULL DEFAULT 0,
    bytes_total     bigint,
    files_done      bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, ordinal),
    CONSTRAINT phase_of_one_job CHECK (num_nonnulls(backup_id, verification_id, recovery_id) = 1),
    CONSTRAINT phase_times_in_order CHECK (completed_at >= started_at),
    CONSTRAINT phase_sizes_not_negative CHECK (bytes_done >= 0 AND bytes_total >= 0 AND files_done >= 0)
) WITH (fillfactor = 70);

CREATE INDEX job_phases_backup ON job_phases (backup_id) WHERE backup_id IS NOT NULL;
CREATE INDEX job_phases_verification ON job_phases (verification_id) WHERE verification_id IS NOT NULL;
CREATE INDEX job_phases_recovery ON job_phases (recovery_id) WHERE recovery_id IS NOT NULL;

COMMENT ON TABLE job_phases IS 'The steps of each job, with what they read';
