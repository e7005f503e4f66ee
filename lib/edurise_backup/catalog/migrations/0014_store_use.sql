-- What jobs asked of the stores they worked on, and what probes have found: pages and estimates never ask a store.

CREATE TABLE store_traffic (
    job_id    uuid NOT NULL,
    kind      text NOT NULL,
    store     text NOT NULL,
    operation text NOT NULL,
    at        timestamptz NOT NULL,
    requests  bigint NOT NULL,
    sent      bigint NOT NULL,
    received  bigint NOT NULL,
    PRIMARY KEY (job_id, store, operation),
    CONSTRAINT store_traffic_counts CHECK (requests >= 0 AND sent >= 0 AND received >= 0)
);

COMMENT ON TABLE store_traffic IS 'Requests and bytes by operation of each job that worked on a store; kept without its job';
COMMENT ON COLUMN store_traffic.kind IS 'The kind of job: backup, verification, recovery, maintenance';
COMMENT ON COLUMN store_traffic.store IS 'Which store: `primary` is the configured repository';
COMMENT ON COLUMN store_traffic.operation IS 'As the server''s manual calls it, e.g. PutObject';
COMMENT ON COLUMN store_traffic.sent IS 'Bytes of the requests'' bodies';

CREATE INDEX store_traffic_by_time ON store_traffic (store, at);

CREATE TABLE store_probes (
    store     text NOT NULL,
    location  text NOT NULL,
    probed_at timestamptz NOT NULL,
    found     jsonb NOT NULL,
    PRIMARY KEY (store, probed_at)
);

COMMENT ON TABLE store_probes IS 'What the servers of stores really do, as probes have found it';
COMMENT ON COLUMN store_probes.found IS 'The probe''s record, as it is sealed in the repository, too';
