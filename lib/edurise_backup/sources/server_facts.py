"""What a PostgreSQL server is, beside its data: settings, access rules, extensions, sizes.

Source of the views: the PostgreSQL manual, "System Views" and "System Catalogs".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import psycopg

from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.session import Connection, reading_session, translated

_PATIENCE = timedelta(seconds=30)
_SECRET_SETTINGS = ("primary_conninfo", "ssl_passphrase_command")
"""Settings whose value may hold a password; their names are kept, their values are not."""

_SETTINGS = """
    SELECT name, CASE WHEN name = ANY (%s) AND setting <> '' THEN '(not stored)' ELSE setting END AS setting,
           unit, source, sourcefile, sourceline
    FROM pg_catalog.pg_settings WHERE source NOT IN ('default', 'client', 'session') ORDER BY name"""
_RULES = """
    SELECT line_number, type, database, user_name, address, netmask, auth_method, options, error
    FROM pg_catalog.pg_hba_file_rules ORDER BY line_number"""
_EXTENSIONS = """
    SELECT e.extname AS name, e.extversion AS version, n.nspname AS schema
    FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace ORDER BY 1"""
_DATABASES = """
    SELECT datname AS name, pg_catalog.pg_database_size(oid) AS bytes
    FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1"""
_TABLES = """
    SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
           pg_catalog.pg_table_size(c.oid) AS table_bytes, pg_catalog.pg_indexes_size(c.oid) AS index_bytes,
           c.reltuples::bigint AS estimated_rows
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f') AND n.nspname <> 'information_schema'
      AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1, 2"""
_BUCKETS = """
    SELECT b.id, b.name, b.public, count(o.id) AS objects
    FROM storage.buckets b LEFT JOIN storage.objects o ON o.bucket_id = b.id GROUP BY 1, 2, 3 ORDER BY 1"""
_VERSION = "SELECT pg_catalog.version() AS version, pg_catalog.current_setting('server_version') AS number"

Rows = list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class ServerConfiguration:
    """How a server is set up; `problems` says what this role may not read."""

    settings: Rows
    access_rules: Rows
    extensions: dict[str, Rows]
    problems: tuple[str, ...]

    def to_json(self) -> bytes:
        """Return the record as indented JSON."""
        return to_json({"settings": self.settings, "access_rules": self.access_rules, "extensions": self.extensions})


def read_configuration(address: Address, databases: Sequence[str]) -> ServerConfiguration:
    """Read settings, HBA rules, and the extensions of each database; raises UnreachableError, SourceError."""
    problems = []
    with reading_session(address, address.database, lock_timeout=_PATIENCE) as connection:
        settings = _rows(connection, _SETTINGS, [list(_SECRET_SETTINGS)])
        try:
            with connection.transaction():
                rules = _rows(connection, _RULES)
        except psycopg.errors.InsufficientPrivilege:
            rules = []
            problems.append(
                f"{address.user} may not read the access rules: grant pg_read_all_settings and pg_hba_file_rules"
            )
    extensions = {}
    for name in databases:
        with reading_session(address, name, lock_timeout=_PATIENCE) as connection:
            extensions[name] = _rows(connection, _EXTENSIONS)
    return ServerConfiguration(settings, rules, extensions, tuple(problems))


def read_inventory(address: Address, databases: Sequence[str]) -> dict[str, object]:
    """Return the server's version, and each database's size, tables, extensions and storage buckets."""
    with reading_session(address, address.database, lock_timeout=_PATIENCE) as connection:
        version = _rows(connection, _VERSION)[0]
        sizes = {str(row["name"]): row["bytes"] for row in _rows(connection, _DATABASES)}
    inventory: dict[str, object] = {}
    for name in databases:
        with reading_session(address, name, lock_timeout=_PATIENCE) as connection:
            inventory[name] = {
                "bytes": sizes.get(name),
                "tables": _rows(connection, _TABLES),
                "extensions": _rows(connection, _EXTENSIONS),
                "buckets": _rows(connection, _BUCKETS) if _has_buckets(connection) else [],
            }
    return {"version": version["version"], "number": version["number"], "databases": inventory}


def to_json(value: object) -> bytes:
    """Return a value as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=1) + b"\n"


def _has_buckets(connection: Connection) -> bool:
    query = "SELECT to_regclass('storage.buckets') IS NOT NULL AND to_regclass('storage.objects') IS NOT NULL AS there"
    return bool(_rows(connection, query)[0]["there"])


def _rows(connection: Connection, query: str, parameters: Sequence[object] = ()) -> Rows:
    try:
        cursor = connection.execute(query.encode(), parameters or None)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    except psycopg.errors.InsufficientPrivilege:
        raise
    except psycopg.Error as error:
        raise translated(error, "the server's facts") from error
