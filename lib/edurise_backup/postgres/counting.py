"""Count and sum up what a database holds, so that a restored one can be proved equal.

A table's checksum is the sum, over its rows, of `hashtextextended` of the
row's text, columns in the order of their names. A sum does not depend on the
order of rows and counts duplicates (unlike XOR); the 64-bit hash must stay the
same in later versions because hash partitions on disk depend on it. The text
form is fixed by `session.reading_session`. It proves equality against
mistakes, not against somebody who looks for collisions; the archives' own
bytes are covered by the repository's SHA-256.
"""

from __future__ import annotations

from typing import cast

from psycopg import sql

from edurise_backup.model.database import LargeObjects
from edurise_backup.postgres.facts import Relation, Sequence
from edurise_backup.postgres.session import Connection, fetch

_PIECE = 1 << 24

_LARGE_OBJECTS = """
SELECT count(*)::bigint,
       coalesce(sum(
           hashtextextended(oid::text || ':0:' || encode(sha256(piece), 'hex') COLLATE "C", 0)::numeric), 0)::text,
       coalesce(array_agg(oid::bigint) FILTER (WHERE length(piece) = %s), '{}')
FROM (SELECT oid, lo_get(oid, 0, %s) AS piece FROM pg_catalog.pg_largeobject_metadata OFFSET 0) objects
"""
_LATER_PIECE = """
SELECT length(piece)::bigint,
       hashtextextended(%s::text || ':' || %s::text || ':' || encode(sha256(piece), 'hex') COLLATE "C", 0)::text
FROM (SELECT lo_get(%s::oid, %s, %s) AS piece OFFSET 0) objects
"""


def count_rows(connection: Connection, relation: Relation) -> tuple[int, str]:
    """Return a relation's row count and checksum in the session's snapshot; raises psycopg.Error."""
    columns = sql.SQL(", ").join(sql.Identifier("r", column) for column in relation.columns)
    query = sql.SQL(
        "SELECT count(*)::bigint, coalesce(sum(hashtextextended("
        'ROW({columns})::text COLLATE "C", 0)::numeric), 0)::text FROM {only} {table} AS r'
    ).format(
        columns=columns,
        only=sql.SQL("ONLY"),  # the rows of inheriting tables are counted there
        table=sql.Identifier(relation.schema, relation.name),
    )
    row = connection.execute(query).fetchone()
    rows, checksum = cast("tuple[int, str]", row)
    return rows, checksum


def read_sequence(connection: Connection, sequence: Sequence) -> tuple[int, bool]:
    """Return a sequence's last value and whether it was handed out; raises psycopg.Error.

    The function takes the page's lock. A plain SELECT does not, and may see
    the value that nextval writes to the WAL ahead of the one it hands out.
    """
    query = sql.SQL(
        "SELECT coalesce(locked.value, s.last_value), locked.value IS NOT NULL "
        "FROM {} s, (SELECT pg_catalog.pg_sequence_last_value({}) AS value OFFSET 0) locked"
    ).format(sql.Identifier(sequence.schema, sequence.name), sequence.oid)
    return cast("tuple[int, bool]", connection.execute(query).fetchone())


def count_large_objects(connection: Connection) -> LargeObjects:
    """Return the number and checksum of all large objects; reads at most 16 MiB of one at a time.

    Raises psycopg.Error.
    """
    count, total, longer = fetch(connection, _LARGE_OBJECTS, [_PIECE, _PIECE])[0]
    checksum = int(cast("str", total))
    for oid in cast("list[int]", longer):
        offset, length = _PIECE, _PIECE
        while length == _PIECE:
            row = fetch(connection, _LATER_PIECE, [oid, offset, oid, offset, _PIECE])[0]
            length, piece = cast("tuple[int, str]", row)
            checksum += int(piece)
            offset += _PIECE
    return LargeObjects(cast("int", count), str(checksum))
