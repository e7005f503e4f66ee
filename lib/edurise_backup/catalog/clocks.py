"""The catalog server's clock: leases and signs of life are judged by it, because hosts' clocks differ.

A clock that somebody brought (a test that lets months pass) is asked instead.
"""

from __future__ import annotations

from datetime import datetime

from edurise_backup.catalog.sessions import Connection
from edurise_backup.ports import Clock, utc_now


def present(connection: Connection, clock: Clock) -> datetime:
    """Return the present moment."""
    if (given := brought(clock)) is not None:
        return given
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    moment = row[0]
    assert isinstance(moment, datetime)
    return moment


def brought(clock: Clock) -> datetime | None:
    """Return the moment by a clock that was brought; None when the server's counts (`coalesce` with it in SQL)."""
    return None if clock is utc_now else clock()
