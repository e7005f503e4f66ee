-- Jobs that several workers do in shards: which shard each of them is at.

CREATE TABLE job_shards (
    backup_id       uuid REFERENCES backup_jobs ON DELETE CASCADE,
    verification_id uuid REFERENCES verification_jobs ON DELETE CASCADE,
    recovery_id     uuid REFERENCES recovery_jobs ON DELETE CASCADE,
    job_id          uuid NOT NULL GENERATED ALWAYS AS (coalesce(backup_id, verification_id, recovery_id)) STORED,
    number          integer NOT NULL,
    what            text NOT NULL,
    status          text NOT NULL DEFAULT 'waiting',
    tries           integer NOT NULL DEFAULT 0,
    host            text,
    pid             integer,
    started_at      timestamptz,
    heartbeat_at    timestamptz,
    completed_at    timestamptz,
    bytes_done      bigint NOT NULL DEFAULT 0,
    files_done      bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, number),
    CONSTRAINT shard_of_one_job CHECK (num_nonnulls(backup_id, verification_id, recovery_id) = 1),
    CONSTRAINT shard_status_known CHECK (status IN ('waiting', 'running', 'done', 'failed', 'stopped')),
    CONSTRAINT shard_started_has_time CHECK (status NOT IN ('running', 'done', 'failed') OR started_at IS NOT NULL),
    CONSTRAINT shard_ended_has_time CHECK ((status IN ('done', 'failed', 'stopped')) = (completed_at IS NOT NULL)),
    CONSTRAINT shard_counts_not_negative CHECK (number >= 0 AND tries >= 0 AND bytes_done >= 0 AND files_done >= 0)
) WITH (fillfactor = 70);

CREATE INDEX job_shards_backup ON job_shards (backup_id) WHERE backup_id IS NOT NULL;
CREATE INDEX job_shards_verification ON job_shards (verification_id) WHERE verification_id IS NOT NULL;
CREATE INDEX job_shards_recovery ON job_shards (recovery_id) WHERE recovery_id IS NOT NULL;

COMMENT ON TABLE job_shards IS 'The shards of a job that several workers do: written when it is planned, told by whoever works on it';
COMMENT ON COLUMN job_shards.what IS 'What belongs to it, for people';
COMMENT ON COLUMN job_shards.tries IS 'How often it was begun: more than once when a worker died';
COMMENT ON COLUMN job_shards.bytes_done IS 'Of the try that goes on, or was the last one';
