"""Sessions that read a database as one fixed state, in one fixed notation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import psycopg
from psycopg import errors, sql

from edurise_backup.errors import BackupError, SourceError, TransientError, UnreachableError
from edurise_backup.postgres.connection import Address, connect

Row = tuple[object, ...]
Connection = psycopg.Connection[Row]

# Equal values must give equal text whatever the server's, database's or role's settings are.
_NOTATION = {
    "search_path": "",
    "row_security": "off",  # missing rights are an error, never fewer rows
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "xmloption": "content",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "standard_conforming_strings": "on",
    "default_transaction_deferrable": "off",
    "synchronize_seqscans": "off",
}
OTHER_SHAPE = (
    errors.UndefinedColumn,
    errors.UndefinedTable,
    errors.UndefinedFunction,
    errors.DatatypeMismatch,
    errors.CannotCoerce,
    errors.InvalidTextRepresentation,
)
"""What a query says of a table that has a known name and is somebody else's."""
_NO_LIMITS = ("statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout")


def reading_session(
    address: Address, database: str, *, lock_timeout: timedelta, snapshot: str | None = None
) -> Connection:
    """Return a session in a read-only transaction of one snapshot: a new one, or the exported `snapshot`.

    Raises UnreachableError, and what `translated` makes of the server's errors.
    """
    connection = connect(address, database=database)
    try:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        if snapshot is not None:
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
        _settle(connection, lock_timeout)
    except psycopg.Error as error:
        connection.close()
        raise translated(error, f"the database {database}") from error
    return connection


def writing_session(address: Address, database: str, *, lock_timeout: timedelta) -> Connection:
    """Return a session in a transaction that may write, in the notation of `reading_session`.

    Each statement sees what was committed before it. Raises UnreachableError,
    and what `translated` makes of the server's errors.
    """
    connection = connect(address, database=database)
    try:
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.read_only = False
        _settle(connection, lock_timeout)
    except psycopg.Error as error:
        connection.close()
        raise translated(error, f"the database {database}") from error
    return connection


def _settle(connection: Connection, lock_timeout: timedelta) -> None:
    set_all(connection, _NOTATION | {"lock_timeout": f"{int(lock_timeout.total_seconds() * 1000)}ms"})
    known = fetch(connection, "SELECT name FROM pg_settings WHERE name = ANY (%s)", [list(_NO_LIMITS)])
    set_all(connection, {str(name): "0" for (name,) in known})


def set_all(connection: Connection, settings: dict[str, str]) -> None:
    """Set parameters for the rest of the session (of the transaction, when it is rolled back)."""
    query = sql.SQL("SELECT ") + sql.SQL(", ").join(
        sql.SQL("pg_catalog.set_config({}, {}, false)").format(name, value) for name, value in settings.items()
    )
    if settings:
        connection.execute(query)


def fetch(connection: Connection, query: str, parameters: Sequence[object] = ()) -> list[Row]:
    """Return all rows of a query that is a constant of ours; raises psycopg.Error."""
    return connection.execute(query.encode(), parameters or None).fetchall()


def close_quietly(connection: Connection) -> None:
    """Close a connection that may be broken already, or in use by a thread that is to stop."""
    with suppress(psycopg.Error, OSError):
        connection.cancel_safe(timeout=5)
    with suppress(psycopg.Error, OSError):
        connection.close()


def translated(error: psycopg.Error, what: str) -> BackupError:
    """Return our error for one that the server raised while we read `what`."""
    said = (error.diag.message_primary or str(error)).strip()
    if isinstance(error, errors.InsufficientPrivilege):
        return SourceError(
            f"the role may not read all of {what}: {said}",
            hint="grant it pg_read_all_data and, where row-level security is on, BYPASSRLS",
        )
    if isinstance(error, errors.LockNotAvailable):
        return TransientError(
            f"{what} stayed locked by another session",
            safe="nothing was changed",
            hint="try again when the schema change has ended, or raise the lock timeout",
        )
    if isinstance(error, errors.DeadlockDetected | errors.SerializationFailure):
        return TransientError(f"{what} could not be read now: {said}", safe="nothing was changed")
    if isinstance(error, psycopg.OperationalError) and error.sqlstate in (None, "57P01", "57P02", "57P03"):
        return UnreachableError(f"the connection was lost while {what} was read: {said}", safe="nothing was changed")
    return SourceError(f"{what} could not be read: {said}")
