-- Schedules in full, and the ledger of the runs that they lead one to expect.

ALTER TABLE backup_schedules
    DROP CONSTRAINT schedule_type_known,
    ADD COLUMN source          text NOT NULL DEFAULT '',
    ADD COLUMN zone            text NOT NULL DEFAULT 'UTC',
    ADD COLUMN incremental     boolean NOT NULL DEFAULT true,
    ADD COLUMN tags            text[] NOT NULL DEFAULT '{}',
    ADD COLUMN options         jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN keep            jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN jitter_seconds  integer NOT NULL DEFAULT 0,
    ADD COLUMN grace_seconds   integer NOT NULL DEFAULT 3600,
    ADD COLUMN blackout        text[] NOT NULL DEFAULT '{}',
    ADD COLUMN catch_up        boolean NOT NULL DEFAULT true,
    ADD COLUMN paused_until    timestamptz,
    ADD COLUMN version         integer NOT NULL DEFAULT 1,
    ADD COLUMN updated_at      timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN prefect_schedule_id uuid,
    ADD CONSTRAINT schedule_type_known CHECK (type IN (
        'full', 'database', 'files', 'configuration', 'metadata', 'verify', 'check', 'retain', 'prune', 'report',
        'anchor')),
    ADD CONSTRAINT schedule_options_are_an_object CHECK (jsonb_typeof(options) = 'object'),
    ADD CONSTRAINT schedule_keep_is_an_object CHECK (jsonb_typeof(keep) = 'object'),
    ADD CONSTRAINT schedule_jitter_in_range CHECK (jitter_seconds BETWEEN 0 AND 86400),
    ADD CONSTRAINT schedule_grace_in_range CHECK (grace_seconds BETWEEN 1 AND 31536000),
    ADD CONSTRAINT schedule_version_positive CHECK (version > 0);

COMMENT ON COLUMN backup_schedules.type IS 'What is run: a type of backup, verify, check, retain, prune, report or anchor';
COMMENT ON COLUMN backup_schedules.frequency IS 'As a person wrote it: cron, an interval, or plain words';
COMMENT ON COLUMN backup_schedules.source IS 'The one source that is backed up; empty: all of the type';
COMMENT ON COLUMN backup_schedules.zone IS 'IANA time zone in which the frequency is meant';
COMMENT ON COLUMN backup_schedules.options IS 'Of what is run, by the names of its flow''s parameters; never a secret';
COMMENT ON COLUMN backup_schedules.keep IS
    'The retention rules beside `retention` (days): last, hourly, daily, weekly, monthly, yearly, tags';
COMMENT ON COLUMN backup_schedules.jitter_seconds IS 'A run begins up to so much later, always the same for one time';
COMMENT ON COLUMN backup_schedules.grace_seconds IS 'A run that begins later than this after its time is skipped';
COMMENT ON COLUMN backup_schedules.blackout IS 'Spans in which nothing is started, in the schedule''s zone';
COMMENT ON COLUMN backup_schedules.catch_up IS 'Whether the newest run that was missed is made up for, once';
COMMENT ON COLUMN backup_schedules.paused_until IS 'When a pause ends by itself; null: it does not';
COMMENT ON COLUMN backup_schedules.version IS 'Counts the edits';

CREATE TABLE expected_runs (
    schedule_id uuid NOT NULL,
    due_at      timestamptz NOT NULL,
    name        text NOT NULL,
    type        text NOT NULL,
    source      text NOT NULL DEFAULT '',
    grace_until timestamptz NOT NULL,
    frozen_at   timestamptz NOT NULL,
    outcome     text,
    judged_at   timestamptz,
    job_id      uuid,
    begun_at    timestamptz,
    flow_run_id uuid,
    made_up_at  timestamptz,
    reason      text NOT NULL DEFAULT '',
    PRIMARY KEY (schedule_id, due_at),
    CONSTRAINT expected_frozen_before_due CHECK (frozen_at <= due_at),
    CONSTRAINT expected_grace_after_due CHECK (grace_until >= due_at),
    CONSTRAINT expected_outcome_known CHECK (outcome IN ('kept', 'failed', 'missed', 'skipped', 'withdrawn')),
    CONSTRAINT expected_judged_has_time CHECK ((outcome IS NULL) = (judged_at IS NULL)),
    CONSTRAINT expected_kept_by_a_job CHECK (outcome IS DISTINCT FROM 'kept' OR job_id IS NOT NULL)
) WITH (fillfactor = 70);

CREATE INDEX expected_runs_open ON expected_runs (due_at) WHERE outcome IS NULL;
CREATE INDEX expected_runs_due ON expected_runs (due_at DESC);

COMMENT ON TABLE expected_runs IS
    'Runs that schedules lead one to expect, written before they are due: a missed one counts. Rows outlive their schedule';
COMMENT ON COLUMN expected_runs.outcome IS
    'kept: ran well; failed: ran and failed; missed: did not run in its grace; skipped: by a pause, a blackout or an '
    'overlap; withdrawn: its schedule was edited or removed before it was due; null: not due or not judged yet';
COMMENT ON COLUMN expected_runs.job_id IS 'The job that ran for it';
COMMENT ON COLUMN expected_runs.begun_at IS 'When a run took it up: it is taken up once';
COMMENT ON COLUMN expected_runs.flow_run_id IS 'The flow run that took it up';
COMMENT ON COLUMN expected_runs.made_up_at IS 'Of a missed one: when a later run that ended well made up for it';
