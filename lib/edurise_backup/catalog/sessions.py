"""Sessions with the catalog's server: transactions, the retry of faults that pass, and plain errors.

This is the one place where a lost connection, a deadlock or a serialization
failure is tried again. A commit whose answer was lost is tried again, too: so
the work must come out the same when it is done twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Self, TypeVar

import psycopg
import tenacity
from psycopg import errors as refusals
from psycopg.pq import TransactionStatus

from edurise_backup.errors import (
    BackupError,
    ConfigError,
    ConflictError,
    InputError,
    NotFoundError,
    SpaceError,
    TransientError,
    UnreachableError,
    UnsupportedVersionError,
)
from edurise_backup.postgres.connection import Address, connect

Connection = psycopg.Connection[tuple[object, ...]]
T = TypeVar("T")

_IDLE_KEPT = 4
_PATIENCE = timedelta(seconds=10)
# connection exceptions, rollbacks by the server, shutdowns and starts;
# and one by one: lock timeout, too many connections
_PASSING_CLASSES = ("08", "40", "57P")
_PASSING_STATES = ("55P03", "53300")


class Sessions:
    """Lends connections to the catalog; safe to share between threads, not between processes.

    `open_connection` makes a connection, and raises UnreachableError. A
    connection is kept for the next caller, and dropped when it is broken.
    """

    def __init__(self, open_connection: Callable[[], Connection], *, patience: timedelta = _PATIENCE) -> None:
        self._open_connection = open_connection
        self._patience = patience
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._was_reachable = False

    @classmethod
    def to(cls, address: Address, *, application_name: str = "edurise-backup catalog") -> Self:
        """Return sessions with the database that `address` names."""
        return cls(lambda: connect(address, application_name=application_name))

    def run(self, work: Callable[[Connection], T], *, patience: timedelta | None = None) -> T:
        """Do `work` in one transaction and return what it returns; tried again for up to `patience`.

        Raises TransientError or UnreachableError when the catalog stays away,
        and what `work` raises; what the server refuses comes as InputError and its kin.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._passes),
            stop=tenacity.stop_after_delay(self._patience if patience is None else patience),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=1),
            reraise=True,
        )
        try:
            result: T = retrying(self._once, work)
        except psycopg.Error as error:
            raise _translated(error) from error
        return result

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Lend a connection inside a transaction: committed at the end, rolled back on an error; no retry.

        For what cannot be done twice, such as handing out rows one by one.
        """
        self.close()  # a connection that went stale while idle would fail without need
        try:
            with self._lent() as connection:
                yield connection
        except psycopg.Error as error:
            raise _translated(error) from error

    @contextmanager
    def _lent(self) -> Iterator[Connection]:
        connection = self._take()
        try:
            with connection.transaction():
                yield connection
        except psycopg.OperationalError:
            if connection.broken:
                self.close()  # its companions were most likely cut off with it
            raise
        finally:
            self._give_back(connection)

    def close(self) -> None:
        """Close the connections that nobody uses; the next call opens new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _once(self, work: Callable[[Connection], T]) -> T:
        with self._lent() as connection:
            return work(connection)

    def _passes(self, error: BaseException) -> bool:
        if isinstance(error, UnreachableError):
            return self._was_reachable  # at the first connection it is a wrong address or password
        return isinstance(error, psycopg.Error) and _passing(error)

    def _take(self) -> Connection:
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if not connection.closed:
                    return connection
        connection = self._open_connection()
        try:
            # names are found in `public` alone, whatever the role's settings say
            connection.execute("SET TIME ZONE 'UTC'; SET search_path TO public; SET lock_timeout TO '30s'")
            connection.commit()
        except BaseException:
            connection.close()
            raise
        self._was_reachable = True
        return connection

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            quiet = not connection.closed and connection.info.transaction_status is TransactionStatus.IDLE
            if quiet and len(self._idle) < _IDLE_KEPT:
                self._idle.append(connection)
                return
        connection.close()


def _passing(error: psycopg.Error) -> bool:
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)  # libpq's own: the connection is gone
    return error.sqlstate.startswith(_PASSING_CLASSES) or error.sqlstate in _PASSING_STATES


def _translated(error: psycopg.Error) -> BackupError:
    # the primary message only: the detail repeats the row's values
    said = error.diag.message_primary or str(error).strip() or "no reason given"
    if _passing(error):
        return TransientError(
            f"the catalog did not answer: {said}",
            safe="what the repository holds does not depend on the catalog",
            hint="check that its server runs, then repeat the call",
        )
    for kind, translation in _TRANSLATIONS:
        if isinstance(error, kind):
            return translation(said)
    return BackupError(f"the catalog refused a statement: {said}")


def _other_tables(said: str) -> BackupError:
    return UnsupportedVersionError(
        f"the catalog's tables are not those of this release: {said}",
        hint="migrate the catalog, or use the release that it was migrated by",
    )


_TRANSLATIONS: tuple[tuple[type[psycopg.Error], Callable[[str], BackupError]], ...] = (
    (refusals.UniqueViolation, lambda said: ConflictError(f"the catalog holds this already: {said}")),
    (refusals.ForeignKeyViolation, lambda said: NotFoundError(f"the catalog lacks what this names: {said}")),
    (psycopg.IntegrityError, lambda said: InputError(f"the catalog refused the record: {said}")),
    (
        refusals.DiskFull,
        lambda said: SpaceError(f"the catalog's disk is full: {said}", hint="free space on its server"),
    ),
    (
        refusals.InsufficientPrivilege,
        lambda said: ConfigError(f"the catalog's role lacks a right: {said}", hint="grant it to the role"),
    ),
    (refusals.UndefinedTable, _other_tables),
    (refusals.UndefinedColumn, _other_tables),
    (refusals.InvalidSchemaName, _other_tables),
)
