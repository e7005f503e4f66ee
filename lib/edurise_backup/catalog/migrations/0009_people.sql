-- People: accounts with roles, their sessions with the dashboard, and what needs a second person.

CREATE TABLE accounts (
    id              uuid PRIMARY KEY,
    name            text NOT NULL,
    folded          text NOT NULL,
    roles           text[] NOT NULL,
    password        text NOT NULL,
    must_change     boolean NOT NULL,
    created_at      timestamptz NOT NULL,
    created_by      text NOT NULL,
    disabled_at     timestamptz,
    failures        integer NOT NULL DEFAULT 0,
    locked_until    timestamptz,
    last_sign_in_at timestamptz,
    CONSTRAINT account_name_unique UNIQUE (folded),
    CONSTRAINT account_roles_known CHECK (
        cardinality(roles) > 0 AND roles <@ ARRAY['viewer', 'operator', 'restorer', 'approver', 'admin', 'auditor']),
    CONSTRAINT account_password_is_a_record CHECK (password LIKE 'scrypt$%'),
    CONSTRAINT account_failures_counted CHECK (failures >= 0)
);

COMMENT ON TABLE accounts IS 'Who may sign in, and with which roles';
COMMENT ON COLUMN accounts.folded IS 'The name as names are compared: no two accounts differ in case only';
COMMENT ON COLUMN accounts.password IS 'scrypt$N$R$P$SALT$DIGEST (model/accounts.py); never the password';
COMMENT ON COLUMN accounts.must_change IS 'Somebody else knows the password: nothing may be done before it is changed';

CREATE TABLE dashboard_sessions (
    id           uuid PRIMARY KEY,
    token        text NOT NULL,
    account_id   uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    started_at   timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    ended_at     timestamptz,
    end_reason   text,
    CONSTRAINT session_token_unique UNIQUE (token),
    CONSTRAINT session_token_is_a_hash CHECK (token ~ '^[0-9a-f]{64}$'),
    CONSTRAINT session_ends_with_a_reason CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);

CREATE INDEX dashboard_sessions_of ON dashboard_sessions (account_id) WHERE ended_at IS NULL;

COMMENT ON TABLE dashboard_sessions IS 'Who is signed in to the dashboard';
COMMENT ON COLUMN dashboard_sessions.token IS 'SHA-256 of the token that the browser session holds';

CREATE TABLE approvals (
    id           uuid PRIMARY KEY,
    act          text NOT NULL,
    plan         text NOT NULL,
    plan_hash    text NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    decided_by   text,
    decided_at   timestamptz,
    agreed       boolean,
    note         text NOT NULL DEFAULT '',
    used_by      text,
    used_at      timestamptz,
    CONSTRAINT approval_act_not_empty CHECK (act <> ''),
    CONSTRAINT approval_plan_is_an_object CHECK (jsonb_typeof(plan::jsonb) = 'object'),
    CONSTRAINT approval_hash_is_sha256 CHECK (plan_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT approval_decided_as_a_whole
        CHECK ((decided_by IS NULL) = (decided_at IS NULL) AND (decided_by IS NULL) = (agreed IS NULL)),
    CONSTRAINT approval_by_two CHECK (agreed IS NOT TRUE OR lower(decided_by) <> lower(requested_by)),
    CONSTRAINT approval_used_as_a_whole CHECK ((used_by IS NULL) = (used_at IS NULL)),
    CONSTRAINT approval_used_once_agreed CHECK (used_at IS NULL OR agreed)
);

CREATE INDEX approvals_newest ON approvals (requested_at DESC, id DESC);
CREATE INDEX approvals_of_plans ON approvals (act, plan_hash) WHERE used_at IS NULL;

COMMENT ON TABLE approvals IS 'What one person asked for and another one agreed to; used once';
COMMENT ON COLUMN approvals.plan IS 'Canonical JSON of what exactly is to be done';
COMMENT ON COLUMN approvals.plan_hash IS 'SHA-256 of the plan: an approval is for this and nothing else';
COMMENT ON COLUMN approvals.expires_at IS 'Until when it can be decided, and after that, used';

CREATE FUNCTION approval_goes_one_way() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.used_at IS NOT NULL
       OR (OLD.decided_at IS NOT NULL AND (NEW.decided_by, NEW.agreed) IS DISTINCT FROM (OLD.decided_by, OLD.agreed))
       OR (NEW.act, NEW.plan, NEW.plan_hash, NEW.requested_by) IS DISTINCT FROM
          (OLD.act, OLD.plan, OLD.plan_hash, OLD.requested_by) THEN
        RAISE EXCEPTION 'an approval is decided once, used once, and never rewritten'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER approval_goes_one_way BEFORE UPDATE ON approvals
    FOR EACH ROW EXECUTE FUNCTION approval_goes_one_way();
