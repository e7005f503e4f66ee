"""What differs between a table as it was and as it is: counted exactly, shown in samples, by keys of every order."""

from __future__ import annotations

import pytest

from edurise_backup.errors import InputError, NotFoundError
from edurise_backup.recovery.rescue.comparison import compare
from edurise_backup.recovery.rescue.shapes import Wanted
from tests.support.rescue import MakeMoments

PEOPLE = """
CREATE TABLE people (id integer PRIMARY KEY, name text, age integer);
INSERT INTO people SELECT i, 'name ' || i, i % 90 FROM generate_series(1, 5000) i;
"""
NASTY_KEYS = (
    "é",
    "e",
    "É",
    "Z",
    "a",
    " ",
    "",
    "-1",
    "10",
    "9",
    "\t",
    "測",
    "😀",
    "'",
    '"',
    "\\",
    "\\N",
    "\x01",
    "ß",
    "~",
)


def test_rows_only_there_only_here_and_changed_are_counted_exactly(moments: MakeMoments) -> None:
    both = moments(PEOPLE)
    both.happens(
        "DELETE FROM people WHERE id % 3 = 0",
        "UPDATE people SET age = 99 WHERE id % 7 = 0",
        "UPDATE people SET name = NULL WHERE id = 1",
        "INSERT INTO people VALUES (9001, 'new', NULL), (-5, 'new', NULL)",
    )
    found = both.compare("people").tables[0]
    assert (found.only_there, found.only_here, found.changed) == (1666, 2, 714 - 238 + 1)
    assert found.changed_columns == {"name": 1, "age": 714 - 238}


def test_samples_show_the_rows_and_only_the_columns_that_changed(moments: MakeMoments) -> None:
    both = moments(PEOPLE)
    both.happens("UPDATE people SET age = NULL WHERE id = 4", "DELETE FROM people WHERE id = 7")
    gone, changed = both.compare("people").tables[0].samples
    assert (changed.key, changed.there, changed.here) == ({"id": "4"}, {"age": "4"}, {"age": None})
    assert (gone.kind, gone.there, gone.here) == ("only there", {"id": "7", "name": "name 7", "age": "7"}, {})


@pytest.mark.parametrize("kind", ["text", "character varying(9)", "name", "jsonb", "text[]"])
def test_keys_of_every_order_meet_their_counterparts(moments: MakeMoments, kind: str) -> None:
    value = {"jsonb": "to_jsonb(v)", "text[]": "ARRAY[v, v]"}.get(kind, "v")
    listed = ", ".join("(E'{}')".format(key.replace("\\", "\\\\").replace("'", "\\'")) for key in NASTY_KEYS)
    both = moments(
        f"CREATE TABLE keyed (k {kind} PRIMARY KEY, v integer);"
        f"INSERT INTO keyed SELECT {value}, 1 FROM (VALUES {listed}) AS given (v);"
    )
    assert both.compare("keyed").equal
    both.happens("UPDATE keyed SET v = 2")
    found = both.compare("keyed").tables[0]
    assert (found.only_there, found.only_here, found.changed) == (0, 0, len(NASTY_KEYS))


def test_numbers_that_are_equal_are_one_key_however_they_are_written(moments: MakeMoments) -> None:
    both = moments(
        "CREATE TABLE n (a numeric, b double precision, PRIMARY KEY (a, b));"
        "INSERT INTO n VALUES (1.0, 0), (10, -1), (-2.50, 'NaN'), ('NaN', 'Infinity');"
    )
    both.happens("UPDATE n SET a = 1.00, b = '-0' WHERE a = 1")
    found = both.compare("n").tables[0]
    assert (found.only_there, found.only_here, found.changed) == (0, 0, 1)


def test_a_table_without_a_key_is_compared_as_a_multiset(moments: MakeMoments) -> None:
    both = moments("CREATE TABLE bag (v text); INSERT INTO bag VALUES ('a'), ('a'), ('a'), ('b'), (NULL), ('');")
    both.happens(
        "DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE v = 'a' LIMIT 2)",
        "INSERT INTO bag VALUES ('b'), (NULL)",
        "DELETE FROM bag WHERE v = ''",
    )
    found = both.compare("bag").tables[0]
    assert (found.only_there, found.only_here, found.changed) == (3, 2, 0)


def test_a_condition_finds_rows_that_changed_out_of_it(moments: MakeMoments) -> None:
    both = moments(PEOPLE)
    both.happens(
        "UPDATE people SET age = 1000 WHERE id IN (10, 20)",
        "UPDATE people SET age = 10 WHERE id = 30",
        "DELETE FROM people WHERE id IN (100, 101)",
    )
    found = both.compare(Wanted("public", "people", "people.age = 10 AND id <= 100")).tables[0]
    assert (found.only_there, found.only_here, found.changed) == (1, 0, 2)


@pytest.mark.parametrize(
    "condition",
    [
        "age = ",
        "nobody = 1",
        "1",
        "age / 0 = 1",
        "true; DROP TABLE people",
        "true) OR (true",
        "true) UNION SELECT 1, 2, 3 WHERE (true",
        "true] OR ARRAY[true",
        "true -- \n) ; DROP TABLE people; --",
        "nextval('numbers') > 0",
        "(SELECT wipe())",
        "id = 1 /*",
        "id = 1\0",
        "count(*) > 1",
    ],
)
def test_a_condition_that_is_none_is_refused_and_changes_nothing(moments: MakeMoments, condition: str) -> None:
    both = moments(
        PEOPLE + "CREATE SEQUENCE numbers; CREATE FUNCTION public.wipe() RETURNS boolean LANGUAGE sql VOLATILE AS"
        " 'DELETE FROM public.people RETURNING true';"
    )
    condition = condition.replace("wipe", "public.wipe").replace("'numbers'", "'public.numbers'")
    with pytest.raises(InputError, match="condition"):
        both.plan(Wanted("public", "people", condition))
    for there in (True, False):
        assert both.rows("SELECT count(*) FROM people", there=there) == [(5000,)]


def test_a_comment_at_the_end_of_a_condition_is_no_harm(moments: MakeMoments) -> None:
    both = moments(PEOPLE)
    assert both.compare(Wanted("public", "people", "id = 5 -- mine")).equal


def test_what_is_no_table_or_was_not_there_is_told(moments: MakeMoments) -> None:
    both = moments(PEOPLE + "CREATE VIEW old AS SELECT * FROM people;")
    both.happens("CREATE TABLE later (id integer)")
    with pytest.raises(InputError, match="is a view"):
        both.compare("old")
    with pytest.raises(NotFoundError, match=r"no table public\.later"):
        both.compare("later")
    with pytest.raises(InputError, match="each once"):
        both.compare("people", "people")


def test_columns_that_changed_meanwhile_are_told_and_left_out(moments: MakeMoments) -> None:
    both = moments(PEOPLE)
    both.happens("ALTER TABLE people DROP COLUMN age, ADD COLUMN extra integer DEFAULT 5")
    found = both.compare("people").tables[0]
    assert found.match.columns == ("id", "name")
    assert any("age is not here any more" in note for note in found.match.notes)
    assert any("extra was not there yet" in note for note in found.match.notes)


def test_a_comparison_writes_nothing_and_needs_no_right_to(moments: MakeMoments) -> None:
    both = moments(PEOPLE)
    both.happens(f'ALTER DATABASE "{both.live.database}" SET default_transaction_read_only = on')
    assert compare(both.sandbox, both.live, [Wanted("public", "people")]).equal
