"""The rows of `store_traffic` and `store_probes`: what was asked of a store, and what its server does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.probe import Probe
from edurise_backup.model.stores import PRIMARY
from edurise_backup.model.traffic import Count, Traffic

_BY_KIND = """
SELECT kind, operation, count(DISTINCT job_id)::bigint, sum(requests)::bigint, sum(sent)::bigint, sum(received)::bigint
FROM store_traffic WHERE store = %s AND at >= %s GROUP BY kind, operation ORDER BY kind, operation
"""


@dataclass(frozen=True, slots=True)
class KindTraffic:
    """What all jobs of a kind asked of a store."""

    kind: str
    jobs: int
    traffic: Traffic


class StoreUse:
    """What was asked of stores, and what probes have found."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def add_traffic(self, job_id: UUID, kind: str, at: datetime, traffic: Traffic, *, store: str = PRIMARY) -> None:
        """Write what a job asked of a store; what it said before is replaced."""
        query = """INSERT INTO store_traffic (job_id, kind, store, operation, at, requests, sent, received)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
                   ON CONFLICT (job_id, store, operation) DO UPDATE SET at = excluded.at, kind = excluded.kind,
                       requests = excluded.requests, sent = excluded.sent, received = excluded.received"""
        rows = [
            (job_id, kind, store, operation, at, count.requests, count.sent, count.received)
            for operation, count in traffic.operations.items()
        ]

        def write(connection: Connection) -> None:
            with connection.cursor() as cursor:
                cursor.executemany(query, rows)

        self._sessions.run(write)

    def traffic_of(self, job_id: UUID, *, store: str = PRIMARY) -> Traffic:
        """Return what a job asked of a store; nothing for one that nobody counted."""
        query = "SELECT operation, requests, sent, received FROM store_traffic WHERE job_id = %s AND store = %s"
        return _traffic(self._sessions.run(lambda connection: connection.execute(query, (job_id, store)).fetchall()))

    def traffic_since(self, moment: datetime, *, store: str = PRIMARY) -> tuple[KindTraffic, ...]:
        """Return what was asked of a store since then, by kind of job."""
        rows = self._sessions.run(lambda connection: connection.execute(_BY_KIND, (store, moment)).fetchall())
        kinds: dict[str, list[tuple[object, ...]]] = {}
        for row in rows:
            kinds.setdefault(str(row[0]), []).append(row)
        return tuple(
            KindTraffic(kind, max(_whole(row[2]) for row in of), _traffic([(row[1], *row[3:]) for row in of]))
            for kind, of in kinds.items()
        )

    def add_probe(self, found: Probe, *, store: str = PRIMARY) -> None:
        """Write what a probe has found; one of the same moment is the same."""
        query = """INSERT INTO store_probes (store, location, probed_at, found) VALUES (%s, %s, %s, %s)
                   ON CONFLICT DO NOTHING"""
        values = (store, found.address, found.at, Jsonb(msgspec.to_builtins(found)))
        self._sessions.run(lambda connection: connection.execute(query, values) and None)

    def last_probe(self, *, store: str = PRIMARY) -> Probe | None:
        """Return what was found last, or None."""
        query = "SELECT found FROM store_probes WHERE store = %s ORDER BY probed_at DESC LIMIT 1"
        row = self._sessions.run(lambda connection: connection.execute(query, (store,)).fetchone())
        return None if row is None else msgspec.convert(row[0], Probe)


def together(kinds: tuple[KindTraffic, ...]) -> Traffic:
    """Return the traffic of all kinds of job."""
    total: dict[str, Count] = {}
    for kind in kinds:
        for operation, count in kind.traffic.operations.items():
            total[operation] = total.get(operation, Count()) + count
    return Traffic(total)


def _traffic(rows: list[tuple[object, ...]]) -> Traffic:
    return Traffic({str(row[0]): Count(*map(_whole, row[1:])) for row in rows})


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value
