"""Count and sum up what a database holds, so that a restored one can be proved equal.

A table's checksum is the sum, over its rows, of a 64-bit hash of the row,
columns in the order of their names. A sum does not depend on the order of rows
and counts duplicates (unlike XOR); the hash must stay the same in later
versions because hash partitions on disk depend on it. It proves equality
against mistakes, not against somebody who looks for collisions; the archives'
own bytes are covered by the repository's SHA-256.

What is hashed is exact: of types whose equal values have equal bytes the value
itself, of numbers their bytes (1.0 is not 1.00, 0 not -0; hashes of 8-byte
integers fold them into 4), of all others the text in the notation of
`session.reading_session`. The server combines a row's hashes linearly, so that
a sum would not see two rows exchange a value: each is mixed once more, as the
seed of another hash. Earlier releases hashed all of a row as text, which costs
two to ten times as much: more than the dump itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from psycopg import sql

from edurise_backup.model.database import CHECKSUM_RULE, TEXT_RULE, LargeObjects
from edurise_backup.postgres.facts import Relation, Sequence
from edurise_backup.postgres.session import Connection, fetch

_PIECE = 1 << 24

_ITSELF, _AS_C = "{0}", '{0} COLLATE "C"'
_NUMBER = "CASE WHEN {0} = 'NaN' THEN 'NaN' ELSE {0} END"  # one that a computation made may have its sign set
_VALUES = {
    **dict.fromkeys((16, 17, 18, 21, 23, 26, 1082), _ITSELF),  # bool bytea "char" int2 int4 oid date
    **dict.fromkeys((829, 2950), _ITSELF),  # macaddr uuid
    **dict.fromkeys((19, 25, 1043), _AS_C),  # name text varchar
    **dict.fromkeys((114, 3802), '{0}::text COLLATE "C"'),  # json jsonb
    20: "pg_catalog.int8send({0})",
    700: f"pg_catalog.float4send({_NUMBER})",
    701: f"pg_catalog.float8send({_NUMBER})",
    1083: "pg_catalog.time_send({0})",
    1114: "pg_catalog.timestamp_send({0})",
    1184: "pg_catalog.timestamptz_send({0})",
    1186: "pg_catalog.interval_send({0})",
    1700: "pg_catalog.numeric_send({0})",
    3220: "pg_catalog.pg_lsn_send({0})",
}
"""What is hashed of a value, by its type's object id (`pg_type.dat`: those of built-in types never change).

No text is sent: that would be converted into the client's encoding, which not every text can be.
"""

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


def count_rows(connection: Connection, relation: Relation, rule: str = CHECKSUM_RULE) -> tuple[int, str]:
    """Return a relation's row count and checksum in the session's snapshot; raises psycopg.Error."""
    query = sql.SQL(
        "SELECT count(*)::bigint, coalesce(sum({value}), 0)::text FROM ONLY {table} AS r"
    ).format(  # ONLY: the rows of inheriting tables are counted there
        value=_as_text(relation.columns) if rule == TEXT_RULE else _exact(relation),
        table=sql.Identifier(relation.schema, relation.name),
    )
    row = connection.execute(query).fetchone()
    rows, checksum = cast("tuple[int, str]", row)
    return rows, checksum


def _as_text(columns: Iterable[str]) -> sql.Composable:
    return sql.SQL("pg_catalog.hashtextextended({}, 0)").format(_text(columns))


def _exact(relation: Relation) -> sql.Composable:
    values, others = list[sql.Composable](), list[str]()
    for name, type_oid in zip(relation.columns, relation.types, strict=True):
        if type_oid in _VALUES:
            values.append(sql.SQL(_VALUES[type_oid]).format(sql.Identifier("r", name)))
        else:
            others.append(name)
    if others:
        values.append(_text(others))
    row = sql.SQL("pg_catalog.hash_record_extended(ROW({}), 0)").format(sql.SQL(", ").join(values))
    return sql.SQL("pg_catalog.hashint4extended(0, {})").format(row)


def _text(columns: Iterable[str]) -> sql.Composable:
    """Return the columns as the output functions of their types write them, whatever casts somebody has made."""
    listed = sql.SQL(", ").join(sql.Identifier("r", column) for column in columns)
    return sql.SQL('ROW({})::text COLLATE "C"').format(listed)


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
