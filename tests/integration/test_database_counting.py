"""A table's checksum tells every change of a value, also one to a value that the server calls equal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from psycopg import sql

from edurise_backup.model.database import CHECKSUM_RULE, CHECKSUM_RULES, TEXT_RULE
from edurise_backup.postgres import counting, facts
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.session import reading_session
from tests.support.clusters import reachable_folder, running
from tests.support.postgres import execute

_VALUES = {
    "boolean": ("true", "false"),
    "bytea": (r"'\x00ff'", r"'\x00fe'"),
    '"char"': ("'a'", "'b'"),
    "name": ("'a'", "'A'"),
    "int2": ("1", "2"),
    "int4": ("1", "2"),
    "int8": ("-1", "4294967295"),
    "oid": ("1", "2"),
    "text": ("'a'", "'a '"),
    "varchar": ("''", "NULL"),
    "text COLLATE whatever_case": ("'a'", "'A'"),
    "char(5)": ("'a'", "'b'"),
    "bpchar": ("'a'", "'a '"),
    "numeric": ("1.0", "1.00"),
    "float4": ("0", "'-0'"),
    "float8": ("0", "'-0'"),
    "real": ("1.1", "1.1000001"),
    "date": ("'2026-01-01'", "'infinity'"),
    "time": ("'24:00'", "'00:00'"),
    "timetz": ("'12:00+00'", "'13:00+01'"),
    "timestamp": ("'2026-01-01'", "'2026-01-01 00:00:00.000001'"),
    "timestamptz": ("'2000-01-01 00:00:00Z'::timestamptz - interval '1 us'", "'2000-01-01 01:11:34.967295Z'"),
    "interval": ("'24 hours'", "'1 day'"),
    "uuid": ("'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'"),
    "macaddr": ("'00:00:00:00:00:01'", "'00:00:00:00:00:02'"),
    "pg_lsn": ("'0/1'", "'0/2'"),
    "json": ("""'{"a": 1}'""", """'{"a":1}'"""),
    "jsonb": ("'1.0'", "'1.00'"),
    "money": ("1", "2"),
    "inet": ("'10.0.0.1/8'", "'10.0.0.1/9'"),
    "bit varying": ("B'1'", "B'10'"),
    "xml": ("'<a/>'", "'<b/>'"),
    "point": ("'(0,0)'", "'(-0,0)'"),
    "tsvector": ("'a:1'", "'a:2'"),
    "int4range": ("'[1,2)'", "'empty'"),
    "numeric[]": ("'{1.0}'", "'{1.00}'"),
    "text[]": ("'{a,b}'", "'{a,NULL}'"),
    "mood": ("'sad'", "'glad'"),
    "marks": ("1.0", "1.00"),
    "pair": ("'(1,a)'", "'(1,b)'"),
    "regclass": ("'pg_class'", "'pg_type'"),
}
"""For each type two values that differ in their bytes."""
_DEFINED = (
    "CREATE COLLATION whatever_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
    "CREATE TYPE mood AS ENUM ('sad', 'glad')",
    "CREATE DOMAIN marks AS numeric",
    "CREATE TYPE pair AS (n int, t text)",
)


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    """Yield a database of Debian's server: the embedded ones have no ICU."""
    with reachable_folder() as folder, running(folder / "data", 15) as server:
        execute(server.address, *_DEFINED)
        yield server.address


def counted(address: Address, table: str, rule: str) -> tuple[int, str]:
    session = reading_session(address, address.database, lock_timeout=timedelta(seconds=5))
    try:
        relation = next(one for one in facts.read_relations(session) if one.name == table)
        return counting.count_rows(session, relation, rule)
    finally:
        session.close()


@pytest.mark.parametrize("rule", CHECKSUM_RULES)
@pytest.mark.parametrize("kind", _VALUES)
def test_a_change_of_any_type_is_told(address: Address, kind: str, rule: str) -> None:
    one, other = _VALUES[kind]
    sums = []
    for value in (one, other, "NULL"):
        execute(
            address,
            "DROP TABLE IF EXISTS t",
            sql.SQL(f"CREATE TABLE t (id int, v {kind})"),
            sql.SQL(f"INSERT INTO t VALUES (1, {value}), (2, NULL), (2, NULL)"),
        )
        sums.append(counted(address, "t", rule))
    assert {rows for rows, _ in sums} == {3}
    assert len({checksum for _, checksum in sums}) == len({one, other, "NULL"}), sums


def test_neither_the_order_of_rows_nor_that_of_columns_counts_but_their_number_does(address: Address) -> None:
    tables = {
        "a": "SELECT n AS x, n::text AS y FROM generate_series(1, 3) n",
        "b": "SELECT n::text AS y, n AS x FROM generate_series(3, 1, -1) n",
        "c": "SELECT n AS x, n::text AS y FROM unnest(ARRAY[1, 1, 2, 2, 3, 3]) n",
        "d": "SELECT n AS x, 4 - n AS y FROM generate_series(1, 3) n",
        "e": "SELECT 4 - n AS x, n AS y FROM generate_series(1, 1) n",
        "f": "SELECT n AS x, 4 - n AS y FROM generate_series(1, 1) n",
    }
    found = {}
    for name, rows in tables.items():
        execute(address, sql.SQL(f"CREATE TABLE {name} AS {rows}"))
        found[name] = counted(address, name, CHECKSUM_RULE)
    assert found["a"] == found["b"]
    assert found["c"][0] == 2 * found["a"][0]
    assert len({found[name][1] for name in "acdef"}) == 5


def test_values_that_rows_exchange_are_told(address: Address) -> None:
    execute(address, "CREATE TABLE pairs AS SELECT n, 'grade ' || n AS t FROM generate_series(1, 40) n")
    before = counted(address, "pairs", CHECKSUM_RULE)
    seen = {before[1]}
    for n in range(1, 40):
        execute(address, f"UPDATE pairs SET t = 'grade {n + 1}' WHERE n = {n}")
        execute(address, f"UPDATE pairs SET t = 'grade {n}' WHERE n = {n + 1}")
        seen.add(counted(address, "pairs", CHECKSUM_RULE)[1])
        execute(address, f"UPDATE pairs SET t = 'grade ' || n WHERE n IN ({n}, {n + 1})")
    assert len(seen) == 40
    assert counted(address, "pairs", CHECKSUM_RULE) == before


def test_a_number_that_is_none_is_the_same_after_a_dump(address: Address) -> None:
    for kind in ("float4", "float8"):
        sums = set()
        for value in ("'NaN'", "'-NaN'", f"'inf'::{kind} - 'inf'::{kind}"):
            execute(address, "DROP TABLE IF EXISTS t", f"CREATE TABLE t AS SELECT ({value})::{kind} AS v")
            sums.add(counted(address, "t", CHECKSUM_RULE))
        assert len(sums) == 1


def test_tables_without_columns_or_rows_are_counted(address: Address) -> None:
    execute(address, "CREATE TABLE nothing ()", "CREATE TABLE empty (x int)", "INSERT INTO nothing DEFAULT VALUES")
    for rule in CHECKSUM_RULES:
        assert counted(address, "nothing", rule)[0] == 1
        assert counted(address, "empty", rule) == (0, "0")


def test_what_earlier_releases_wrote_is_made_again(address: Address) -> None:
    execute(address, "CREATE TABLE old AS SELECT n AS b, repeat('x', n) AS a FROM generate_series(1, 1000) n")
    session = reading_session(address, address.database, lock_timeout=timedelta(seconds=5))
    wanted = session.execute(
        """SELECT sum(hashtextextended(ROW(r.a, r.b)::text COLLATE "C", 0)::numeric)::text FROM public.old AS r"""
    ).fetchone()
    session.close()
    assert counted(address, "old", TEXT_RULE) == (1000, wanted[0] if wanted else None)


def test_the_types_are_those_that_their_numbers_mean(address: Address) -> None:
    session = reading_session(address, address.database, lock_timeout=timedelta(seconds=5))
    found = session.execute(
        "SELECT oid::int, typname::text, typtype::text FROM pg_type WHERE oid = ANY (%s)", [list(counting._VALUES)]
    ).fetchall()
    session.close()
    names = {str(name) for _, name, _ in found}
    assert len(found) == len(counting._VALUES)
    assert names == {
        *("bool", "bytea", "char", "int8", "int2", "int4", "oid", "date", "time", "timestamp", "timestamptz"),
        *("macaddr", "uuid", "pg_lsn", "name", "text", "varchar", "json", "jsonb"),
        *("float4", "float8", "interval", "numeric"),
    }
