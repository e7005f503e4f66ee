-- One backup of a source at a time: whoever backs it up holds its lease, and proves so again when it publishes.

CREATE SEQUENCE lease_tokens;

CREATE TABLE leases (
    name        text PRIMARY KEY,
    token       bigint NOT NULL,
    holder      uuid NOT NULL,
    host        text NOT NULL,
    pid         integer NOT NULL,
    acquired_at timestamptz NOT NULL,
    renewed_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    CONSTRAINT lease_times_in_order CHECK (renewed_at >= acquired_at AND expires_at > renewed_at)
) WITH (fillfactor = 50);

COMMENT ON TABLE leases IS 'Who may work on what now';
COMMENT ON COLUMN leases.name IS 'What is held: a source, as PART/NAME';
COMMENT ON COLUMN leases.token IS 'Grows with each change of hands: an older one counts no more';
COMMENT ON COLUMN leases.holder IS 'The job that holds it';
