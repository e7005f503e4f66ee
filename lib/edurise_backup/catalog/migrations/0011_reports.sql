-- Reports that were made, with the digests of their files; what a backup's bytes became on their way; the store's room.

CREATE TABLE reports (
    id             uuid PRIMARY KEY,
    period         text NOT NULL,
    starts_at      timestamptz NOT NULL,
    ends_at        timestamptz NOT NULL,
    zone           text NOT NULL,
    source         text NOT NULL DEFAULT '',
    made_at        timestamptz NOT NULL,
    made_by        text NOT NULL,
    policy_version text NOT NULL,
    verdict        text NOT NULL,
    controls       jsonb NOT NULL,
    files          jsonb NOT NULL,
    flow_run_id    uuid,
    CONSTRAINT report_period_not_empty CHECK (period <> '' AND ends_at > starts_at),
    CONSTRAINT report_made_by_somebody CHECK (made_by <> ''),
    CONSTRAINT report_verdict_known CHECK (verdict IN ('PASS', 'WARN', 'FAIL', 'NOT_EVALUATED')),
    CONSTRAINT report_controls_are_a_list CHECK (jsonb_typeof(controls) = 'array'),
    CONSTRAINT report_files_are_a_list CHECK (jsonb_typeof(files) = 'array')
);

CREATE INDEX reports_newest ON reports (made_at DESC, id DESC);

COMMENT ON TABLE reports IS 'Every report that was made; its files lie in the data directory, under reports/ID';
COMMENT ON COLUMN reports.period IS 'As it was asked for: 2026-10, 2026-Q3, 2026, 2026-10-05, or FROM..TO';
COMMENT ON COLUMN reports.zone IS 'IANA time zone in which the period is meant';
COMMENT ON COLUMN reports.source IS 'The one source that it is about; empty: all';
COMMENT ON COLUMN reports.policy_version IS 'The rules and thresholds that it was judged under';
COMMENT ON COLUMN reports.controls IS 'Each control with its status, numerator and denominator';
COMMENT ON COLUMN reports.files IS 'Each file with its size and SHA-256';

ALTER TABLE backup_jobs
    ADD COLUMN new_bytes bigint,
    ADD COLUMN compressed_bytes bigint,
    ADD CONSTRAINT backup_new_bytes_not_negative CHECK (new_bytes >= 0 AND compressed_bytes >= 0);
ALTER TABLE backup_parts
    ADD COLUMN new_bytes bigint,
    ADD COLUMN compressed_bytes bigint,
    ADD CONSTRAINT part_new_bytes_not_negative CHECK (new_bytes >= 0 AND compressed_bytes >= 0);

COMMENT ON COLUMN backup_jobs.new_bytes IS
    'Of `size`, what the repository did not hold yet, before compression; null: not recorded';
COMMENT ON COLUMN backup_jobs.compressed_bytes IS 'What became of `new_bytes` by compression; null: not recorded';

CREATE TABLE store_space (
    at          timestamptz NOT NULL,
    location    text NOT NULL,
    total_bytes bigint NOT NULL,
    free_bytes  bigint NOT NULL,
    PRIMARY KEY (location, at),
    CONSTRAINT store_space_in_range CHECK (free_bytes >= 0 AND total_bytes >= free_bytes)
);

COMMENT ON TABLE store_space IS 'The room on the disk of a local repository, after each backup, prune and check';
COMMENT ON COLUMN store_space.free_bytes IS 'What an ordinary user may still write';

CREATE INDEX backup_jobs_forgotten ON backup_jobs (forgotten_at) WHERE forgotten_at IS NOT NULL;
CREATE INDEX backup_jobs_missing ON backup_jobs (missing_since) WHERE missing_since IS NOT NULL;
