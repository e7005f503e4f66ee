"""Read a table's shape from the catalog, in the caller's transaction."""

from __future__ import annotations

from itertools import groupby
from typing import cast

from edurise_backup.errors import InputError
from edurise_backup.postgres.names import exact_pattern
from edurise_backup.postgres.session import Connection, Row, fetch
from edurise_backup.recovery.rescue import shape_queries as queries
from edurise_backup.recovery.rescue.shapes import (
    Column,
    ForeignKey,
    Key,
    KeyColumn,
    NumberSequence,
    TableName,
    TableShape,
    Trigger,
)

_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence", "i": "an index"}


def table_shape(connection: Connection, schema: str, table: str) -> TableShape | None:
    """Return what the table is, or None when there is none of this name.

    The session has an empty search path. Raises InputError for what is no
    table, psycopg.Error.
    """
    rows = fetch(connection, queries.TABLE, [schema, table])
    if not rows:
        return None
    oid, kind, partition, logged, inherited, row_security, rules = rows[0]
    if kind not in ("r", "p"):
        raise InputError(
            f"{schema}.{table} is {_KINDS.get(str(kind), 'no table')}",
            safe="nothing was changed",
            hint="name tables: their rows are what is brought back",
        )
    return TableShape(
        table=TableName(schema, table),
        partitioned=kind == "p",
        partition=bool(partition),
        logged=bool(logged),
        inherited=bool(inherited),
        row_security=bool(row_security),
        rules=bool(rules),
        columns=tuple(_column(row) for row in fetch(connection, queries.COLUMNS, [oid])),
        keys=_keys(fetch(connection, queries.KEYS, [oid])),
        foreign_keys=_foreign_keys(connection, oid, "conrelid"),
        referenced_by=_foreign_keys(connection, oid, "confrelid"),
        triggers=tuple(
            Trigger(TableName(str(of_schema), str(of_table)), str(name), str(state))
            for of_schema, of_table, name, state in fetch(connection, queries.TRIGGERS, [oid, oid])
        ),
        sequences=tuple(_sequence(row) for row in fetch(connection, queries.SEQUENCES, [oid, oid, oid])),
    )


def partitions_of(connection: Connection, table: TableName) -> list[TableName]:
    """Return the partitions of a table, and theirs; raises psycopg.Error."""
    rows = fetch(connection, queries.PARTITIONS, [quoted(table)])
    return [TableName(str(schema), str(name)) for schema, name in rows]


def missing_types(connection: Connection, shape: TableShape) -> list[str]:
    """Return the types of the table's columns that this database does not have; raises psycopg.Error."""
    needed = sorted({column.type for column in shape.columns if column.foreign_type})
    rows = fetch(
        connection,
        "SELECT name FROM pg_catalog.unnest(%s::text[]) name WHERE pg_catalog.to_regtype(name) IS NULL",
        [needed],
    )
    return [str(name) for (name,) in rows]


def missing_sequences(connection: Connection, shape: TableShape) -> list[str]:
    """Return the sequences that the table uses without owning them, and this database lacks; raises psycopg.Error."""
    used = [quoted(TableName(one.schema, one.name)) for one in shape.sequences if not one.owned]
    rows = fetch(
        connection,
        "SELECT name FROM pg_catalog.unnest(%s::text[]) name WHERE pg_catalog.to_regclass(name) IS NULL",
        [used],
    )
    return [str(name) for (name,) in rows]


def has_table(connection: Connection, table: TableName) -> bool:
    """Return whether the database has a relation of this name; raises psycopg.Error."""
    return bool(fetch(connection, "SELECT pg_catalog.to_regclass(%s) IS NOT NULL", [quoted(table)])[0][0])


def has_schema(connection: Connection, schema: str) -> bool:
    """Return whether the database has a schema of this name; raises psycopg.Error."""
    return bool(fetch(connection, "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", [schema]))


def quoted(table: TableName) -> str:
    """Return the name as the server reads it."""
    return exact_pattern(table.schema, table.name)


def _column(row: Row) -> Column:
    name, kind, not_null, has_default, generated, identity, foreign = row
    return Column(
        str(name), str(kind), bool(not_null), bool(has_default), bool(generated), str(identity), bool(foreign)
    )


def _keys(rows: list[Row]) -> tuple[Key, ...]:
    found: list[Key] = []
    for _, columns in groupby(rows, key=lambda row: row[0]):
        of_key = list(columns)
        if all(not_null for _, not_null, *_ in of_key):
            found.append(tuple(_key_column(row) for row in of_key))
    return tuple(found)


def _key_column(row: Row) -> KeyColumn:
    _, _, name, kind, base, schema, operator, deterministic = row
    return KeyColumn(str(name), str(kind), str(base), str(schema), str(operator), bool(deterministic))


def _foreign_keys(connection: Connection, oid: object, side: str) -> tuple[ForeignKey, ...]:
    return tuple(_foreign_key(row) for row in fetch(connection, queries.FOREIGN_KEYS.format(side=side), [oid]))


def _foreign_key(row: Row) -> ForeignKey:
    name, schema, child, columns, types, of_schema, parent, parents, schemas, operators, update, delete, text = row
    return ForeignKey(
        name=str(name),
        child=TableName(str(schema), str(child)),
        columns=_texts(columns),
        types=_texts(types),
        parent=TableName(str(of_schema), str(parent)),
        parent_columns=_texts(parents),
        operators=tuple(zip(_texts(schemas), _texts(operators), strict=True)),
        on_update=str(update),
        on_delete=str(delete),
        definition=str(text),
    )


def _sequence(row: Row) -> NumberSequence:
    schema, name, column, *numbers, owned = row
    increment, lowest, highest, cache = cast("list[int]", numbers)
    return NumberSequence(str(schema), str(name), str(column), increment, lowest, highest, cache, bool(owned))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(cast("list[str]", value))
