"""Bring tables as they were into a new schema of the live database: to look at, and to choose from by hand.

Nothing that exists is touched. The copies have the columns, their types and
the keys; no defaults, triggers, foreign keys, policies or grants. A generated
column is an ordinary one there, with the values that it had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from psycopg import sql

from edurise_backup.errors import InputError, NotFoundError, ProofError
from edurise_backup.ports import Progress
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.session import Connection, close_quietly, reading_session
from edurise_backup.recovery.rescue.conditions import AS_IT_WAS, check_condition, said_of_condition, said_of_table
from edurise_backup.recovery.rescue.loading import carry, identifiers
from edurise_backup.recovery.rescue.pairs import LOCK_TIMEOUT
from edurise_backup.recovery.rescue.reading_shapes import missing_types, table_shape
from edurise_backup.recovery.rescue.shapes import TableName, TableShape, Wanted
from edurise_backup.recovery.rescue.sides import columns_of, digest, limited, named, raw, relation
from edurise_backup.recovery.rescue.transaction import live_transaction


@dataclass(frozen=True, slots=True)
class Imported:
    """A table that was brought into the new schema, proved equal."""

    table: TableName
    """As it was named."""
    copy: TableName
    rows: int


def import_as_schema(
    sandbox: Address,
    live: Address,
    tables: Sequence[Wanted],
    *,
    schema: str,
    lock_timeout: timedelta = LOCK_TIMEOUT,
    progress: Progress | None = None,
) -> list[Imported]:
    """Create the schema with the tables as they were in the sandbox, in one transaction, or nothing.

    Raises ConflictError (the schema exists), InputError, NotFoundError,
    SourceError (rights), ProofError, UnreachableError, CancelledError.
    """
    names = [wanted.name for wanted in tables]
    if not names or len(set(names)) < len(names):
        raise InputError(
            "name one table or more, of different names",
            safe="nothing was changed",
            hint="import tables of the same name into a schema each",
        )
    there = reading_session(sandbox, sandbox.database, lock_timeout=lock_timeout)
    try:
        shapes = [(wanted, _shape(there, wanted)) for wanted in tables]
        with live_transaction(live, lock_timeout) as here:
            _check_types(here, [shape for _, shape in shapes])
            here.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
            return [_import(there, here, wanted, shape, schema, progress) for wanted, shape in shapes]
    finally:
        close_quietly(there)


def _shape(there: Connection, wanted: Wanted) -> TableShape:
    with said_of_table(wanted.table):
        shape = table_shape(there, *wanted.table)
        if shape is None:
            raise NotFoundError(
                f"there was no table {wanted.table} at that moment",
                safe="nothing was changed",
                hint="check the name (it is case-sensitive), or choose another moment",
            )
        if not shape.logged or not shape.columns:
            why = "has no columns" if shape.logged else "is unlogged: a recovered server has no rows of it"
            raise InputError(f"{wanted.table} {why}", safe="nothing was changed", hint="leave it out")
        check_condition(there, wanted)
    return shape


def _check_types(here: Connection, shapes: Sequence[TableShape]) -> None:
    missing = sorted({name for shape in shapes for name in missing_types(here, shape)})
    if missing:
        raise InputError(
            f"the live database does not have the types {', '.join(missing)}",
            safe="nothing was changed",
            hint="create the types first, then import again",
        )


def _import(
    there: Connection, here: Connection, wanted: Wanted, shape: TableShape, schema: str, progress: Progress | None
) -> Imported:
    copy = TableName(schema, wanted.name)
    names = [column.name for column in shape.columns]
    if progress is not None:
        progress.phase(f"importing {wanted.table}")
        progress.raise_if_cancelled()
    with said_of_table(wanted.table), said_of_condition(wanted):
        here.execute(_create(copy, shape))
        query = sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(columns_of("t", names)), limited(shape, wanted.where)
        )
        target = sql.SQL("{} ({})").format(named(copy), identifiers(names))
        rows = carry(there, query, here, target, progress=progress)
        _prove(there, here, wanted, shape, copy)
        for place, key in enumerate(shape.keys):
            kind = sql.SQL("UNIQUE" if place else "PRIMARY KEY")
            columns = identifiers([column.name for column in key])
            here.execute(sql.SQL("ALTER TABLE {} ADD {} ({})").format(named(copy), kind, columns))
    return Imported(wanted.table, copy, rows)


def _create(copy: TableName, shape: TableShape) -> sql.Composed:
    columns = [
        sql.SQL("{} {}{}").format(
            sql.Identifier(column.name), raw(column.type), sql.SQL(" NOT NULL" if column.not_null else "")
        )
        for column in shape.columns
    ]
    return sql.SQL("CREATE TABLE {} ({})").format(named(copy), sql.SQL(", ").join(columns))


def _prove(there: Connection, here: Connection, wanted: Wanted, shape: TableShape, copy: TableName) -> None:
    """Raise ProofError unless both sides hold the same rows, counted and summed up by their contents."""
    theirs = _sum(there, shape, limited(shape, wanted.where))
    of_copy = replace(shape, table=copy, partitioned=False)
    if _sum(here, shape, sql.SQL("{} AS t").format(relation(of_copy))) != theirs:
        raise ProofError(
            f"the copy of {wanted.table} is not equal to it",
            safe=AS_IT_WAS,
            hint="run it again; when it comes again, report it",
        )


def _sum(connection: Connection, shape: TableShape, table: sql.Composed) -> list[tuple[object, ...]]:
    # a sum does not depend on the order of rows; the hash is of the digest's bytes, as in both servers
    query = sql.SQL(
        "SELECT pg_catalog.count(*), pg_catalog.sum(pg_catalog.hashtextextended("
        "pg_catalog.encode({}, 'hex') COLLATE pg_catalog.\"C\", 0)::pg_catalog.numeric) FROM {}"
    ).format(digest([column.name for column in shape.columns]), table)
    return connection.execute(query).fetchall()
