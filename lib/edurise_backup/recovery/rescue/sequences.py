"""Advance sequences beyond the rows that came back; never back, and undone with the transaction.

`setval` would outlive a rollback. ALTER SEQUENCE does not, and its lock keeps
`nextval` of others waiting from when the value is read.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from edurise_backup.postgres.session import Connection
from edurise_backup.recovery.rescue.shapes import NumberSequence, TableShape
from edurise_backup.recovery.rescue.sides import relation


@dataclass(frozen=True, slots=True)
class Advanced:
    """A sequence that was advanced: the number that it gives next."""

    name: str
    next_value: int


def advance(connection: Connection, shape: TableShape, sequence: NumberSequence) -> Advanced | None:
    """Advance the sequence beyond its column's values, if it stands lower; raises psycopg.Error."""
    name = sql.Identifier(sequence.schema, sequence.name)
    upwards = sequence.increment > 0
    furthest = _number(
        connection,
        sql.SQL("SELECT pg_catalog.{}({}) FROM {}").format(
            sql.SQL("max" if upwards else "min"), sql.Identifier(sequence.column), relation(shape)
        ),
    )
    if furthest is None or not sequence.lowest <= furthest <= sequence.highest:
        return None
    connection.execute(
        sql.SQL("ALTER SEQUENCE {} CACHE {}").format(name, sql.Literal(sequence.cache))
    )  # takes the lock
    next_value = _number(
        connection,
        sql.SQL("SELECT last_value + CASE WHEN is_called THEN {} ELSE 0 END FROM {}").format(
            sql.Literal(sequence.increment), name
        ),
    )
    assert next_value is not None
    wanted = furthest + sequence.increment
    if (next_value >= wanted if upwards else next_value <= wanted) or not sequence.lowest <= wanted <= sequence.highest:
        return None
    connection.execute(sql.SQL("ALTER SEQUENCE {} RESTART WITH {}").format(name, sql.Literal(wanted)))
    return Advanced(f"{sequence.schema}.{sequence.name}", wanted)


def _number(connection: Connection, query: sql.Composed) -> int | None:
    ((value,),) = connection.execute(query).fetchall()
    return None if value is None else int(str(value))
