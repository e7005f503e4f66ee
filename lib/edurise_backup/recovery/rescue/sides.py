"""One side of a comparison: the statements that read a table there (sandbox) or here (live).

Rows travel as the texts of their key and a SHA-256 of the row's text, which
the session's fixed notation makes the same on both servers. The order is one
that no collation has a say in: whole numbers and UUIDs by value, all else by
the bytes of its text in UTF-8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from psycopg import sql

from edurise_backup.postgres.session import Connection, Row
from edurise_backup.recovery.rescue.matching import TableMatch
from edurise_backup.recovery.rescue.shapes import KeyColumn, TableName, TableShape

ROWS_AT_ONCE = 2000
_NUMBERS = ("smallint", "integer", "bigint")
_IN_ORDER = (*_NUMBERS, "uuid")
_FLOATS = ("real", "double precision")


class Picked(NamedTuple):
    """A row, by its key; without a key by its digest, so many times."""

    key: tuple[str, ...]
    digest: bytes
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Side:
    """A table of one database, read in the columns and by the key of its match."""

    connection: Connection
    shape: TableShape
    match: TableMatch

    def stream(self, where: str, keep_on: Callable[[], None]) -> Iterator[Picked]:
        """Yield the rows for which `where` holds in the order of `position`; raises psycopg.Error."""
        query = self._by_key(where) if self.match.key else self._by_content(where)
        with self.connection.cursor(name=f"rescue_{id(self)}") as cursor:
            cursor.itersize = ROWS_AT_ONCE
            cursor.execute(query)
            for number, row in enumerate(cursor):
                if number % ROWS_AT_ONCE == 0:
                    keep_on()
                yield self._picked(row)

    def position(self, row: Picked) -> tuple[object, ...]:
        """Return what orders rows, in the same way as the servers do."""
        if not self.match.key:
            return (row.digest,)
        return tuple(
            int(text) if column.base_type in _NUMBERS else text.encode()
            for column, text in zip(self.match.key, row.key, strict=True)
        )

    def read(self, rows: Sequence[Picked], expressions: Sequence[sql.Composable]) -> list[Row]:
        """Return what the expressions give for those of the rows that are here; raises psycopg.Error."""
        query = sql.SQL("SELECT {} FROM {}").format(_listed(expressions), self.chosen(rows))
        return self.connection.execute(query).fetchall()

    def look_up(self, rows: Sequence[Picked]) -> dict[tuple[str, ...], Picked]:
        """Return those of the rows that are here, by key, whatever they hold; raises psycopg.Error."""
        found = [self._picked(row) for row in self.read(rows, [*self.key_texts(), digest(self.match.columns)])]
        return {row.key: row for row in found}

    def chosen(self, rows: Sequence[Picked]) -> sql.Composed:
        """Return what stands behind FROM for these rows, as `t`; without a key each as often as it is wanted."""
        if self.match.key:
            return self._chosen_by_key(rows)
        copies = "copies"
        while copies in self.match.columns:
            copies += "_"
        return sql.SQL(
            "(SELECT DISTINCT ON (wanted.digest) {columns}, wanted.copies AS {copies} "
            "FROM ROWS FROM (pg_catalog.unnest({digests}::pg_catalog.bytea[]), "
            "pg_catalog.unnest({counts}::pg_catalog.int8[])) AS wanted (digest, copies) "
            "JOIN {table} AS t ON {digest} = wanted.digest) AS t, "
            "pg_catalog.generate_series(1, t.{copies})"
        ).format(
            columns=_listed(columns_of("t", self.match.columns)),
            copies=sql.Identifier(copies),
            digests=sql.Literal([row.digest for row in rows]),
            counts=sql.Literal([row.copies for row in rows]),
            table=relation(self.shape),
            digest=digest(self.match.columns),
        )

    def key_texts(self) -> list[sql.Composable]:
        """Return the expressions of the key's notation."""
        return [_key_text(column) for column in self.match.key]

    def _by_key(self, where: str) -> sql.Composed:
        order = [
            sql.Identifier("t", column.name) if column.base_type in _IN_ORDER else _bytes(_key_text(column))
            for column in self.match.key
        ]
        return sql.SQL("SELECT {}, {} FROM {} ORDER BY {}").format(
            _listed(self.key_texts()), digest(self.match.columns), limited(self.shape, where), _listed(order)
        )

    def _by_content(self, where: str) -> sql.Composed:
        return sql.SQL(
            "SELECT digest, pg_catalog.count(*) FROM (SELECT {} FROM {}) AS contents (digest) "
            "GROUP BY digest ORDER BY digest"
        ).format(digest(self.match.columns), limited(self.shape, where))

    def _picked(self, row: Row) -> Picked:
        if self.match.key:
            *key, content = row
            assert isinstance(content, bytes)
            return Picked(tuple(str(text) for text in key), content)
        content, count = row
        assert isinstance(content, bytes)
        assert isinstance(count, int)
        return Picked((), content, count)

    def _chosen_by_key(self, rows: Sequence[Picked]) -> sql.Composed:
        names = [sql.Identifier(f"k{place}") for place in range(len(self.match.key))]
        arrays = [sql.Literal([row.key[place] for row in rows]) for place in range(len(self.match.key))]
        same = [
            sql.SQL("{} OPERATOR({}.{}) wanted.{}::{}").format(
                sql.Identifier("t", column.name),
                sql.Identifier(column.operator_schema),
                raw(column.operator),
                name,
                raw(column.type),
            )
            for column, name in zip(self.match.key, names, strict=True)
        ]
        return sql.SQL("ROWS FROM ({}) AS wanted ({}) JOIN {} AS t ON {}").format(
            _listed([sql.SQL("pg_catalog.unnest({}::pg_catalog.text[])").format(array) for array in arrays]),
            _listed(names),
            relation(self.shape),
            sql.SQL(" AND ").join(same),
        )


def raw(text: str) -> sql.SQL:
    """Return words that the server wrote (a type, an operator), or an operator's condition, as they are."""
    return sql.SQL(text)


def named(table: TableName) -> sql.Identifier:
    """Return a table's full name."""
    return sql.Identifier(table.schema, table.name)


def relation(shape: TableShape) -> sql.Composed:
    """Return a table without those that inherit from it, a partitioned one with its partitions."""
    return sql.SQL("{}" if shape.partitioned else "ONLY {}").format(named(shape.table))


def limited(shape: TableShape, where: str) -> sql.Composed:
    """Return what stands behind FROM for the rows for which the condition holds, as `t`."""
    if not where:
        return sql.SQL("{} AS t").format(relation(shape))
    return sql.SQL("(SELECT * FROM {} WHERE (\n{}\n)) AS t").format(relation(shape), raw(where))


def columns_of(alias: str, names: Sequence[str]) -> list[sql.Composable]:
    """Return qualified columns."""
    return [sql.Identifier(alias, name) for name in names]


def digest(columns: Sequence[str]) -> sql.Composed:
    """Return the SHA-256 of the notation of these columns of `t`; nulls and empty texts differ in it."""
    return sql.SQL("pg_catalog.sha256({})").format(
        _bytes(sql.SQL("ROW({})::pg_catalog.text").format(_listed(columns_of("t", columns))))
    )


def _bytes(text: sql.Composable) -> sql.Composed:
    return sql.SQL("pg_catalog.convert_to({}, 'UTF8')").format(text)


def _listed(parts: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def _key_text(column: KeyColumn) -> sql.Composed:
    """Return the notation in which equal keys are equal: 1.0 is 1, and -0 is 0."""
    name = sql.Identifier("t", column.name)
    if column.base_type == "numeric":
        return sql.SQL("pg_catalog.trim_scale({})::pg_catalog.text").format(name)
    if column.base_type in _FLOATS:
        base = raw(column.base_type)
        return sql.SQL("({}::{} + '0'::{})::pg_catalog.text").format(name, base, base)
    return sql.SQL("{}::pg_catalog.text").format(name)
