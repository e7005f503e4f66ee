"""Check beforehand that foreign keys will hold: parents of rows that come back, children of rows that go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from edurise_backup.postgres.session import Connection, Row
from edurise_backup.recovery.rescue.conditions import said_of_table
from edurise_backup.recovery.rescue.differences import Difference
from edurise_backup.recovery.rescue.pairs import Pair
from edurise_backup.recovery.rescue.reading_shapes import has_table
from edurise_backup.recovery.rescue.shapes import ForeignKey, TableName
from edurise_backup.recovery.rescue.sides import Side, columns_of, limited, named, raw


@dataclass(frozen=True, slots=True)
class Violation:
    """A foreign key that would not hold: `count` values without a parent, or rows whose parent would go."""

    name: str
    child: TableName
    parent: TableName
    count: int
    example: str

    def __str__(self) -> str:
        return (
            f"The foreign key {self.name} would be violated: {self.count:,} x {self.child} refers to what would not be "
            f"in {self.parent}, for example {self.example}."
        )


class ParentCheck:
    """Looks for the parents of rows that are to come back, here and among what else comes back."""

    def __init__(self, pair: Pair, pairs: Mapping[TableName, Pair], *, here: Connection) -> None:
        self._pair = pair
        self._pairs = pairs
        self._here = here
        columns = set(pair.match.columns)
        self._foreign_keys = [one for one in pair.match.target.foreign_keys if columns.issuperset(one.columns)]
        self._missing: dict[str, tuple[ForeignKey, set[Row]]] = {}

    def visit(self, rows: list[Difference]) -> None:
        """Take rows that are to come back; raises psycopg.Error."""
        for foreign in self._foreign_keys:
            values = _values(self._pair.there, foreign, rows)
            if values:
                values = self._without_parent_here(foreign, values)
            if values and foreign.parent in self._pairs:
                values = _without_parent(self._pairs[foreign.parent].there, foreign, values, self._pairs)
            if values:
                self._missing.setdefault(foreign.name, (foreign, set()))[1].update(values)

    def violations(self) -> list[Violation]:
        """Return what was found."""
        return [
            Violation(
                foreign.name,
                foreign.child,
                foreign.parent,
                len(values),
                _example(foreign.columns, min(values, key=str)),
            )
            for foreign, values in self._missing.values()
        ]

    def _without_parent_here(self, foreign: ForeignKey, values: list[Row]) -> list[Row]:
        if not has_table(self._here, foreign.parent):
            return values
        parent = sql.SQL("{} AS t").format(named(foreign.parent))
        return self._here.execute(_missing(foreign, values, parent)).fetchall()


def _values(side: Side, foreign: ForeignKey, rows: Sequence[Difference]) -> list[Row]:
    columns = columns_of("t", foreign.columns)
    query = sql.SQL("SELECT DISTINCT {} FROM {} WHERE {}").format(
        sql.SQL(", ").join(sql.SQL("{}::pg_catalog.text").format(column) for column in columns),
        side.chosen([one.picked for one in rows]),
        sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(column) for column in columns),
    )
    return side.connection.execute(query).fetchall()


def _without_parent(side: Side, foreign: ForeignKey, values: list[Row], pairs: Mapping[TableName, Pair]) -> list[Row]:
    """Return the values that no row has which is asked for there: all of those come back, or are here."""
    parent = limited(side.shape, pairs[foreign.parent].wanted.where)
    return side.connection.execute(_missing(foreign, values, parent)).fetchall()


def _missing(foreign: ForeignKey, values: list[Row], parent: sql.Composed) -> sql.Composed:
    names = [sql.Identifier(f"v{place}") for place in range(len(foreign.columns))]
    arrays = [
        sql.SQL("pg_catalog.unnest({}::pg_catalog.text[])").format(sql.Literal([row[place] for row in values]))
        for place in range(len(foreign.columns))
    ]
    return sql.SQL(
        "SELECT {names} FROM ROWS FROM ({arrays}) AS v ({names}) WHERE NOT EXISTS (SELECT FROM {parent} WHERE {same})"
    ).format(
        names=sql.SQL(", ").join(names),
        arrays=sql.SQL(", ").join(arrays),
        parent=parent,
        same=matches(
            foreign,
            columns_of("t", foreign.parent_columns),
            [
                sql.SQL("{}::{}").format(sql.Identifier("v", f"v{place}"), raw(kind))
                for place, kind in enumerate(foreign.types)
            ],
        ),
    )


def matches(foreign: ForeignKey, parents: Sequence[sql.Composable], children: Sequence[sql.Composable]) -> sql.Composed:
    """Return the condition under which a parent and a child belong together, as the server decides it."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} OPERATOR({}.{}) {}").format(parent, sql.Identifier(schema), raw(operator), child)
        for parent, child, (schema, operator) in zip(parents, children, foreign.operators, strict=True)
    )


class ChildCheck:
    """Counts rows of tables beside the plan that refer to rows which are to be deleted."""

    def __init__(self, pair: Pair, planned: Callable[[TableName], bool]) -> None:
        self._pair = pair
        self._found: dict[str, tuple[ForeignKey, int, str]] = {}
        self._foreign_keys = [one for one in pair.match.target.referenced_by if not planned(one.child)]

    def visit(self, rows: list[Difference]) -> None:
        """Take rows that are to be deleted; raises psycopg.Error."""
        side = self._pair.here
        for foreign in self._foreign_keys if side is not None else ():
            assert side is not None
            query = sql.SQL(
                "SELECT pg_catalog.count(*), pg_catalog.min(({})::pg_catalog.text) FROM {}, {} AS c WHERE {}"
            ).format(
                sql.SQL("ROW({})").format(sql.SQL(", ").join(columns_of("c", foreign.columns))),
                side.chosen([one.picked for one in rows]),
                named(foreign.child),
                matches(foreign, columns_of("t", foreign.parent_columns), columns_of("c", foreign.columns)),
            )
            with said_of_table(foreign.child):
                (count, example), *_ = side.connection.execute(query).fetchall()
            if count:
                _, before, first = self._found.get(foreign.name, (foreign, 0, str(example)))
                self._found[foreign.name] = (foreign, before + int(str(count)), first)

    def violations(self) -> list[Violation]:
        """Return what was found."""
        return [
            Violation(foreign.name, foreign.child, foreign.parent, count, example)
            for foreign, count, example in self._found.values()
        ]


def _example(names: Sequence[str], values: Row) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
