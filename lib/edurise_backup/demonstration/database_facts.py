"""Describe databases from SQL alone: every row, and every definition in the system catalogs.

The rows are read with COPY in sorted order and hashed here, so that neither
the engine's checksums nor pg_dump can hide a difference from the comparison.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files

import psycopg
from psycopg import sql

from edurise_backup.demonstration.facts import DatabaseFacts, TableFacts
from edurise_backup.errors import SourceError
from edurise_backup.postgres.connection import Address, connect

_Connection = psycopg.Connection[tuple[object, ...]]

# Everything that changes how a value is written is fixed; missing rights are an error, never fewer rows.
_SESSION = b"""
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET search_path = ''; SET row_security = off; SET timezone = 'UTC'; SET datestyle = 'ISO, YMD';
SET intervalstyle = 'iso_8601'; SET extra_float_digits = 3; SET bytea_output = 'hex'; SET lc_monetary = 'C';
SET xmlbinary = 'base64'; SET work_mem = '64MB'; SET synchronize_seqscans = off; SET statement_timeout = 0;
"""
_TABLES = """
    SELECT n.nspname, c.relname, c.oid::regclass::text FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relispopulated
    ORDER BY 1, 2
"""
_SEQUENCES = """
    SELECT n.nspname, c.relname, c.oid::regclass::text FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S' AND n.nspname !~ '^pg_' ORDER BY 1, 2
"""
_ROW = sql.Identifier("edurise whole row")
_PIECE = 1024 * 1024


def describe_databases(address: Address, names: Mapping[str, str]) -> dict[str, DatabaseFacts]:
    """Describe databases of a server; `names` maps what the result calls them to what they are called there.

    The role must be a superuser, or own everything. Raises UnreachableError,
    SourceError.
    """
    return {name: _describe(address, actual) for name, actual in names.items()}


def describe_roles(address: Address) -> dict[str, str]:
    """Describe a server's roles, memberships and role settings, without those that initdb made."""
    try:
        with connect(address) as connection:
            connection.execute(_SESSION)
            connection.commit()
            return _texts(connection, "roles_facts.sql")
    except psycopg.Error as error:
        raise SourceError(f"the roles cannot be described: {error}") from error


def _describe(address: Address, database: str) -> DatabaseFacts:
    try:
        with connect(address, database=database) as connection:
            connection.execute(_SESSION)
            connection.commit()  # from here on one snapshot
            tables = {
                str(label): _table(connection, str(schema), str(name))
                for schema, name, label in connection.execute(_TABLES.encode()).fetchall()
            }
            definitions = _texts(connection, "definitions.sql")
            definitions |= _sequence_values(connection)
            definitions |= _large_objects(connection)
    except psycopg.Error as error:
        raise SourceError(f"the database {database} cannot be described: {error}") from error
    return DatabaseFacts(tables, definitions)


def _table(connection: _Connection, schema: str, name: str) -> TableFacts:
    statement = sql.SQL('COPY (SELECT * FROM ONLY {} AS {} ORDER BY {}::text COLLATE "C") TO STDOUT').format(
        sql.Identifier(schema, name), _ROW, _ROW
    )
    digest, rows = hashlib.sha256(), 0
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for data in copy:
            digest.update(data)
            rows += bytes(data).count(b"\n")  # COPY writes a line break inside of a value as \n
    return TableFacts(rows, digest.hexdigest())


def _texts(connection: _Connection, script: str) -> dict[str, str]:
    query = (files(__package__) / script).read_text("utf-8")
    connection.execute(b"SET LOCAL search_path = pg_catalog")
    found: dict[str, str] = {}
    for what, definition in connection.execute(query.encode()):
        if str(what) in found:
            raise SourceError(f"the comparison cannot tell two things apart: {what}")
        found[str(what)] = str(definition)
    connection.execute(b"SET LOCAL search_path = ''")
    return found


def _sequence_values(connection: _Connection) -> dict[str, str]:
    found = {}
    for schema, name, label in connection.execute(_SEQUENCES.encode()).fetchall():
        query = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(str(schema), str(name)))
        row = connection.execute(query).fetchone()
        found[f"value of sequence {label}"] = str(row)
    return found


def _large_objects(connection: _Connection) -> dict[str, str]:
    query = b"SELECT oid FROM pg_catalog.pg_largeobject_metadata ORDER BY oid"
    return {
        f"bytes of large object {oid}": _large_object(connection, oid)
        for (oid,) in connection.execute(query).fetchall()
    }


def _large_object(connection: _Connection, oid: object) -> str:
    digest, size = hashlib.sha256(), 0
    while True:
        row = connection.execute("SELECT pg_catalog.lo_get(%s::oid, %s::bigint, %s)", (oid, size, _PIECE)).fetchone()
        piece = row[0] if row else None
        if not isinstance(piece, bytes) or not piece:
            return f"{size:,} bytes, SHA-256 {digest.hexdigest()}"
        digest.update(piece)
        size += len(piece)
