-- The write-ahead log: how its reception stands, what each segment holds, and which base backups it continues.

CREATE TABLE base_backups (
    backup_id         uuid NOT NULL REFERENCES backup_jobs (id) ON DELETE CASCADE,
    source            text NOT NULL,
    system_identifier text NOT NULL,
    timeline          bigint NOT NULL,
    start_lsn         pg_lsn NOT NULL,
    stop_lsn          pg_lsn NOT NULL,
    start_at          timestamptz NOT NULL,
    stop_at           timestamptz NOT NULL,
    segment_size      bigint NOT NULL,
    server_version    text NOT NULL,
    method            text NOT NULL,
    damaged           integer NOT NULL DEFAULT 0,
    PRIMARY KEY (backup_id, source),
    CONSTRAINT base_backup_in_order CHECK (stop_lsn >= start_lsn AND stop_at >= start_at)
);

COMMENT ON TABLE base_backups IS 'Where each base backup of a cluster begins and ends in the log; the repository has the same in cluster.json';

CREATE TABLE wal_sources (
    source            text PRIMARY KEY,
    system_identifier text NOT NULL,
    segment_size      bigint NOT NULL,
    timeline          bigint NOT NULL,
    method            text NOT NULL,
    slot              text NOT NULL,
    host              text NOT NULL,
    pid               integer NOT NULL,
    started_at        timestamptz NOT NULL,
    seen_at           timestamptz NOT NULL,
    state             text NOT NULL,
    trouble           text NOT NULL DEFAULT '',
    hint              text NOT NULL DEFAULT '',
    trouble_since     timestamptz,
    server_lsn        pg_lsn,
    received_lsn      pg_lsn,
    shipped_lsn       pg_lsn,
    shipped_at        timestamptz,
    last_commit_at    timestamptz,
    exposed_since     timestamptz,
    spool_bytes       bigint NOT NULL DEFAULT 0,
    server_wal_bytes  bigint,
    slot_status       text NOT NULL DEFAULT '',
    slot_safe_bytes   bigint,
    beat_at           timestamptz,
    quarantined       integer NOT NULL DEFAULT 0,
    conflicts         integer NOT NULL DEFAULT 0,
    ship_seconds      integer NOT NULL,
    spool_limit_bytes bigint NOT NULL,
    CONSTRAINT wal_state_known CHECK (state IN ('starting', 'receiving', 'waiting', 'stopped'))
) WITH (fillfactor = 50);

COMMENT ON TABLE wal_sources IS 'How the reception of each cluster''s log stands; written every few seconds by the one receiver';
COMMENT ON COLUMN wal_sources.shipped_lsn IS 'Up to here the log is in the repository';
COMMENT ON COLUMN wal_sources.exposed_since IS 'The server has written since then what is not in the repository; null: nothing would be lost now';
COMMENT ON COLUMN wal_sources.last_commit_at IS 'The latest commit in the repository: what a recovery to the latest moment reaches';
COMMENT ON COLUMN wal_sources.quarantined IS 'Files that are no whole segments of this cluster, put aside in the spool';
COMMENT ON COLUMN wal_sources.conflicts IS 'Segments that came again with other bytes: two clusters write the same log';

CREATE TABLE wal_segments (
    source            text NOT NULL,
    system_identifier text NOT NULL,
    timeline          bigint NOT NULL,
    number            bigint NOT NULL,
    name              text NOT NULL,
    complete          boolean NOT NULL,
    follows           boolean NOT NULL,
    begin_lsn         pg_lsn NOT NULL,
    end_lsn           pg_lsn NOT NULL,
    first_commit_at   timestamptz,
    last_commit_at    timestamptz,
    commits           bigint NOT NULL DEFAULT 0,
    aborts            bigint NOT NULL DEFAULT 0,
    activity          jsonb NOT NULL DEFAULT '[]',
    points            jsonb NOT NULL DEFAULT '[]',
    shipped_at        timestamptz NOT NULL,
    PRIMARY KEY (source, system_identifier, timeline, number),
    CONSTRAINT wal_segment_in_order CHECK (end_lsn >= begin_lsn AND last_commit_at >= first_commit_at)
);
CREATE INDEX wal_segments_by_time ON wal_segments (source, last_commit_at);

COMMENT ON TABLE wal_segments IS 'What each segment in the repository holds, read once when it arrived; can be read again from the repository';
COMMENT ON COLUMN wal_segments.activity IS 'Pairs of second (since 1970) and commits';

CREATE TABLE wal_timelines (
    source            text NOT NULL,
    system_identifier text NOT NULL,
    timeline          bigint NOT NULL,
    parent            bigint NOT NULL,
    switch_lsn        pg_lsn NOT NULL,
    reason            text NOT NULL DEFAULT '',
    seen_at           timestamptz NOT NULL,
    PRIMARY KEY (source, system_identifier, timeline)
);

COMMENT ON TABLE wal_timelines IS 'Where each timeline left its parent';

CREATE TABLE wal_events (
    source            text NOT NULL,
    system_identifier text NOT NULL,
    timeline          bigint NOT NULL,
    number            bigint NOT NULL,
    commit_lsn        pg_lsn NOT NULL,
    commit_end        pg_lsn NOT NULL,
    xid               bigint NOT NULL,
    at                timestamptz NOT NULL,
    kind              text NOT NULL,
    database          text NOT NULL DEFAULT '',
    relation          text NOT NULL DEFAULT '',
    rows              bigint NOT NULL DEFAULT 0,
    certain           boolean NOT NULL DEFAULT true,
    said              text NOT NULL DEFAULT '',
    PRIMARY KEY (source, system_identifier, timeline, commit_lsn, kind, relation)
);
CREATE INDEX wal_events_by_time ON wal_events (source, at DESC);

COMMENT ON TABLE wal_events IS 'What committed transactions did that somebody may want undone';
COMMENT ON COLUMN wal_events.commit_lsn IS 'A recovery up to here, not inclusive, ends just before it';

CREATE TABLE wal_readers (
    source            text NOT NULL,
    system_identifier text NOT NULL,
    timeline          bigint NOT NULL,
    state             bytea NOT NULL,
    PRIMARY KEY (source, system_identifier, timeline)
);

COMMENT ON TABLE wal_readers IS 'What the reader of a log keeps in mind between two segments';
