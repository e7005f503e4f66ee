"""What `doctor` asks of the catalog and nobody else: how schedules stand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.sessions import Connection, Sessions

_STANDING = """
SELECT name, type, is_active, next_run, last_run, paused_until FROM backup_schedules ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a schedule stands."""

    name: str
    type: str
    is_active: bool
    next_run: datetime | None
    last_run: datetime | None
    paused_until: datetime | None


def schedule_standings(sessions: Sessions) -> tuple[Standing, ...]:
    """Return how each schedule stands, by name."""

    def read(connection: Connection) -> tuple[Standing, ...]:
        with connection.cursor(row_factory=dict_row) as cursor:
            return msgspec.convert(cursor.execute(_STANDING).fetchall(), tuple[Standing, ...])

    return sessions.run(read)
