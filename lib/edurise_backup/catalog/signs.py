"""The services' signs of life: whoever watches says so, and whoever asks sees when that was."""

from __future__ import annotations

import os
import socket
from datetime import datetime

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.alarm_facts import Sign


def write_sign(sessions: Sessions, service: str, now: datetime) -> None:
    """Note that the service works now."""
    query = """INSERT INTO service_signs (service, host, pid, at) VALUES (%s, %s, %s, %s)
               ON CONFLICT (service, host) DO UPDATE SET pid = excluded.pid, at = excluded.at"""
    values = (service, socket.gethostname(), os.getpid(), now)
    sessions.run(lambda connection: connection.execute(query, values))


def read_signs(sessions: Sessions) -> tuple[Sign, ...]:
    """Return the last sign of each service on each host."""

    def read(connection: Connection) -> tuple[Sign, ...]:
        with connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute("SELECT service, host, at FROM service_signs ORDER BY service, host").fetchall()
        return msgspec.convert(rows, tuple[Sign, ...])

    return sessions.run(read)
