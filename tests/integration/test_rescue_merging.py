"""Rows come back as they were: what was asked for, nothing else, and with the table's rules in force."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from psycopg import sql

from edurise_backup.errors import ConflictError, InputError, ProofError, SourceError, TransientError
from edurise_backup.model.database import Secret
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.recovery.rescue.comparison import compare
from edurise_backup.recovery.rescue.merging import merge
from edurise_backup.recovery.rescue.shapes import Wanted
from tests.support.postgres import execute
from tests.support.rescue import MakeMoments, Moments

SCHOOL = """
CREATE TABLE teachers (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE courses (
    id serial PRIMARY KEY, title text, teacher integer REFERENCES teachers,
    shouted text GENERATED ALWAYS AS (upper(title)) STORED
);
CREATE TABLE grades (
    course integer REFERENCES courses ON DELETE CASCADE, pupil text, grade integer, PRIMARY KEY (course, pupil)
);
CREATE TABLE log (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.log VALUES (TG_OP || ' ' || TG_TABLE_NAME); RETURN NEW;
END $$;
CREATE TRIGGER usual AFTER INSERT OR UPDATE ON courses FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER always AFTER INSERT OR UPDATE ON courses FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER never AFTER INSERT OR UPDATE ON courses FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER copies AFTER INSERT OR UPDATE ON courses FOR EACH ROW EXECUTE FUNCTION note();
INSERT INTO teachers (name) SELECT 'teacher ' || i FROM generate_series(1, 20) i;
INSERT INTO courses (title, teacher) SELECT 'course ' || i, 1 + i % 20 FROM generate_series(1, 200) i;
INSERT INTO grades SELECT i, 'pupil ' || p, i % 6 FROM generate_series(1, 200) i, generate_series(1, 5) p;
DELETE FROM log;
ALTER TABLE courses ENABLE ALWAYS TRIGGER always, DISABLE TRIGGER never, ENABLE REPLICA TRIGGER copies;
"""
ALL = ("grades", "courses", "teachers")
STATES = "SELECT tgname::text, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"


def same(both: Moments, *tables: str) -> bool:
    """Return whether the tables hold the same rows, by a query that is none of the product's."""
    return all(
        both.rows(f"SELECT t::text FROM {table} t ORDER BY 1")
        == both.rows(f"SELECT t::text FROM {table} t ORDER BY 1", there=True)
        for table in tables
    )


def test_rows_that_were_deleted_come_back_with_their_children_and_numbers(moments: MakeMoments) -> None:
    both = moments(SCHOOL)
    both.happens(
        "DELETE FROM courses WHERE id > 150", "DELETE FROM teachers WHERE id NOT IN (SELECT teacher FROM courses)"
    )
    done = both.bring_back(*ALL)
    assert same(both, *ALL)
    assert {table.table.name: table.inserted for table in done.tables} == {"teachers": 0, "courses": 50, "grades": 250}
    assert [table.table.name for table in done.tables] == ["teachers", "courses", "grades"]


def test_nothing_is_changed_or_deleted_unless_asked_for(moments: MakeMoments) -> None:
    both = moments(SCHOOL)
    both.happens(
        "UPDATE courses SET title = 'x' WHERE id = 1",
        "INSERT INTO courses (title) VALUES ('new')",
        "DELETE FROM courses WHERE id = 2",
    )
    plan = both.plan("courses")
    assert (plan.tables[0].insert, plan.tables[0].update, plan.tables[0].delete) == (1, 0, 0)
    assert len(plan.tables[0].not_touched) == 2
    both.apply(plan)
    assert both.rows("SELECT id, title FROM courses WHERE id IN (1, 2, 201) ORDER BY id") == [
        (1, "x"),
        (2, "course 2"),
        (201, "new"),
    ]


def test_everything_asked_for_makes_the_tables_equal(moments: MakeMoments) -> None:
    both = moments(SCHOOL)
    both.happens(
        "UPDATE grades SET grade = grade + 1 WHERE course % 2 = 0",
        "UPDATE courses SET title = NULL, teacher = 3 WHERE id < 50",
        "INSERT INTO teachers (name) VALUES ('late')",
        "INSERT INTO courses (title, teacher) VALUES ('late', 21)",
        "INSERT INTO grades VALUES (201, 'x', 1)",
        "DELETE FROM courses WHERE id > 190",
    )
    both.bring_back(*ALL, changed=True, extra=True)
    assert same(both, *ALL)


def test_triggers_are_off_meanwhile_and_then_as_they_were(moments: MakeMoments) -> None:
    both = moments(SCHOOL)
    both.happens("DELETE FROM courses WHERE id = 9")
    before = both.rows(STATES)
    plan = both.plan("courses", "grades")
    assert plan.tables[0].triggers_off == ("always on public.courses", "usual on public.courses")
    both.apply(plan)
    assert both.rows("SELECT * FROM log") == []
    assert both.rows(STATES) == before
    assert {state for _, state in before} == {"O", "A", "D", "R"}


def test_triggers_fire_when_they_are_asked_to(moments: MakeMoments) -> None:
    both = moments(SCHOOL)
    both.happens("DELETE FROM courses WHERE id = 9")
    both.bring_back("courses", triggers=True)
    assert both.rows("SELECT * FROM log") == [("INSERT courses",), ("INSERT courses",)]


def test_a_trigger_that_changes_what_comes_back_is_found_before_the_commit(moments: MakeMoments) -> None:
    both = moments(SCHOOL)
    both.happens(
        "DELETE FROM grades WHERE course = 9",
        "CREATE FUNCTION best() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.grade := 1; RETURN NEW; END $$",
        "CREATE TRIGGER best BEFORE INSERT ON grades FOR EACH ROW EXECUTE FUNCTION best()",
    )
    with pytest.raises(ProofError, match="would still differ"):
        both.bring_back("grades", triggers=True)
    assert both.rows("SELECT count(*) FROM grades WHERE course = 9") == [(0,)]


def test_parents_that_are_missing_are_found_beforehand(moments: MakeMoments) -> None:
    both = moments(SCHOOL)
    both.happens("DELETE FROM courses WHERE id IN (8, 9)")
    plan = both.plan("grades")
    assert "2 x public.grades refers to what would not be in public.courses" in plan.obstacles[0]
    with pytest.raises(InputError, match="cannot be done"):
        both.apply(plan)
    assert both.plan("grades", "courses").obstacles == ()
    limited = both.plan("grades", Wanted("public", "courses", "id = 8"))
    assert "1 x public.grades" in limited.obstacles[0]


def test_children_of_rows_that_would_be_deleted_are_found_beforehand(moments: MakeMoments) -> None:
    both = moments(SCHOOL)
    both.happens(
        "INSERT INTO courses (title) VALUES ('late')", "INSERT INTO grades VALUES (201, 'x', 1), (201, 'y', 1)"
    )
    plan = both.plan("courses", extra=True)
    assert "2 x public.grades" in plan.obstacles[0]
    limited = both.plan("courses", Wanted("public", "grades", "pupil = 'x'"), extra=True)
    with pytest.raises(ConflictError, match=r"would change 1 rows of public\.grades"):
        both.apply(limited)
    both.bring_back("courses", "grades", extra=True)
    assert same(both, "courses", "grades")


def test_sequences_are_advanced_and_never_set_back(moments: MakeMoments) -> None:
    both = moments(SCHOOL)
    both.happens("TRUNCATE grades, courses, teachers RESTART IDENTITY", "SELECT setval('courses_id_seq', 5000)")
    done = both.bring_back(*ALL)
    assert [(one.name, one.next_value) for one in done.sequences] == [("public.teachers_id_seq", 21)]
    both.happens("INSERT INTO teachers (name) VALUES ('next')", "INSERT INTO courses (title) VALUES ('next')")
    assert both.rows("SELECT max(id) FROM teachers UNION ALL SELECT max(id) FROM courses") == [(21,), (5001,)]


def test_a_plan_that_has_become_another_is_refused(moments: MakeMoments) -> None:
    both = moments(SCHOOL)
    both.happens("DELETE FROM courses WHERE id IN (8, 9)")
    plan = both.plan("courses")
    both.happens("UPDATE courses SET title = 'not asked for' WHERE id = 100", "DELETE FROM grades WHERE course = 100")
    assert both.plan("courses").hash == plan.hash
    both.happens("INSERT INTO courses (id, title) VALUES (8, 'meanwhile')")
    with pytest.raises(ConflictError, match="another one now"):
        both.apply(plan)
    assert both.rows("SELECT title FROM courses WHERE id IN (8, 9)") == [("meanwhile",)]


def test_a_shape_that_has_changed_is_another_plan(moments: MakeMoments) -> None:
    both = moments(SCHOOL)
    both.happens("DELETE FROM grades WHERE course = 9")
    plan = both.plan("grades")
    both.happens("ALTER TABLE grades ALTER COLUMN grade TYPE bigint")
    with pytest.raises(ConflictError, match="another one now"):
        both.apply(plan)


def test_rows_by_a_condition_come_back_and_no_others(moments: MakeMoments) -> None:
    both = moments(SCHOOL)
    both.happens("DELETE FROM grades", "UPDATE courses SET title = 'gone'")
    both.bring_back(Wanted("public", "grades", "pupil IN ('pupil 1', 'pupil 2')"))
    assert both.rows("SELECT DISTINCT pupil FROM grades ORDER BY 1") == [("pupil 1",), ("pupil 2",)]
    both.bring_back(Wanted("public", "courses", "title = 'course 7'"), changed=True)
    assert both.rows("SELECT title FROM courses WHERE title <> 'gone'") == [("course 7",)]


def test_a_row_with_a_value_that_must_be_unique_is_a_conflict_and_nothing_is_done(moments: MakeMoments) -> None:
    both = moments(SCHOOL)
    both.happens(
        "UPDATE courses SET teacher = 1",
        "DELETE FROM teachers WHERE id = 7",
        "INSERT INTO teachers (name) VALUES ('teacher 7')",
    )
    with pytest.raises(ConflictError, match="teachers_name_key"):
        both.bring_back("teachers")
    both.bring_back("teachers", extra=True)
    assert same(both, "teachers")


def test_values_that_must_be_unique_can_change_hands(moments: MakeMoments) -> None:
    both = moments(
        "CREATE TABLE seats (id integer PRIMARY KEY, guest text UNIQUE);"
        "INSERT INTO seats VALUES (1, 'anna'), (2, 'bert');"
    )
    both.happens("DELETE FROM seats WHERE id = 1", "UPDATE seats SET guest = 'anna' WHERE id = 2")
    both.bring_back("seats", changed=True)
    assert same(both, "seats")


def test_a_tree_of_rows_comes_back_whatever_refers_to_what(moments: MakeMoments) -> None:
    both = moments(
        "CREATE TABLE staff (id integer PRIMARY KEY, boss integer REFERENCES staff ON DELETE SET NULL);"
        "CREATE TABLE a (id integer PRIMARY KEY, b integer);"
        "CREATE TABLE b (id integer PRIMARY KEY, a integer REFERENCES a DEFERRABLE);"
        "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE;"
        "INSERT INTO staff SELECT i, nullif(i / 2, 0) FROM generate_series(1, 30) i;"
        "BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO a SELECT i, i FROM generate_series(1, 9) i;"
        "INSERT INTO b SELECT i, i FROM generate_series(1, 9) i; COMMIT;"
    )
    both.happens("DELETE FROM staff WHERE id IN (1, 2, 5)", "UPDATE a SET b = NULL", "DELETE FROM b", "DELETE FROM a")
    both.bring_back("staff", "a", "b", changed=True)
    assert same(both, "staff", "a", "b")


def test_a_deferred_constraint_that_would_not_hold_undoes_everything(moments: MakeMoments) -> None:
    both = moments(
        "CREATE TABLE a (id integer PRIMARY KEY, n integer UNIQUE DEFERRABLE INITIALLY DEFERRED);"
        "INSERT INTO a VALUES (1, 1), (2, 2);"
    )
    both.happens("DELETE FROM a WHERE id = 1", "INSERT INTO a VALUES (3, 1)")
    with pytest.raises(ConflictError, match="a_n_key"):
        both.bring_back("a")
    assert both.rows("SELECT id FROM a ORDER BY 1") == [(2,), (3,)]


def test_a_partitioned_table_comes_back_through_its_parent(moments: MakeMoments) -> None:
    both = moments(
        SCHOOL + "CREATE TABLE events (id bigint, at date, body text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);"
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');"
        "CREATE TABLE events_2 (body text, at date NOT NULL, id bigint NOT NULL);"
        "ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');"
        "CREATE TRIGGER noted AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION note();"
        "CREATE TRIGGER leaf AFTER INSERT ON events_1 FOR EACH ROW EXECUTE FUNCTION note();"
        "INSERT INTO events SELECT i, '2025-01-01'::date + i, 'body' FROM generate_series(1, 500) i; DELETE FROM log;"
        "ALTER TABLE events_2 DISABLE TRIGGER noted;"
    )
    both.happens("DELETE FROM events WHERE id % 2 = 0", "UPDATE events SET body = 'x' WHERE id = 7")
    states = (
        "SELECT tgrelid::regclass::text, tgname::text, tgenabled::text FROM pg_trigger"
        " WHERE tgrelid::regclass::text ~ 'events' ORDER BY 1, 2"
    )
    before = both.rows(states)
    both.bring_back("events", changed=True)
    assert same(both, "events", "events_1", "events_2")
    assert (both.rows(states), both.rows("SELECT * FROM log")) == (before, [])
    with pytest.raises(InputError, match="is a partition of"):
        both.plan("events", "events_1")


def test_tables_that_inherit_are_left_alone(moments: MakeMoments) -> None:
    both = moments(
        "CREATE TABLE parent (id integer PRIMARY KEY, v text); CREATE TABLE child (w text) INHERITS (parent);"
        "INSERT INTO parent VALUES (1, 'p'), (2, 'p'); INSERT INTO child VALUES (1, 'c', 'c'), (3, 'c', 'c');"
    )
    both.happens("DELETE FROM parent WHERE v = 'p' AND id = 2", "UPDATE parent SET v = 'x'")
    both.bring_back("parent", changed=True, extra=True)
    assert both.rows("SELECT * FROM ONLY parent ORDER BY id") == [(1, "p"), (2, "p")]
    assert both.rows("SELECT v FROM child") == [("x",), ("x",)]


def test_a_table_without_a_key_is_only_inserted_into(moments: MakeMoments) -> None:
    both = moments(
        "CREATE TABLE bag (v text, copies integer);INSERT INTO bag SELECT 'v' || i % 3, 1 FROM generate_series(1, 9) i;"
    )
    both.happens("DELETE FROM bag WHERE v = 'v1'", "INSERT INTO bag VALUES ('new', 1)")
    plan = both.plan("bag", changed=True, extra=True)
    assert (plan.tables[0].insert, plan.tables[0].update, plan.tables[0].delete) == (3, 0, 0)
    both.apply(plan)
    assert both.rows("SELECT v, count(*) FROM bag GROUP BY v ORDER BY v") == [
        ("new", 1),
        ("v0", 3),
        ("v1", 3),
        ("v2", 3),
    ]


def test_a_column_that_must_have_a_value_and_has_none_is_an_obstacle(moments: MakeMoments) -> None:
    both = moments(SCHOOL)
    both.happens(
        "DELETE FROM grades WHERE course = 1",
        "ALTER TABLE grades ADD COLUMN due date NOT NULL DEFAULT now()",
        "ALTER TABLE grades ALTER COLUMN due DROP DEFAULT",
    )
    assert "The column due must have a value here" in both.plan("grades").obstacles[0]
    both.happens("ALTER TABLE grades ALTER COLUMN due SET DEFAULT '2026-01-01'")
    both.bring_back("grades")
    assert both.rows("SELECT count(*) FROM grades WHERE due = '2026-01-01'") == [(5,)]


def test_an_unlogged_table_is_never_taken_for_an_empty_one(moments: MakeMoments) -> None:
    both = moments("CREATE UNLOGGED TABLE fleeting (id integer PRIMARY KEY)")
    assert "unlogged" in both.plan("fleeting").obstacles[0]


def test_a_table_that_somebody_writes_to_is_not_waited_for_long(moments: MakeMoments) -> None:
    both = moments(SCHOOL)
    both.happens("DELETE FROM grades WHERE course = 1")
    plan = both.plan("grades")
    with connect(both.live) as other:
        other.execute("LOCK TABLE grades IN ROW EXCLUSIVE MODE")
        with pytest.raises(TransientError, match="stayed locked"):
            merge(
                both.sandbox,
                both.live,
                [Wanted("public", "grades")],
                expected=plan.hash,
                tools=both.tools,
                lock_timeout=timedelta(milliseconds=50),
            )


@pytest.fixture
def clerk(two_databases: tuple[Address, Address]) -> Iterator[Address]:
    """Yield the live database's address for a role that may read and write everything, and owns nothing."""
    live = two_databases[1]
    role = sql.Identifier(f"clerk_{live.database}")
    execute(live, sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x' IN ROLE pg_read_all_data, pg_write_all_data").format(role))
    yield replace(live, user=f"clerk_{live.database}", password=Secret("x"))
    execute(live, sql.SQL("DROP ROLE {}").format(role))


def test_a_role_that_does_not_own_the_table_is_told_so(moments: MakeMoments, clerk: Address) -> None:
    both = moments(SCHOOL)
    both.happens("DELETE FROM courses WHERE id = 200")
    expected = both.plan("courses").hash
    with pytest.raises(SourceError) as raised:
        merge(both.sandbox, clerk, [Wanted("public", "courses")], expected=expected, tools=both.tools)
    assert "own" in raised.value.hint
    assert both.rows("SELECT count(*) FROM courses") == [(199,)]


def test_rows_that_policies_hide_are_an_error_and_never_missing(moments: MakeMoments, clerk: Address) -> None:
    hiding = "ALTER TABLE grades ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON grades USING (grade > 3);"
    both = moments(SCHOOL + hiding)
    both.happens("GRANT USAGE ON SCHEMA public TO PUBLIC")
    with pytest.raises(SourceError, match="row-level security"):
        compare(both.sandbox, clerk, [Wanted("public", "grades")])
