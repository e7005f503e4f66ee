"""Tables as they were lie in a new schema, and nothing else is touched."""

from __future__ import annotations

import pytest

from edurise_backup.errors import CancelledError, ConflictError, InputError
from edurise_backup.recovery.rescue.importing import import_as_schema
from edurise_backup.recovery.rescue.shapes import TableName, Wanted
from tests.support.rescue import MakeMoments, Scissors

TABLES = """
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE a (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text NOT NULL UNIQUE, mood mood DEFAULT 'sad',
                w text GENERATED ALWAYS AS (v || '!') STORED);
CREATE TABLE b (a integer REFERENCES a, n numeric) PARTITION BY LIST (a);
CREATE TABLE b_1 PARTITION OF b DEFAULT;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'fired'; END $$;
INSERT INTO a (v) SELECT 'v' || i FROM generate_series(1, 50) i;
INSERT INTO b SELECT 1 + i % 50, i / 7.0 FROM generate_series(1, 100) i;
CREATE TRIGGER fails BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION fail();
"""
BOTH = (Wanted("public", "a"), Wanted("public", "b"))


def test_tables_come_into_a_new_schema_as_they_were(moments: MakeMoments) -> None:
    both = moments(TABLES)
    both.happens("DROP TABLE b", "UPDATE a SET v = v || 'x'")
    done = import_as_schema(both.sandbox, both.live, BOTH, schema='as "it" was')
    assert [(one.copy, one.rows) for one in done] == [
        (TableName('as "it" was', "a"), 50),
        (TableName('as "it" was', "b"), 100),
    ]
    for name in ("a", "b"):
        query = f"SELECT t::text FROM {{}}{name} t ORDER BY 1"
        assert both.rows(query.format('"as ""it"" was".')) == both.rows(query.format(""), there=True)
    keys = (
        "SELECT conname::text FROM pg_constraint JOIN pg_namespace n ON n.oid = connamespace"
        " WHERE nspname = 'as \"it\" was' AND contype IN ('p', 'u') ORDER BY 1"
    )
    assert both.rows(keys) == [("a_pkey",), ("a_v_key",)]


def test_a_schema_that_exists_is_a_conflict(moments: MakeMoments) -> None:
    both = moments(TABLES)
    both.happens("CREATE SCHEMA taken")
    with pytest.raises(ConflictError, match="taken"):
        import_as_schema(both.sandbox, both.live, BOTH, schema="taken")


def test_only_rows_of_a_condition_are_imported(moments: MakeMoments) -> None:
    both = moments(TABLES)
    done = import_as_schema(both.sandbox, both.live, [Wanted("public", "a", "id <= 3")], schema="few")
    assert done[0].rows == 3
    with pytest.raises(InputError, match="condition"):
        import_as_schema(both.sandbox, both.live, [Wanted("public", "a", "id <= 3; SELECT 1")], schema="none")


def test_types_that_are_gone_are_told(moments: MakeMoments) -> None:
    both = moments(TABLES)
    both.happens("DROP TABLE b, a", "DROP TYPE mood")
    with pytest.raises(InputError, match=r"types public\.mood"):
        import_as_schema(both.sandbox, both.live, BOTH, schema="was")


def test_an_import_that_is_stopped_leaves_nothing(moments: MakeMoments) -> None:
    both = moments(TABLES)
    stopped = 0
    for after in range(1, 100):
        try:
            import_as_schema(both.sandbox, both.live, BOTH, schema="was", progress=Scissors(after))
            break
        except CancelledError:
            stopped += 1
            assert both.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'was'") == []
    assert stopped >= 4
