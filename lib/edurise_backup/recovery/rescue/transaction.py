"""The one transaction in which the live database is changed: committed whole, or rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import psycopg

from edurise_backup.errors import UnreachableError
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.session import Connection, close_quietly, writing_session
from edurise_backup.recovery.rescue.conditions import translated_change


@contextmanager
def live_transaction(live: Address, lock_timeout: timedelta) -> Iterator[Connection]:
    """Yield a session whose transaction is committed at the end, or rolled back; raises our errors only."""
    here = writing_session(live, live.database, lock_timeout=lock_timeout)
    try:
        try:
            yield here
        except psycopg.Error as error:
            raise translated_change(error, f"the database {live.database}") from error
        _commit(here)
    finally:
        with suppress(psycopg.Error):
            here.rollback()
        close_quietly(here)


def _commit(here: Connection) -> None:
    try:
        here.commit()
    except psycopg.OperationalError as error:
        raise UnreachableError(
            "the connection was lost while the transaction was committed",
            safe="all of it was done, or nothing",
            hint="compare again: it tells which",
        ) from error
    except psycopg.Error as error:
        raise translated_change(error, "the live database") from error
