"""Every type and every name comes back bit for bit."""

from __future__ import annotations

import pytest
from psycopg import sql

from edurise_backup.recovery.rescue.importing import import_as_schema
from edurise_backup.recovery.rescue.shapes import Wanted
from tests.support.nasty_database import HOSTILE_NAMES
from tests.support.postgres import execute
from tests.support.rescue import MakeMoments, Moments

CODES = (*range(1, 33), 92, 127, 128, 160, 0x2028, 0xFEFF, 0x1F600)
CONTROLS = "'' || " + " || ".join(f"chr({code})" for code in CODES)
KEYS = (
    *("mood", "positive", "bytea", "uuid", "timestamptz", "date", "interval", "boolean", "inet", "pair"),
    *("int4multirange", "numeric", "double precision", '"char"', "character(5)", "pg_lsn"),
)
VALUES = {
    "bytea": ("'\\x00ff5c6e'", "''", "decode(repeat('00ff0a5c', 999), 'hex')"),
    "jsonb": ('\'{"b": 1, "a": "\\u00e9\\n"}\'', "'null'", "'1.0'"),
    "json": ('\'{ "a" :1, "a": 2}\'', "'\"\"'"),
    "text[]": ("ARRAY['', NULL, 'null', 'a,b', '\"', E'\\\\', '{}', ' ']", "'{}'", "'[0:1]={a,b}'"),
    "integer[]": ("'{{1,2},{3,4}}'", "'{NULL}'"),
    "numeric": ("'NaN'", "'Infinity'", "1.0", "1.00", "1e-40", "123456789012345678901234567890.5"),
    "double precision": ("'NaN'", "'-0'", "'0'", "'-Infinity'", "0.1 + 0.2", "5e-324"),
    "real": ("'-0'", "0.1", "'NaN'"),
    "timestamptz": ("'infinity'", "'-infinity'", "'2026-03-29 02:30:00.123456+01'", "'0044-03-15 BC'"),
    "timestamp": ("'infinity'", "'294276-12-31 23:59:59.999999'"),
    "date": ("'infinity'", "'4713-01-01 BC'"),
    "timetz": ("'24:00:00+14:59'",),
    "interval": ("'1 mon'", "'30 days'", "'-1 year -2 days +03:04:05.000006'"),
    "mood": ("'it''s ok'", "'sad, \"very\"'"),
    "positive": ("1", "2147483647"),
    "pair": ("ROW(1, E'a,\"b\\\\)')", "ROW(NULL, '')", "ROW(NULL, NULL)"),
    "pair[]": ("ARRAY[ROW(1, 'x')::pair, NULL]",),
    "mood[]": ("ARRAY['sad, \"very\"']::mood[]",),
    "tstzrange": ("'[2026-01-01, infinity)'", "'empty'", "'(,)'"),
    "int4multirange": ("'{[1,3), [5,8)}'", "'{}'"),
    "text": (CONTROLS, "''", "E'\\\\N'", "E'\\\\.'", "'ünï – 測試 😀'", "repeat('x', 1000)", "repeat('long', 262144)"),
    "character(5)": ("'a'", "'     '"),
    "boolean": ("true", "false"),
    "inet": ("'::1/64'", "'10.0.0.1'"),
    "bit(3)": ("B'101'",),
    "bit varying": ("B''",),
    "money": ("'-12.34'",),
    "point": ("'(1,-0)'",),
    "tsvector": ("'a:1 b:2A'",),
    "regclass": ("'pg_class'",),
    "pg_lsn": ("'16/B374D848'",),
    "name": ("'Name \"x\"'",),
    '"char"': ("'x'",),
    "uuid": ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",),
}
TYPES = """
CREATE TYPE mood AS ENUM ('sad, "very"', 'it''s ok');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TYPE pair AS (a integer, b text);
"""


def table_of_everything() -> str:
    """Return a script for a table with a column of every type, each value in a row of its own."""
    columns = ", ".join(f'"c {place}" {kind}' for place, kind in enumerate(VALUES))
    rows = [
        f'INSERT INTO things ("c {place}") VALUES ({value});'
        for place, kind in enumerate(VALUES)
        for value in VALUES[kind]
    ]
    full = ", ".join(f"{values[0]}" for values in VALUES.values())
    names = ", ".join(f'"c {place}"' for place in range(len(VALUES)))
    rows.append(f"INSERT INTO things ({names}) VALUES ({full});")
    return f"{TYPES} CREATE TABLE things (id serial PRIMARY KEY, {columns}); {' '.join(rows)}"


def equal(both: Moments, table: str = "things") -> bool:
    """Return whether the table is the same on both sides."""
    query = f"SELECT t::text FROM {table} t ORDER BY 1"
    return both.rows(query) == both.rows(query, there=True)


def test_values_of_every_type_are_inserted_and_put_back(moments: MakeMoments) -> None:
    both = moments(table_of_everything())
    both.happens(
        "DELETE FROM things WHERE id % 2 = 0",
        "UPDATE things SET " + ", ".join(f'"c {place}" = NULL' for place in range(len(VALUES))),
    )
    both.bring_back("things", changed=True)
    assert equal(both)


def test_values_of_every_type_are_told_apart(moments: MakeMoments) -> None:
    both = moments(table_of_everything())
    both.happens(
        *(
            f'UPDATE things SET "c {place}" = NULL WHERE id = (SELECT max(id) FROM things)'
            for place in range(len(VALUES))
        )
    )
    assert len(both.compare("things").tables[0].changed_columns) == len(VALUES)


def test_values_of_every_type_come_back_without_a_key(moments: MakeMoments) -> None:
    both = moments(table_of_everything() + "ALTER TABLE things DROP CONSTRAINT things_pkey;")
    both.happens("DELETE FROM things WHERE id % 2 = 0")
    both.bring_back("things")
    assert equal(both)


def test_values_of_every_type_are_imported(moments: MakeMoments) -> None:
    both = moments(table_of_everything())
    both.happens("DROP TABLE things")
    import_as_schema(both.sandbox, both.live, [Wanted("public", "things")], schema="was")
    both.happens("ALTER TABLE was.things SET SCHEMA public")
    assert equal(both)


@pytest.mark.parametrize("key", KEYS)
def test_values_of_every_type_can_be_keys(moments: MakeMoments, key: str) -> None:
    rows = "".join(f"INSERT INTO keyed VALUES ({value}, 'v') ON CONFLICT DO NOTHING;" for value in VALUES[key])
    both = moments(f"{TYPES} CREATE TABLE keyed (k {key} PRIMARY KEY, v text); {rows}")
    both.happens("UPDATE keyed SET v = NULL", "DELETE FROM keyed WHERE k = (SELECT k FROM keyed LIMIT 1)")
    both.bring_back("keyed", changed=True)
    assert equal(both, "keyed")


def test_names_of_every_kind_are_only_names(moments: MakeMoments) -> None:
    both = moments('CREATE SCHEMA "Schema ""x"".*";')
    for address in (both.sandbox, both.live):
        for number, name in enumerate(HOSTILE_NAMES):
            table, column, other = (
                sql.Identifier('Schema "x".*', name),
                sql.Identifier(name),
                sql.Identifier(name[:50] + "2"),
            )
            key = "PRIMARY KEY" if number % 3 else ""
            execute(
                address,
                sql.SQL("CREATE TABLE {} ({} text {}, {} serial)").format(table, column, sql.SQL(key), other),
                sql.SQL("INSERT INTO {} VALUES ('a'), ({})").format(table, name),
            )
    for number, name in enumerate(HOSTILE_NAMES):
        table = sql.Identifier('Schema "x".*', name)
        execute(both.live, sql.SQL("DROP TABLE {}" if number % 2 else "DELETE FROM {}").format(table))
    tables = [Wanted('Schema "x".*', name) for name in HOSTILE_NAMES]
    done = both.bring_back(*tables)
    assert [one.inserted for one in done.tables] == [2] * len(HOSTILE_NAMES)
    assert both.compare(*tables).equal
    assert len(import_as_schema(both.sandbox, both.live, tables, schema="x'; DROP TABLE \"y")) == len(HOSTILE_NAMES)
