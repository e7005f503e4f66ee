"""The rows of `backup_copies`: how each restore point stands in each copy, and how far a copy is behind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.jobs import Verdict
from edurise_backup.model.stores import BackupCopy, CopyState, SourceLag

T = TypeVar("T")

_ROWS = "SELECT store, backup_id, state, snapshots, bytes, copied_at, verified_at, outcome FROM backup_copies "
# a copy is behind from the end of the oldest restore point that it should have, beyond the newest that it has
_LAGS = """
WITH good AS (
    SELECT id, type, completed_at, forgotten_at IS NULL AND missing_since IS NULL AS restorable FROM backup_jobs
    WHERE status IN ('completed', 'completed_with_warnings')
), shown AS (
    SELECT id, 'full' AS part, '' AS source, completed_at, restorable FROM good WHERE type = 'full'
    UNION ALL
    SELECT DISTINCT g.id, p.part, p.source, g.completed_at, g.restorable
    FROM good g JOIN backup_parts p ON p.backup_id = g.id
), copied AS (
    SELECT c.store, s.part, s.source, max(s.completed_at) AS at
    FROM shown s JOIN backup_copies c ON c.backup_id = s.id AND c.state IN ('whole', 'forgotten')
    GROUP BY c.store, s.part, s.source
)
SELECT t.store, s.part, s.source, max(s.completed_at) AS newest_at, c.at AS copied_at,
       min(s.completed_at) FILTER (WHERE s.restorable AND (c.at IS NULL OR s.completed_at > c.at)) AS behind_since
FROM unnest(%(stores)s::text[]) t (store) CROSS JOIN shown s
LEFT JOIN copied c ON c.store = t.store AND c.part = s.part AND c.source = s.source
GROUP BY t.store, s.part, s.source, c.at ORDER BY t.store, s.part, s.source
"""


class BackupCopies:
    """The rows of `backup_copies`."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def of_store(self, store: str) -> dict[UUID, BackupCopy]:
        """Return what is known of a copy's restore points, by backup."""
        found = self._read(_ROWS + "WHERE store = %(store)s", {"store": store}, BackupCopy)
        return {row.backup_id: row for row in found}

    def of_backup(self, backup_id: UUID) -> dict[str, BackupCopy]:
        """Return how a restore point stands in each copy, by store."""
        query = _ROWS + "WHERE backup_id = %(id)s"
        return {row.store: row for row in self._read(query, {"id": backup_id}, BackupCopy)}

    def all(self) -> tuple[BackupCopy, ...]:
        """Return every row, the newest copies first."""
        query = _ROWS + "ORDER BY copied_at DESC NULLS LAST, backup_id, store"
        return self._read(query, {}, BackupCopy)

    def put(self, rows: Collection[BackupCopy]) -> None:
        """Write rows over what is there; when one came stays, and what was proved of the same snapshots."""

        def work(connection: Connection) -> None:
            with connection.cursor() as cursor:
                cursor.executemany(
                    b"""INSERT INTO backup_copies (store, backup_id, state, snapshots, bytes, copied_at)
                        VALUES (%s, %s, %s, %s, %s, %s)
                        ON CONFLICT (store, backup_id) DO UPDATE SET state = excluded.state,
                            snapshots = excluded.snapshots, bytes = coalesce(excluded.bytes, backup_copies.bytes),
                            copied_at = coalesce(backup_copies.copied_at, excluded.copied_at),
                            verified_at = CASE WHEN excluded.snapshots = backup_copies.snapshots
                                          THEN backup_copies.verified_at END,
                            outcome = CASE WHEN excluded.snapshots = backup_copies.snapshots
                                      THEN backup_copies.outcome END""",
                    [
                        (row.store, row.backup_id, row.state.value, list(row.snapshots), row.bytes, row.copied_at)
                        for row in rows
                    ],
                )

        if rows:
            self._sessions.run(work)

    def note_proof(self, store: str, verdicts: Mapping[UUID, Verdict], at: datetime) -> None:
        """Write what reading bytes of a copy has found, unless something later is there."""

        def work(connection: Connection) -> None:
            with connection.cursor() as cursor:
                cursor.executemany(
                    b"""UPDATE backup_copies SET verified_at = %s, outcome = %s
                        WHERE store = %s AND backup_id = %s AND (verified_at IS NULL OR verified_at <= %s)""",
                    [(at, verdict.value, store, backup_id, at) for backup_id, verdict in verdicts.items()],
                )

        if verdicts:
            self._sessions.run(work)

    def lags(self, stores: Collection[str]) -> tuple[SourceLag, ...]:
        """Return how far each of these copies is behind each source that the primary has good backups of."""
        return self._read(_LAGS, {"stores": list(stores)}, SourceLag)

    def whole_somewhere(self) -> frozenset[UUID]:
        """Return the backups that are whole in a copy, as far as is known."""
        query = "SELECT DISTINCT backup_id FROM backup_copies WHERE state = %s AND outcome IS DISTINCT FROM 'failed'"
        rows = self._sessions.run(lambda connection: connection.execute(query, (CopyState.WHOLE.value,)).fetchall())
        return frozenset(UUID(str(row[0])) for row in rows)

    def serving(self) -> tuple[str, ...]:
        """Return the copies that hold a whole restore point, as far as is known, by name."""
        return tuple(sorted({row.store for row in self.all() if row.state is CopyState.WHOLE}))

    def _read(self, query: str, parameters: Mapping[str, object], kind: type[T]) -> tuple[T, ...]:
        def read(connection: Connection) -> tuple[T, ...]:
            with connection.cursor(row_factory=dict_row) as cursor:
                rows = cursor.execute(query.encode(), parameters).fetchall()
            return msgspec.convert(rows, tuple[kind, ...])  # type: ignore[valid-type]

        return self._sessions.run(read)
