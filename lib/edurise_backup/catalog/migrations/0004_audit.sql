-- The audit trail: who did what, each row chained to the one before it by a hash. Rows are only ever added.

CREATE TABLE audit_log (
    seq      bigint PRIMARY KEY,
    at       timestamptz NOT NULL,
    actor    text NOT NULL,
    via      text NOT NULL,
    action   text NOT NULL,
    subject  text NOT NULL DEFAULT '',
    outcome  text NOT NULL,
    detail   text NOT NULL DEFAULT '{}',
    previous text NOT NULL,
    hash     text NOT NULL,
    CONSTRAINT audit_counts_from_one CHECK (seq > 0),
    CONSTRAINT audit_actor_not_empty CHECK (actor <> ''),
    CONSTRAINT audit_action_not_empty CHECK (action <> ''),
    CONSTRAINT audit_outcome_known CHECK (outcome IN ('done', 'refused', 'failed')),
    CONSTRAINT audit_detail_is_an_object CHECK (jsonb_typeof(detail::jsonb) = 'object'),
    CONSTRAINT audit_hashes_are_sha256 CHECK (hash ~ '^[0-9a-f]{64}$' AND previous ~ '^[0-9a-f]{64}$'),
    CONSTRAINT audit_hash_unique UNIQUE (hash)
);

CREATE INDEX audit_log_at ON audit_log (at DESC);
CREATE INDEX audit_log_subject ON audit_log (subject) WHERE subject <> '';

COMMENT ON TABLE audit_log IS 'Everything that people and the product itself decided; append-only';
COMMENT ON COLUMN audit_log.seq IS 'Place in the chain, from 1 without a gap';
COMMENT ON COLUMN audit_log.via IS 'command line, dashboard, flow or system';
COMMENT ON COLUMN audit_log.detail IS 'A JSON object as text: its bytes are what was hashed';
COMMENT ON COLUMN audit_log.previous IS 'The hash of the row before it; zeros for the first';
COMMENT ON COLUMN audit_log.hash IS 'SHA-256 over the row and the hash before it (catalog/audit.py)';

CREATE FUNCTION audit_log_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of the audit trail are never changed or removed' USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_log_stays BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_log_stays();
CREATE TRIGGER audit_log_is_not_emptied BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_stays();
