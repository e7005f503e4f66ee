"""The catalog's cache of pins and holds, and what it notices when the repository's notes differ.

A note that is gone without a release still keeps its backup here: whoever can
delete objects in the store cannot quietly end a legal hold.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.audit import add_row
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.people import Actor
from edurise_backup.model.protections import Protection, ProtectionKind
from edurise_backup.ports import Clock, utc_now

_COLUMNS = "id, kind, backup_id, snapshots, reason, who, since, until"


@dataclass(frozen=True, slots=True)
class ProtectionRow:
    """A row of `protections`."""

    id: UUID
    kind: ProtectionKind
    backup_id: UUID
    snapshots: tuple[str, ...]
    reason: str
    who: str
    since: datetime
    until: datetime | None
    releasing_at: datetime | None
    missing_since: datetime | None

    @property
    def protection(self) -> Protection:
        """The pin or hold itself."""
        return Protection(
            self.id, self.kind, self.backup_id, self.snapshots, self.reason, self.who, self.since, self.until
        )


class Protections:
    """The rows of `protections`."""

    def __init__(self, sessions: Sessions, *, clock: Clock = utc_now) -> None:
        self._sessions = sessions
        self._clock = clock

    def all(self) -> tuple[ProtectionRow, ...]:
        """Return all pins and holds, the newest first."""
        return self._sessions.run(_read)

    def add(self, protection: Protection, actor: Actor) -> None:
        """Write the row of one that is in the repository, with the audit row of who did it."""

        def work(connection: Connection) -> None:
            _insert(connection, protection)
            detail = {
                "backup": str(protection.backup_id),
                "reason": protection.reason,
                "until": protection.until.isoformat() if protection.until else None,
            }
            action = f"{protection.kind.value}.add"
            add_row(connection, actor, action, str(protection.id), detail=detail, at=self._clock())

        self._sessions.run(work)

    def begin_release(self, protection: Protection, actor: Actor) -> None:
        """Note, before its note goes, that somebody releases it: with the audit row, or not at all."""

        def work(connection: Connection) -> None:
            _insert(connection, protection)
            connection.execute("UPDATE protections SET releasing_at = %s WHERE id = %s", (self._clock(), protection.id))
            detail = {"backup": str(protection.backup_id), "reason": protection.reason, "placed_by": protection.who}
            action = f"{protection.kind.value}.release"
            add_row(connection, actor, action, str(protection.id), detail=detail, at=self._clock())

        self._sessions.run(work)

    def end_release(self, protection_id: UUID) -> None:
        """Remove the row; its note is gone."""
        query = "DELETE FROM protections WHERE id = %s AND releasing_at IS NOT NULL"
        self._sessions.run(lambda connection: connection.execute(query, (protection_id,)))

    def compare(self, known: Collection[UUID], found: Collection[Protection]) -> tuple[ProtectionRow, ...]:
        """Make the rows follow the repository's notes; return those whose note is gone though nobody released it.

        `known` are the ids of rows that were read before the notes: one that came since is not missed.
        """
        now = self._clock()
        return self._sessions.run(lambda connection: _compare(connection, list(known), found, now))


def _compare(
    connection: Connection, known: list[UUID], found: Collection[Protection], now: datetime
) -> tuple[ProtectionRow, ...]:
    for protection in found:
        _insert(connection, protection)
    there = [protection.id for protection in found]
    # a release that was cut short before its note went has not happened
    connection.execute(
        """UPDATE protections SET releasing_at = NULL, missing_since = NULL
           WHERE id = ANY(%s) AND (releasing_at < %s - interval '1 hour' OR missing_since IS NOT NULL)""",
        (there, now),
    )
    gone = [one for one in known if one not in set(there)]
    connection.execute("DELETE FROM protections WHERE id = ANY(%s) AND releasing_at IS NOT NULL", (gone,))
    connection.execute(
        "UPDATE protections SET missing_since = %s WHERE id = ANY(%s) AND missing_since IS NULL", (now, gone)
    )
    return tuple(row for row in _read(connection) if row.missing_since is not None)


def _insert(connection: Connection, protection: Protection) -> None:
    connection.execute(
        f"INSERT INTO protections ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) "  # noqa: S608  ours
        "ON CONFLICT (id) DO NOTHING".encode(),
        (
            protection.id,
            protection.kind.value,
            protection.backup_id,
            list(protection.snapshots),
            protection.reason,
            protection.who,
            protection.since,
            protection.until,
        ),
    )


def _read(connection: Connection) -> tuple[ProtectionRow, ...]:
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute("SELECT * FROM protections ORDER BY since DESC, id").fetchall()
    return msgspec.convert(found, tuple[ProtectionRow, ...])
