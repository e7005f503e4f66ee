"""What a PostgreSQL server is, beside its data: settings, access rules, extensions, sizes.

Source of the views: the PostgreSQL manual, "System Views" and "System Catalogs".
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import psycopg

from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.session import OTHER_SHAPE, Connection, reading_session, translated

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
_SIZE = "SELECT pg_catalog.pg_database_size(pg_catalog.current_database()) AS bytes"
_TABLES = """
    SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
           pg_catalog.pg_table_size(c.oid) AS table_bytes, pg_catalog.pg_indexes_size(c.oid) AS index_bytes,
           c.reltuples::bigint AS estimated_rows
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f') AND n.nspname <> 'information_schema'
      AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1, 2"""
# releases of Supabase differ in their columns: what a bucket has not is null
_BUCKETS = """
    SELECT b.id, pg_catalog.to_jsonb(b) -> 'name' AS name, pg_catalog.to_jsonb(b) -> 'public' AS public,
           count(o.bucket_id) AS objects
    FROM storage.buckets b LEFT JOIN storage.objects o ON o.bucket_id = b.id GROUP BY 1, 2, 3 ORDER BY 1"""
_HAS_BUCKETS = """
    SELECT pg_catalog.to_regclass('storage.buckets') IS NOT NULL
       AND pg_catalog.to_regclass('storage.objects') IS NOT NULL AS there"""
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


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is on a server; `problems` says what this role may not read."""

    facts: dict[str, object]
    problems: tuple[str, ...]


def read_configuration(address: Address, databases: Sequence[str]) -> ServerConfiguration:
    """Read settings, HBA rules, and the extensions of each database; raises UnreachableError, SourceError."""
    with closing(reading_session(address, address.database, lock_timeout=_PATIENCE)) as connection:
        session = _Session(connection)
        settings = session.rows("the settings", _SETTINGS, [list(_SECRET_SETTINGS)])
        rules = session.rows("the access rules", _RULES, hint="grant pg_read_all_settings and pg_hba_file_rules")
    problems = session.problems
    extensions = {}
    for name in databases:
        with closing(reading_session(address, name, lock_timeout=_PATIENCE)) as connection:
            session = _Session(connection)
            extensions[name] = session.rows(f"the extensions of {name}", _EXTENSIONS)
        problems += session.problems
    return ServerConfiguration(settings, rules, extensions, tuple(problems))


def read_inventory(address: Address, databases: Sequence[str]) -> Inventory:
    """Read the server's version, and each database's size, tables, extensions and storage buckets.

    Raises UnreachableError, SourceError; what the role may not read is a problem, and the rest is there.
    """
    with closing(reading_session(address, address.database, lock_timeout=_PATIENCE)) as connection:
        session = _Session(connection)
        version = next(iter(session.rows("the version", _VERSION)), {})
    problems = session.problems
    found: dict[str, object] = {}
    for name in databases:
        with closing(reading_session(address, name, lock_timeout=_PATIENCE)) as connection:
            session = _Session(connection)
            found[name] = {
                "bytes": next((row["bytes"] for row in session.rows(f"the size of {name}", _SIZE)), None),
                "tables": session.rows(f"the tables of {name}", _TABLES),
                "extensions": session.rows(f"the extensions of {name}", _EXTENSIONS),
                "buckets": _buckets(session, name),
            }
        problems += session.problems
    facts: dict[str, object] = {**version, "databases": found}
    return Inventory(facts, tuple(problems))


def to_json(value: object) -> bytes:
    """Return a value as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=1) + b"\n"


class _Session:
    """A reading session in which a query that the role has no right to is a problem, and no end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.problems: list[str] = []

    def rows(
        self,
        what: str,
        query: str,
        parameters: Sequence[object] = (),
        *,
        hint: str = "grant pg_read_all_data",
        foreign: bool = False,
    ) -> Rows:
        """Return the rows by column name; none without the right to read them.

        `foreign`: the tables may be somebody else's, whatever their names are.
        """
        try:
            with self._connection.transaction():  # a savepoint: the session goes on after what is refused
                cursor = self._connection.execute(query.encode(), parameters or None)
                names = [column.name for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except psycopg.errors.InsufficientPrivilege as error:
            role = self._connection.info.user
            said = error.diag.message_primary
            self.problems.append(f"{role} may not read {what} ({said}): {hint}")
            return []
        except psycopg.Error as error:
            if foreign and isinstance(error, OTHER_SHAPE):  # the table is in the dump like any other
                said = error.diag.message_primary
                self.problems.append(f"{what} could not be listed ({said}): they have another shape than Supabase's")
                return []
            raise translated(error, what) from error


def _buckets(session: _Session, database: str) -> Rows:
    what = f"the storage's buckets of {database}"
    there = session.rows(what, _HAS_BUCKETS)
    hint = "grant pg_read_all_data and BYPASSRLS"
    return session.rows(what, _BUCKETS, hint=hint, foreign=True) if there and there[0]["there"] else []
