-- More than one machine: who works where, and what each host can read.

CREATE TABLE workers (
    host                 text PRIMARY KEY,
    id                   uuid NOT NULL,
    pool                 text NOT NULL,
    slots                integer NOT NULL,
    sources              text[] NOT NULL,
    repository           text NOT NULL,
    version              text NOT NULL,
    pid                  integer NOT NULL,
    boot_id              text,
    machine_id           text,
    clock_offset_seconds double precision NOT NULL DEFAULT 0,
    started_at           timestamptz NOT NULL,
    seen_at              timestamptz NOT NULL,
    left_at              timestamptz,
    CONSTRAINT worker_slots_positive CHECK (slots > 0),
    CONSTRAINT worker_times_in_order CHECK (seen_at >= started_at AND (left_at IS NULL OR left_at >= started_at))
) WITH (fillfactor = 50);

COMMENT ON TABLE workers IS 'Hosts whose worker takes flow runs from a pool; one that is away stays until somebody removes it';
COMMENT ON COLUMN workers.host IS 'The host setting of its configuration, and the queue of what only it can do';
COMMENT ON COLUMN workers.id IS 'Of the worker''s process: another worker of the same name is noticed';
COMMENT ON COLUMN workers.slots IS 'How many runs it works on at once';
COMMENT ON COLUMN workers.sources IS 'What its configuration lists and it may read, as PART/NAME';
COMMENT ON COLUMN workers.repository IS 'The id of the repository that it opens: the same on every host';
COMMENT ON COLUMN workers.clock_offset_seconds IS 'How far its clock was ahead of the catalog server''s';
COMMENT ON COLUMN workers.seen_at IS 'Its last sign of life, by the catalog server''s clock';
COMMENT ON COLUMN workers.left_at IS 'When it was stopped in order';

-- a boot of another machine of the same name is no proof that this one was started again
ALTER TABLE backup_jobs ADD COLUMN machine_id text;
ALTER TABLE verification_jobs ADD COLUMN machine_id text;
ALTER TABLE recovery_jobs ADD COLUMN machine_id text;
ALTER TABLE maintenance_jobs ADD COLUMN machine_id text;

COMMENT ON COLUMN backup_jobs.machine_id IS 'A digest of the machine''s id: tells a restarted host from another one of its name';
