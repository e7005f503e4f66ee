-- What retention knows beside the repository: a cache of its pins and holds. The notes in the repository count.

CREATE TABLE protections (
    id            uuid PRIMARY KEY,
    kind          text NOT NULL,
    backup_id     uuid NOT NULL,
    snapshots     text[] NOT NULL,
    reason        text NOT NULL,
    who           text NOT NULL,
    since         timestamptz NOT NULL,
    until         timestamptz,
    releasing_at  timestamptz,
    missing_since timestamptz,
    CONSTRAINT protection_kind_known CHECK (kind IN ('pin', 'hold')),
    CONSTRAINT protection_keeps_something CHECK (cardinality(snapshots) > 0),
    CONSTRAINT protection_reason_not_empty CHECK (reason <> ''),
    CONSTRAINT protection_who_not_empty CHECK (who <> ''),
    CONSTRAINT protection_ends_after_it_began CHECK (until > since)
);

CREATE INDEX protections_backup ON protections (backup_id);

COMMENT ON TABLE protections IS 'Pins and legal holds: a cache of the notes below edurise/holds/ in the repository';
COMMENT ON COLUMN protections.backup_id IS
    'The backup that a person named; no foreign key: a hold outlives a lost catalog, and the snapshots count';
COMMENT ON COLUMN protections.until IS 'When a hold ends by itself; null: when it is released';
COMMENT ON COLUMN protections.releasing_at IS 'When somebody began to release it: its note may be gone rightly';
COMMENT ON COLUMN protections.missing_since IS
    'When it was first noticed that its note is gone though nobody has released it; it still keeps its backup';
