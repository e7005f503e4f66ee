"""The rows of `repository_keys`: which keys the repository had when somebody last looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.sessions import Connection, Sessions


@dataclass(frozen=True, slots=True)
class SeenKey:
    """A key file, as it was last seen."""

    id: str
    name: str
    host: str
    created_at: datetime | None
    current: bool
    trouble: str
    seen_at: datetime


def note_seen_keys(sessions: Sessions, keys: Sequence[SeenKey]) -> None:
    """Make the rows exactly these."""

    def work(connection: Connection) -> None:
        connection.execute("DELETE FROM repository_keys WHERE NOT id = ANY(%s)", ([key.id for key in keys],))
        for key in keys:
            connection.execute(
                """INSERT INTO repository_keys (id, name, host, created_at, current, trouble, seen_at)
                   VALUES (%s, %s, %s, %s, %s, %s, %s)
                   ON CONFLICT (id) DO UPDATE SET name = excluded.name, host = excluded.host,
                       created_at = excluded.created_at, current = excluded.current, trouble = excluded.trouble,
                       seen_at = excluded.seen_at""",
                (key.id, key.name, key.host, key.created_at, key.current, key.trouble, key.seen_at),
            )

    sessions.run(work)


def seen_keys(sessions: Sessions) -> tuple[SeenKey, ...]:
    """Return the keys that were last seen, the oldest first."""

    def read(connection: Connection) -> tuple[SeenKey, ...]:
        with connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute("SELECT * FROM repository_keys ORDER BY created_at NULLS FIRST, id").fetchall()
        return msgspec.convert(rows, tuple[SeenKey, ...])

    return sessions.run(read)
