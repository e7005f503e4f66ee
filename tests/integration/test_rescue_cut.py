"""A merge that is cut, wherever it is, leaves the live database as it was."""

from __future__ import annotations

import pytest
from psycopg import sql

from edurise_backup.errors import BackupError, CancelledError, UnreachableError
from tests.support.postgres import execute
from tests.support.rescue import MakeMoments, Moments, Rows, Scissors

TABLES = """
CREATE TABLE parents (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
CREATE TABLE children (id serial PRIMARY KEY, parent integer REFERENCES parents, v text);
CREATE TABLE dropped (id serial PRIMARY KEY, parent integer REFERENCES parents);
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'fired'; END $$;
INSERT INTO parents (v) SELECT 'v' || i FROM generate_series(1, 60) i;
INSERT INTO children (parent, v) SELECT 1 + i % 60, 'v' FROM generate_series(1, 60) i;
INSERT INTO dropped (parent) SELECT 1 + i % 60 FROM generate_series(1, 60) i;
CREATE TRIGGER fails BEFORE INSERT ON children FOR EACH ROW EXECUTE FUNCTION fail();
"""
STATE = (
    "SELECT 'p', id::text, v FROM parents UNION ALL SELECT 'c', id::text, v FROM children"
    " UNION ALL SELECT 's', s.seqrelid::regclass::text, pg_sequence_last_value(s.seqrelid)::text FROM pg_sequence s"
    " UNION ALL SELECT 't', tgname, tgenabled::text FROM pg_trigger"
    " UNION ALL SELECT 'r', relname, relkind::text FROM pg_class WHERE oid > 16384 AND relname !~ '^pg_'"
    " ORDER BY 1, 2, 3"
)


def harmed(moments: MakeMoments) -> Moments:
    """Return databases whose live tables were harmed in every way."""
    both = moments(TABLES)
    both.happens(
        "DROP TABLE dropped",
        "DELETE FROM children WHERE id % 2 = 0",
        "DELETE FROM parents WHERE id NOT IN (SELECT parent FROM children)",
        "UPDATE children SET v = 'changed' WHERE id % 3 = 0",
        "ALTER TABLE parents DISABLE TRIGGER ALL",
        "DELETE FROM children WHERE id > 50",
        "INSERT INTO parents (v) VALUES ('extra')",
        "ALTER TABLE parents ENABLE TRIGGER ALL",
        "ALTER SEQUENCE children_id_seq RESTART",
    )
    return both


def state(both: Moments) -> Rows:
    """Return all that a merge could change."""
    return both.rows(STATE)


def test_a_merge_that_is_stopped_at_any_point_leaves_everything_as_it_was(moments: MakeMoments) -> None:
    both = harmed(moments)
    before = state(both)
    plan = both.plan("parents", "children", "dropped", changed=True, extra=True)
    stopped = 0
    for after in range(1, 200):
        try:
            both.apply(plan, progress=Scissors(after))
            break
        except CancelledError:
            stopped += 1
            assert state(both) == before
    assert stopped > 25
    assert both.compare("parents", "children", "dropped").equal


def test_a_connection_that_is_lost_at_any_point_leaves_everything_as_it_was(moments: MakeMoments) -> None:
    both = harmed(moments)
    before = state(both)
    plan = both.plan("parents", "children", "dropped", changed=True, extra=True)
    backends = sql.SQL(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = {} AND pid <> pg_backend_pid()"
    ).format(both.live.database)
    for after in range(2, 40, 5):
        with pytest.raises(UnreachableError):
            both.apply(plan, progress=Scissors(after, cut=lambda: execute(both.live, backends)))
        assert state(both) == before
    both.apply(plan)


def test_a_mistake_in_the_last_table_undoes_the_first(moments: MakeMoments) -> None:
    both = harmed(moments)
    both.happens("CREATE TABLE kept (v integer CHECK (v > 0))")
    before = state(both)
    plan = both.plan("parents", "children", changed=True)
    both.happens("ALTER TABLE children ADD CONSTRAINT never CHECK (v <> 'v') NOT VALID")
    with pytest.raises(BackupError, match="never"):
        both.apply(plan)
    assert [row for row in state(both) if row[0] != "r"] == [row for row in before if row[0] != "r"]
