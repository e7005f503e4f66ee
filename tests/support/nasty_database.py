"""A database with everything that dumps and counts get wrong."""

from __future__ import annotations

from psycopg import sql

from edurise_backup.postgres.connection import Address, connect
from tests.support.postgres import execute

HOSTILE_NAMES = (
    "Mixed Case",
    'with "quotes"',
    "dots.and.dots",
    "star*and?",
    "$dollar$",
    "semi;colon -- comment",
    "-o option",
    "back\\slash",
    "pipe|(paren)[bracket]{brace}+^",
    "percent %s %d",
    "ünï – 測試",
    "x" * 63,
    "t",
    "r",
    "line\nbreak",
)

_SCHEMA = r"""
CREATE SCHEMA auth AUTHORIZATION {owner};
COMMENT ON SCHEMA auth IS 'who may enter: it''s "private" \ slashed';
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TYPE pair AS (a integer, b text);
CREATE TABLE auth.users (
    id bigint GENERATED ALWAYS AS IDENTITY (START 100) PRIMARY KEY,
    name text NOT NULL, mood mood DEFAULT 'happy', age positive,
    shouted text GENERATED ALWAYS AS (upper(name)) STORED,
    details jsonb, photo bytea, twin pair, weights double precision[], seen timestamptz, span interval,
    amount numeric(20, 5), boss bigint REFERENCES auth.users DEFERRABLE INITIALLY DEFERRED,
    UNIQUE (name)
);
ALTER TABLE auth.users OWNER TO {owner};
ALTER TABLE auth.users ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth.users FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON auth.users TO {reader} USING (name = current_user);
INSERT INTO auth.users (name, mood, age, details, photo, twin, weights, seen, span, amount)
SELECT 'user ' || i, (ARRAY['sad', 'it''s ok', 'happy']::mood[])[1 + i % 3], i,
       jsonb_build_object('n', i, 'text', E'line\n"q"\\'), decode(md5(i::text), 'hex'), (i, 'b,"')::pair,
       ARRAY[i / 3.0, 'NaN', '-Infinity', 1e-300], '2026-01-01 00:00+02'::timestamptz + i * '1 hour'::interval,
       i * '1 mon 2 days 00:00:01.5'::interval, i / 7.0
FROM generate_series(1, 500) i;
UPDATE auth.users SET boss = id - 1 WHERE id > 100;
INSERT INTO auth.users (name, mood) VALUES (E'\\N', NULL), ('', NULL), (E'tab\there', NULL);

CREATE TABLE events (id bigint, at date NOT NULL, body text) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 (body text, at date NOT NULL, id bigint);
ALTER TABLE events ATTACH PARTITION events_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE events_other PARTITION OF events DEFAULT PARTITION BY HASH (id);
CREATE TABLE events_other_0 PARTITION OF events_other FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE events_other_1 PARTITION OF events_other FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO events SELECT i, '2024-06-01'::date + i, repeat(md5(i::text), 4) FROM generate_series(1, 900) i;
CREATE INDEX ON events (at);

CREATE TABLE parent (a integer);
CREATE TABLE child (b integer) INHERITS (parent);
ALTER TABLE parent ADD COLUMN late text;
INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (2, 3, 'c');
CREATE TABLE no_columns (); INSERT INTO no_columns DEFAULT VALUES; INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE twins (v text); INSERT INTO twins SELECT 'same' FROM generate_series(1, 10);
CREATE TABLE t (t text, r integer); INSERT INTO t VALUES ('t', 1);
CREATE TABLE dropped_column (a integer, gone text, c integer); INSERT INTO dropped_column VALUES (1, 'x', 2);
ALTER TABLE dropped_column DROP COLUMN gone;
CREATE UNLOGGED TABLE fleeting (v integer); INSERT INTO fleeting VALUES (1), (2);
CREATE TABLE checked (v integer); INSERT INTO checked VALUES (-1);
ALTER TABLE checked ADD CONSTRAINT not_yet CHECK (v > 0) NOT VALID;

CREATE TABLE big (id integer PRIMARY KEY, payload text);
ALTER TABLE big ALTER COLUMN payload SET STORAGE EXTERNAL;
INSERT INTO big SELECT i, repeat(md5(i::text), 64) FROM generate_series(1, 800) i;
CREATE TABLE "big ""one"".*$" (id integer REFERENCES big, self integer, payload text, PRIMARY KEY (id));
ALTER TABLE "big ""one"".*$" ADD FOREIGN KEY (self) REFERENCES "big ""one"".*$";
INSERT INTO "big ""one"".*$" SELECT i, i, repeat(md5(i::text), 20) FROM generate_series(1, 800) i;
COMMENT ON COLUMN big.payload IS E'newline\nin a comment';

CREATE SEQUENCE tickets INCREMENT 5 START 7; SELECT nextval('tickets'); SELECT nextval('tickets');
CREATE SEQUENCE untouched;
CREATE VIEW happy AS SELECT * FROM auth.users WHERE mood = 'happy';
CREATE MATERIALIZED VIEW per_mood AS SELECT mood, count(*) AS n FROM auth.users GROUP BY mood;
CREATE UNIQUE INDEX ON per_mood (mood);
CREATE MATERIALIZED VIEW not_filled AS SELECT 1 AS one WITH NO DATA;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := 'stamped'; RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE INSERT ON twins FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER silent BEFORE UPDATE ON twins FOR EACH ROW EXECUTE FUNCTION stamp();
ALTER TABLE twins DISABLE TRIGGER silent;
CREATE FUNCTION ended() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER ended ON ddl_command_end EXECUTE FUNCTION ended();
CREATE PUBLICATION news FOR TABLE twins;
GRANT USAGE ON SCHEMA auth TO {reader};
GRANT SELECT ON auth.users, events TO {reader} WITH GRANT OPTION;
GRANT UPDATE (name) ON auth.users TO {reader};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA auth GRANT SELECT ON TABLES TO {reader};
REVOKE EXECUTE ON FUNCTION stamp() FROM PUBLIC;
SELECT lo_from_bytea(0, 'a large object');
SELECT lo_from_bytea(0, decode(repeat('00ff', 40000), 'hex'));
SELECT lo_create(0);
"""


def make_nasty(address: Address, *, owner: str, reader: str) -> None:
    """Fill the empty database at `address`; the roles `owner` and `reader` exist."""
    names = {"owner": sql.Identifier(owner), "reader": sql.Identifier(reader)}
    with connect(address) as connection:
        connection.execute(sql.SQL(_SCHEMA).format(**names))
        for number, name in enumerate(HOSTILE_NAMES):
            table = sql.Identifier(name) if number % 2 else sql.Identifier("auth", name)
            column = sql.Identifier(name)
            connection.execute(
                sql.SQL("CREATE TABLE {t} ({c} text); INSERT INTO {t} VALUES ('a'), ({v})").format(
                    t=table, c=column, v=name
                )
            )
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier('Schema "x".*')))
        connection.execute(
            sql.SQL("CREATE TABLE {} AS SELECT i FROM generate_series(1, 3) i").format(
                sql.Identifier('Schema "x".*', 'table "y".*')
            )
        )
    database = sql.Identifier(address.database)
    names["database"] = database
    for statement in (
        "ALTER DATABASE {database} OWNER TO {owner}",
        "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        "GRANT CONNECT ON DATABASE {database} TO {reader} WITH GRANT OPTION",
        "SET ROLE {reader}; GRANT CONNECT ON DATABASE {database} TO pg_monitor; RESET ROLE",
        "ALTER DATABASE {database} SET search_path TO \"$user\", public, 'odd, name'",
        "ALTER DATABASE {database} SET app.greeting TO 'it''s \\ \"me\"'",
        "ALTER DATABASE {database} SET intervalstyle TO 'iso_8601'",
        "ALTER DATABASE {database} SET extra_float_digits TO '-3'",
        "ALTER ROLE {reader} IN DATABASE {database} SET statement_timeout TO '5min'",
        "ALTER ROLE {reader} IN DATABASE {database} SET search_path TO auth, public",
        "COMMENT ON DATABASE {database} IS E'a \\'comment\\' \\\\ with\\n:\"database\" in it'",
        "ALTER DATABASE {database} WITH CONNECTION LIMIT 7",
    ):
        execute(address.with_database("postgres"), sql.SQL(statement).format(**names))
