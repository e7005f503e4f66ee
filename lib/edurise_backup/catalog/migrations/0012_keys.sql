-- The keys of the repository, as they were last seen: pages never open a repository.

CREATE TABLE repository_keys (
    id         text PRIMARY KEY,
    name       text NOT NULL,
    host       text NOT NULL,
    created_at timestamptz,
    current    boolean NOT NULL,
    trouble    text NOT NULL DEFAULT '',
    seen_at    timestamptz NOT NULL,
    CONSTRAINT key_id_is_hex CHECK (id ~ '^[0-9a-f]{64}$')
);

COMMENT ON TABLE repository_keys IS 'Key files of the repository by name and age, never what opens them';
COMMENT ON COLUMN repository_keys.current IS 'Whether the configured passphrase opens it';
COMMENT ON COLUMN repository_keys.trouble IS 'Why it cannot be read; such a key opens nothing';
COMMENT ON COLUMN repository_keys.seen_at IS 'When a check or a command for keys last saw it';
