"""Whatever tables there were and whatever was done to them: with everything asked for, they are equal again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.session import Connection
from tests.support.rescue import MakeMoments, Moments

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
NUMBERS = st.integers(-3, 30).map(str)
VALUES: dict[str, st.SearchStrategy[str]] = {
    "integer": NUMBERS,
    "text": TEXT,
    "numeric": st.sampled_from(["NaN", "1.0", "1.00", "0", "-7.25", "1e20", "Infinity"]),
    "double precision": st.sampled_from(["NaN", "-0", "0", "1e-300", "Infinity", "0.1"]),
    "bytea": st.binary(max_size=4).map(lambda value: "\\x" + value.hex()),
    "date": st.sampled_from(["infinity", "2026-01-01", "0044-03-15 BC", "10000-01-01", "-infinity"]),
    "boolean": st.sampled_from(["t", "f"]),
    "text[]": st.sampled_from(["{}", "{NULL}", '{"NULL",""}', "{a,b}"]),
}
KEYS = ("integer", "text", "numeric", "double precision", "bytea", "date")


@dataclass
class Case:
    """A table's columns, its rows as they were, and statements as (query, values)."""

    name: str
    keys: list[str]
    columns: list[str]
    rows: list[tuple[str | None, ...]]
    later: list[tuple[str | None, ...]]
    deleted: list[int]
    changed: dict[int, tuple[str | None, ...]] = field(default_factory=dict)

    @property
    def types(self) -> list[str]:
        """The columns' types, the key's first."""
        return self.keys + self.columns


@st.composite
def cases(draw: st.DrawFn, name: str) -> Case:
    """Return a table and what happens to it."""
    keys = draw(st.lists(st.sampled_from(KEYS), max_size=2))
    columns = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=3))
    key = st.tuples(*(VALUES[kind] for kind in keys))
    rest = st.tuples(*(st.none() | VALUES[kind] for kind in columns))
    row = st.tuples(key, rest).map(lambda parts: (*parts[0], *parts[1]))
    rows = draw(st.lists(row, max_size=8))
    numbers = st.integers(0, max(0, len(rows) - 1))
    return Case(
        name=name,
        keys=keys,
        columns=columns,
        rows=rows,
        later=draw(st.lists(row, max_size=4)),
        deleted=draw(st.lists(numbers, max_size=4)),
        changed=draw(st.dictionaries(numbers, rest, max_size=4)),
    )


def make(address: Address, made: list[Case]) -> None:
    """Make the tables with their rows."""
    with connect(address) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        for case in made:
            columns = [sql.SQL("c{} {}").format(place, sql.SQL(kind)) for place, kind in enumerate(case.types)]  # type: ignore[arg-type]
            names = sql.SQL(", ").join(sql.SQL("c{}").format(place) for place in range(len(case.keys)))
            key = [sql.SQL("PRIMARY KEY ({})").format(names)] if case.keys else []
            connection.execute(
                sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(case.name), sql.SQL(", ").join(columns + key))
            )
            insert(connection, case, case.rows)


def insert(connection: Connection, case: Case, rows: list[tuple[str | None, ...]]) -> None:
    """Insert those of the rows whose key is free."""
    values = ", ".join(f"%s::{kind}" for kind in case.types)
    for row in rows:
        connection.execute(f"INSERT INTO {case.name} VALUES ({values}) ON CONFLICT DO NOTHING".encode(), row)


def harm(address: Address, made: list[Case]) -> None:
    """Let happen what is to happen."""
    with connect(address) as connection:
        for case in made:
            key = " AND ".join(f"c{place} = %s::{kind}" for place, kind in enumerate(case.keys)) or "c0::text = %s"
            width = len(case.keys) or 1
            settings_ = ", ".join(f"c{len(case.keys) + place} = %s::{kind}" for place, kind in enumerate(case.columns))
            for place in case.deleted:
                if case.rows:
                    connection.execute(f"DELETE FROM {case.name} WHERE {key}".encode(), case.rows[place][:width])
            for place, values in case.changed.items():
                if case.rows:
                    query = f"UPDATE {case.name} SET {settings_} WHERE {key}"
                    connection.execute(query.encode(), (*values, *case.rows[place][:width]))
            insert(connection, case, case.later)


def content(both: Moments, case: Case, *, there: bool) -> Counter[object]:
    """Return the rows with their copies."""
    return Counter(row for (row,) in both.rows(f"SELECT t::text FROM {case.name} t", there=there))


def test_tables_are_equal_again_whatever_was_done_to_them(moments: MakeMoments) -> None:
    both = moments("SELECT 1")

    @settings(
        max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
    )
    @given(cases("one"), cases("two"))
    def check(one: Case, two: Case) -> None:
        for address in (both.sandbox, both.live):
            make(address, [one, two])
        harm(both.live, [one, two])
        before = {case.name: content(both, case, there=False) for case in (one, two)}
        both.bring_back("one", "two", changed=True, extra=True)
        for case in (one, two):
            wanted = content(both, case, there=True)
            assert content(both, case, there=False) == (wanted if case.keys else wanted | before[case.name])

    check()
