"""The rows of `store_space`: how much room the store's disk had, and when."""

from __future__ import annotations

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.space import SpaceReading

_HOURLY = """
SELECT at, total_bytes, free_bytes FROM (
    SELECT DISTINCT ON (date_trunc('hour', at, 'UTC')) at, total_bytes, free_bytes
    FROM store_space
    WHERE location = %(location)s AND at > (SELECT max(at) FROM store_space WHERE location = %(location)s)
                                          - make_interval(days => %(days)s)
    ORDER BY date_trunc('hour', at, 'UTC'), at DESC
) last_of_each_hour ORDER BY at
"""


class StoreSpace:
    """Readings of the room that a store has left."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def add(self, location: str, reading: SpaceReading) -> None:
        """Write a reading; a second one of the same moment is left out."""
        query = """INSERT INTO store_space (location, at, total_bytes, free_bytes) VALUES (%s, %s, %s, %s)
                   ON CONFLICT DO NOTHING"""
        values = (location, reading.at, reading.total_bytes, reading.free_bytes)
        self._sessions.run(lambda connection: connection.execute(query, values) and None)

    def readings(self, location: str, *, days: int = 90) -> tuple[SpaceReading, ...]:
        """Return the last reading of each hour of the newest `days`, oldest first."""

        def read(connection: Connection) -> tuple[SpaceReading, ...]:
            with connection.cursor(row_factory=dict_row) as cursor:
                rows = cursor.execute(_HOURLY, {"location": location, "days": days}).fetchall()
            return msgspec.convert(rows, tuple[SpaceReading, ...])

        return self._sessions.run(read)
