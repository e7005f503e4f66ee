"""Take an operator's SQL condition for what it is: one expression, which only reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg
from psycopg import errors, sql

from edurise_backup.errors import BackupError, ConflictError, InputError, SourceError
from edurise_backup.postgres.session import Connection, translated
from edurise_backup.recovery.rescue.shapes import TableName, Wanted
from edurise_backup.recovery.rescue.sides import named, raw

_HINT = "write it as behind WHERE, with the table's columns; qualify what is not PostgreSQL's own: public.f(x)"
_NOTHING = "nothing was changed"
AS_IT_WAS = "the live database is as it was"
_FORMS: tuple[LiteralString, ...] = (
    "SELECT 1 FROM {table} WHERE (\n{condition}\n) LIMIT 0",
    "SELECT ARRAY[\n{condition}\n]::pg_catalog.bool[] FROM {table} LIMIT 0",
)
_SAID = ("21", "22", "25006", "38", "39", "42", "P0")
"""Classes of errors that a condition can cause: its words, its values, that it writes."""


def check_condition(connection: Connection, wanted: Wanted) -> None:
    """Raise InputError unless the condition is an expression that is true or false; it is not evaluated.

    It must stand in parentheses and in brackets: what closes the one to say
    more is no expression in the other.
    """
    if not wanted.where:
        return
    if "\0" in wanted.where:
        raise InputError(f"the condition for {wanted.table} holds a NUL", safe=_NOTHING, hint=_HINT)
    for form in _FORMS:
        query = sql.SQL(form).format(table=named(wanted.table), condition=raw(wanted.where))
        with said_of_condition(wanted):
            # a binary result asks for the extended protocol, which takes one statement only
            connection.execute(query, binary=True)


@contextmanager
def said_of_condition(wanted: Wanted) -> Iterator[None]:
    """Raise InputError for what the server says of the condition; other errors pass."""
    try:
        yield
    except psycopg.Error as error:
        if not wanted.where or not _of_condition(error):
            raise
        said = error.diag.message_primary or str(error)
        raise InputError(
            f"the condition for {wanted.table} cannot be used: {said}", safe=_NOTHING, hint=_HINT
        ) from error


@contextmanager
def said_of_table(table: TableName) -> Iterator[None]:
    """Raise ours for every error of the server while the table is worked on."""
    try:
        yield
    except psycopg.Error as error:
        raise translated_change(error, f"the table {table}") from error


def translated_change(error: psycopg.Error, what: str) -> BackupError:
    """Return our error for one that the server raised while we read or changed `what` in one transaction."""
    said = error.diag.message_primary or str(error).strip()
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    if isinstance(error, errors.IntegrityError | errors.DataError):
        return ConflictError(
            f"rows of {what} do not fit what is here: {said}{detail}",
            safe=AS_IT_WAS,
            hint="bring back the other rows too, or import the table as a new schema and choose by hand",
        )
    if isinstance(error, errors.DuplicateObject | errors.DuplicateTable | errors.DuplicateSchema):
        return ConflictError(said, safe=AS_IT_WAS, hint="look at what is there, then plan anew")
    if isinstance(error, errors.InsufficientPrivilege):
        return SourceError(
            f"the role may not do this with {what}: {said}",
            safe=AS_IT_WAS,
            hint="the role must own the tables that are changed, and see all of their rows (BYPASSRLS)",
        )
    found = translated(error, what)
    if type(found) is SourceError:
        found = SourceError(f"the work on {what} failed: {said}{detail}")
    found.safe = AS_IT_WAS
    return found


def _of_condition(error: psycopg.Error) -> bool:
    permission = isinstance(error, errors.InsufficientPrivilege)
    return not permission and (error.sqlstate or "").startswith(_SAID)
