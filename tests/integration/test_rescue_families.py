"""Rows that refer to each other, and rows by a condition, against a model: whatever happened to them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edurise_backup.postgres.connection import Address, connect
from edurise_backup.recovery.rescue.shapes import Wanted
from tests.support.rescue import MakeMoments, Moments

QUICK = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
NUMBERS = st.integers(1, 6)
ACTIONS = st.sampled_from(["", "ON DELETE CASCADE", "ON DELETE SET NULL", "DEFERRABLE", "ON UPDATE CASCADE"])
PAIRS = st.dictionaries(NUMBERS, st.none() | NUMBERS, max_size=6)
TABLES = ("zeus", "hera", "ares")
Family = tuple[dict[int, int | None], dict[int, int | None], dict[int, int | None]]
FAMILIES = st.tuples(PAIRS, PAIRS, PAIRS)


@dataclass(frozen=True)
class Rules:
    """What a child's reference does; zeus refers to himself, hera to zeus, ares to hera."""

    zeus: str
    hera: str
    ares: str


def fill(address: Address, family: Family, rules: Rules) -> None:
    """Make the tables with those of the rows whose parents are there."""
    with connect(address) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        for name, parent in zip(TABLES, ("zeus", "zeus", "hera"), strict=True):
            action = getattr(rules, name)
            query = f"CREATE TABLE {name} (id integer PRIMARY KEY, up integer REFERENCES {parent} {action})"
            connection.execute(query.encode())
    put(address, family)


def put(address: Address, family: Family) -> None:
    """Have the tables hold these rows, as far as the parents are there."""
    ids = (set(family[0]), set(family[0]), set(family[1]))
    with connect(address) as connection:
        connection.execute("TRUNCATE zeus, hera, ares")
        for name, rows, parents in zip(TABLES, family, ids, strict=True):
            values = [(one, up if up in parents else None) for one, up in rows.items()]
            if values:
                listed = ", ".join("(%s, %s)" for _ in values)
                connection.execute(
                    f"INSERT INTO {name} VALUES {listed}".encode(), [part for row in values for part in row]
                )


def rows(both: Moments, name: str, *, there: bool = False) -> dict[object, object]:
    """Return a table's rows by their ids."""
    return dict(both.rows(f"SELECT * FROM {name}", there=there))


def test_families_are_whole_again_whatever_happened_to_them(moments: MakeMoments) -> None:
    both = moments("SELECT 1")

    @QUICK
    @given(FAMILIES, FAMILIES, st.builds(Rules, ACTIONS, ACTIONS, ACTIONS))
    def check(before: Family, after: Family, rules: Rules) -> None:
        for address in (both.sandbox, both.live):
            fill(address, before, rules)
        put(both.live, after)
        both.bring_back(*TABLES, changed=True, extra=True)
        for name in TABLES:
            assert rows(both, name) == rows(both, name, there=True)

    check()


def test_rows_by_a_condition_are_those_for_which_it_holds_on_either_side(moments: MakeMoments) -> None:
    both = moments("CREATE TABLE zeus (id integer PRIMARY KEY, up integer)")

    @QUICK
    @given(PAIRS, PAIRS, NUMBERS)
    def check(before: dict[int, int | None], after: dict[int, int | None], most: int) -> None:
        for address, content in ((both.sandbox, before), (both.live, after)):
            with connect(address) as connection:
                connection.execute("TRUNCATE zeus")
                connection.cursor().executemany("INSERT INTO zeus VALUES (%s, %s)", list(content.items()))
        both.bring_back(Wanted("public", "zeus", f"up <= {most}"), changed=True, extra=True)
        picked = {one for side in (before, after) for one, up in side.items() if up is not None and up <= most}
        wanted = {one: up for one, up in after.items() if one not in picked}
        wanted |= {one: up for one, up in before.items() if one in picked}
        assert rows(both, "zeus") == wanted

    check()
