-- The stores of the platform, and which restore points have a copy where.

CREATE TABLE stores (
    name              text PRIMARY KEY,
    role              text NOT NULL,
    origin            text NOT NULL,
    location          text NOT NULL,
    settings          jsonb NOT NULL DEFAULT '{}',
    registered_at     timestamptz NOT NULL,
    registered_by     text NOT NULL,
    repository_id     text NOT NULL DEFAULT '',
    own_key           boolean,
    own_place         boolean,
    snapshots         bigint,
    bytes             bigint,
    seen_at           timestamptz,
    trouble           text NOT NULL DEFAULT '',
    unreachable_since timestamptz,
    probe             jsonb,
    probed_at         timestamptz,
    CONSTRAINT store_name_is_one CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
    CONSTRAINT store_role_known CHECK (role IN ('primary', 'copy')),
    CONSTRAINT store_origin_known CHECK (origin IN ('configuration', 'register')),
    CONSTRAINT store_primary_has_its_name CHECK ((role = 'primary') = (name = 'primary')),
    CONSTRAINT store_location_not_empty CHECK (location <> ''),
    CONSTRAINT store_settings_are_an_object CHECK (jsonb_typeof(settings) = 'object'),
    CONSTRAINT store_probe_is_an_object CHECK (jsonb_typeof(probe) = 'object'),
    CONSTRAINT store_unreachable_says_why CHECK (unreachable_since IS NULL OR trouble <> ''),
    CONSTRAINT store_sizes_not_negative CHECK (snapshots >= 0 AND bytes >= 0)
);

COMMENT ON TABLE stores IS 'The primary repository and its copies: those of the configuration, and those an admin registered';
COMMENT ON COLUMN stores.settings IS
    'Of a registered one: how it is opened, by the names of the configuration; places of secrets, never a secret';
COMMENT ON COLUMN stores.repository_id IS 'Which repository was found there; another one there is refused';
COMMENT ON COLUMN stores.own_key IS 'Whether its passphrase is another one than the primary''s; null: not known';
COMMENT ON COLUMN stores.own_place IS 'Whether it lies on another disk or server than the primary; null: not known';
COMMENT ON COLUMN stores.snapshots IS 'How many it had when it was last seen; so are the bytes of its packs';
COMMENT ON COLUMN stores.seen_at IS 'When it was last opened';
COMMENT ON COLUMN stores.trouble IS 'What was wrong when it was last used; empty: nothing';
COMMENT ON COLUMN stores.unreachable_since IS 'Since when it cannot be opened; null: it could, when it was last tried';
COMMENT ON COLUMN stores.probe IS 'What its server was found to do';

CREATE TABLE backup_copies (
    store       text NOT NULL REFERENCES stores ON DELETE CASCADE,
    backup_id   uuid NOT NULL REFERENCES backup_jobs ON DELETE CASCADE,
    state       text NOT NULL,
    snapshots   text[] NOT NULL DEFAULT '{}',
    bytes       bigint,
    copied_at   timestamptz,
    verified_at timestamptz,
    outcome     text,
    PRIMARY KEY (store, backup_id),
    CONSTRAINT copy_state_known CHECK (state IN ('whole', 'partial', 'forgotten', 'gone')),
    CONSTRAINT copy_outcome_known CHECK (outcome IN ('passed', 'failed')),
    CONSTRAINT copy_outcome_has_time CHECK ((outcome IS NULL) = (verified_at IS NULL)),
    CONSTRAINT copy_bytes_not_negative CHECK (bytes >= 0)
);

CREATE INDEX backup_copies_backup ON backup_copies (backup_id);

COMMENT ON TABLE backup_copies IS 'Each restore point in each copy: a cache of what the copies'' repositories list';
COMMENT ON COLUMN backup_copies.state IS
    'whole: all its snapshots are there; partial: some are; forgotten: the copy''s retention let it go; '
    'gone: it was there, and is neither listed nor forgotten';
COMMENT ON COLUMN backup_copies.snapshots IS
    'Their ids in the copy, in the order of the backup''s parts; empty where one is not there';
COMMENT ON COLUMN backup_copies.bytes IS 'What it added there; null: it was found there';
COMMENT ON COLUMN backup_copies.verified_at IS 'When its bytes there were last read back; never the primary''s';

ALTER TABLE maintenance_jobs
    ADD COLUMN store text NOT NULL DEFAULT '',
    DROP CONSTRAINT maintenance_kind_known,
    ADD CONSTRAINT maintenance_kind_known CHECK (
        kind IN ('prune', 'check', 'forget', 'repair', 'copy', 'verify', 'store'));

CREATE INDEX maintenance_jobs_store ON maintenance_jobs (store, kind, completed_at DESC) WHERE store <> '';

COMMENT ON TABLE maintenance_jobs IS 'Every prune, check, forgetting and copy that was asked for';
COMMENT ON COLUMN maintenance_jobs.store IS 'The copy that it worked on; empty: the primary';

ALTER TABLE recovery_jobs
    ADD COLUMN stores text[] NOT NULL DEFAULT '{}',
    ADD COLUMN store_notes text[] NOT NULL DEFAULT '{}';

COMMENT ON COLUMN recovery_jobs.stores IS 'The stores that the bytes came from, the chosen one first';
COMMENT ON COLUMN recovery_jobs.store_notes IS 'Why each of them was taken, and others were not';

ALTER TABLE backup_schedules
    DROP CONSTRAINT schedule_type_known,
    ADD CONSTRAINT schedule_type_known CHECK (type IN (
        'full', 'database', 'files', 'configuration', 'metadata', 'verify', 'check', 'retain', 'prune', 'report',
        'anchor', 'copy'));

COMMENT ON COLUMN backup_schedules.type IS
    'What is run: a type of backup, verify, check, retain, prune, report, anchor or copy';

CREATE VIEW analytics.copies AS
SELECT c.store, c.backup_id, b.type AS backup_type, b.completed_at AS backup_completed_at, c.state, c.bytes,
       c.copied_at, c.verified_at, c.outcome,
       extract(epoch FROM c.copied_at - b.completed_at)::double precision AS waited_seconds
FROM public.backup_copies c JOIN public.backup_jobs b ON b.id = c.backup_id;

COMMENT ON VIEW analytics.copies IS 'Each restore point in each copy';
COMMENT ON COLUMN analytics.copies.store IS 'The copy''s name';
COMMENT ON COLUMN analytics.copies.backup_id IS 'The backup';
COMMENT ON COLUMN analytics.copies.backup_type IS 'Its type';
COMMENT ON COLUMN analytics.copies.backup_completed_at IS 'When it ended';
COMMENT ON COLUMN analytics.copies.state IS 'whole, partial, forgotten or gone';
COMMENT ON COLUMN analytics.copies.bytes IS 'What it added to the copy';
COMMENT ON COLUMN analytics.copies.copied_at IS 'When it became whole there';
COMMENT ON COLUMN analytics.copies.verified_at IS 'When its bytes there were last read back';
COMMENT ON COLUMN analytics.copies.outcome IS 'What that found: passed or failed';
COMMENT ON COLUMN analytics.copies.waited_seconds IS 'From the backup''s end to its copy';

CREATE OR REPLACE VIEW analytics.maintenance_history AS
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
       m.error, m.host, m.flow_run_id, m.store
FROM jobs m;

COMMENT ON VIEW analytics.maintenance_history IS 'One row for each prune, check, forgetting and copy';
COMMENT ON COLUMN analytics.maintenance_history.store IS 'The copy that it worked on; empty: the primary';
