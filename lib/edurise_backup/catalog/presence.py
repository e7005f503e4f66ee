"""Which good backups are still in the repository: what the catalog notes of it, on the backups' rows.

A backup is there, or was forgotten (as a whole, by a recorded act), or is
missing: a snapshot of it is gone, and nobody has said so. Only the last is a
reason for alarm, and for a prune to refuse.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.jobs import JobId

_KNOWN = """
SELECT b.id, array_agg(p.snapshot_id ORDER BY p.ordinal) AS snapshots,
       b.forgotten_at, b.forgotten_until, b.missing_since
FROM backup_jobs b JOIN backup_parts p ON p.backup_id = b.id
WHERE b.status IN ('completed', 'completed_with_warnings')
GROUP BY b.id ORDER BY b.started_at, b.id
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """When a snapshot was forgotten, and until when it can be brought back."""

    at: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class KnownBackup:
    """A good backup with its snapshots, in the order in which they were made."""

    id: JobId
    snapshots: tuple[str, ...]
    forgotten_at: datetime | None
    forgotten_until: datetime | None
    missing_since: datetime | None

    @property
    def forgotten(self) -> bool:
        """Whether somebody has said that it may go."""
        return self.forgotten_at is not None


@dataclass(frozen=True, slots=True)
class _State:
    forgotten_at: datetime | None = None
    forgotten_until: datetime | None = None
    missing_since: datetime | None = None


def known_backups(sessions: Sessions) -> tuple[KnownBackup, ...]:
    """Return the good backups, oldest first, as the catalog knows them; those without a snapshot are left out."""

    def read(connection: Connection) -> tuple[KnownBackup, ...]:
        with connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(_KNOWN).fetchall()
        return msgspec.convert(rows, tuple[KnownBackup, ...])

    return sessions.run(read)


def note_presence(
    sessions: Sessions,
    known: Collection[KnownBackup],
    *,
    listed: Collection[str],
    waiting: Mapping[str, Waiting],
    now: datetime,
) -> tuple[JobId, ...]:
    """Write on the rows what the repository says, and return the backups that are missing.

    `known` was read before the repository was listed: a backup that ended since
    is none of them. A backup with a part that was forgotten is forgotten as a whole.
    """
    states = {backup.id: _state(backup, listed, waiting, now) for backup in known}
    changed = [
        (states[backup.id], backup)
        for backup in known
        if states[backup.id] != _State(backup.forgotten_at, backup.forgotten_until, backup.missing_since)
    ]
    gone = [job_id for job_id, state in states.items() if state.missing_since is not None]
    return sessions.run(partial(_write, changed=changed, gone=gone)) if changed or gone else ()


def mark_forgotten(sessions: Sessions, ids: Collection[JobId], *, at: datetime, until: datetime | None) -> None:
    """Note that backups are forgotten by a person's act; what was missing is so no longer."""
    sessions.run(
        lambda connection: connection.execute(
            """UPDATE backup_jobs SET forgotten_at = %s, forgotten_until = %s, missing_since = NULL
               WHERE id = ANY(%s)""",
            (at, until, list[UUID](ids)),
        )
    )


def readdress_parts(sessions: Sessions, copied_from: Mapping[str, str], listed: Collection[str]) -> int:
    """Have parts name the snapshots that are here now, where those were copied from the ones named; return how many.

    A copy that has become the primary has the same restore points under other ids.
    """

    def work(connection: Connection) -> int:
        rows = connection.execute(
            """UPDATE backup_parts p SET snapshot_id = m.now
               FROM unnest(%s::text[], %s::text[]) m (before, now)
               WHERE p.snapshot_id = m.before AND NOT p.snapshot_id = ANY(%s) RETURNING p.backup_id""",
            (list(copied_from), list(copied_from.values()), list(listed)),
        ).fetchall()
        changed = list({row[0] for row in rows})
        connection.execute(
            """UPDATE backup_jobs b SET checksum = (
                   SELECT encode(sha256(convert_to(string_agg(p.snapshot_id, E'\\n' ORDER BY p.snapshot_id COLLATE "C"),
                                                   'UTF8')), 'hex')
                   FROM backup_parts p WHERE p.backup_id = b.id)
               WHERE b.id = ANY(%s)""",
            (changed,),
        )
        return len(rows)

    return sessions.run(work) if copied_from else 0


def _state(backup: KnownBackup, listed: Collection[str], waiting: Mapping[str, Waiting], now: datetime) -> _State:
    absent = [snapshot for snapshot in backup.snapshots if snapshot not in listed]
    if not absent:
        return _State()
    notes = [waiting[snapshot] for snapshot in absent if snapshot in waiting]
    if backup.forgotten_at is not None:
        return _State(backup.forgotten_at, min(note.until for note in notes) if len(notes) == len(absent) else None)
    if len(notes) == len(absent):
        return _State(min(note.at for note in notes), min(note.until for note in notes))
    return _State(missing_since=backup.missing_since or now)


def _write(connection: Connection, changed: list[tuple[_State, KnownBackup]], gone: list[JobId]) -> tuple[JobId, ...]:
    """Write the states, and return which backups are missing now: somebody may have forgotten one since."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """UPDATE backup_jobs SET forgotten_at = %s, forgotten_until = %s, missing_since = %s
               WHERE id = %s AND forgotten_at IS NOT DISTINCT FROM %s""",
            [
                (state.forgotten_at, state.forgotten_until, state.missing_since, backup.id, backup.forgotten_at)
                for state, backup in changed
            ],
        )
    rows = connection.execute(
        "SELECT id FROM backup_jobs WHERE id = ANY(%s) AND missing_since IS NOT NULL ORDER BY started_at, id",
        (list[UUID](gone),),
    ).fetchall()
    return msgspec.convert([row[0] for row in rows], tuple[JobId, ...])
