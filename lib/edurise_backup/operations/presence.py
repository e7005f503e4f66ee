"""Compare the catalog's good backups with what the repository lists: there, forgotten, or missing."""

from __future__ import annotations

from dataclasses import dataclass

from edurise_backup.catalog.presence import Waiting, known_backups, note_presence
from edurise_backup.errors import DamageError
from edurise_backup.model.jobs import JobId
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.jobs import storable
from edurise_backup.repository.forgetting import read_forgotten
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.objects import ObjectBox
from edurise_backup.repository.repository import Repository

_ASKED = 100
"""Snapshots that are asked for by name, at most: more of them are no lag."""


@dataclass(frozen=True, slots=True)
class Presence:
    """What the catalog's backups look like from the repository."""

    listed: frozenset[str]
    """The snapshots that are there."""
    waiting: frozenset[str]
    """The forgotten snapshots that can be brought back."""
    known: tuple[str, ...]
    """The snapshots of all backups that nobody has forgotten: a prune refuses when one is gone."""
    missing: tuple[JobId, ...]
    """Backups of which a snapshot is gone, and which nobody has forgotten."""
    problems: tuple[str, ...]
    """Notes of forgotten snapshots that cannot be read; then nothing was judged."""

    def missing_sentences(self) -> list[str]:
        """Name the missing backups, a sentence each."""
        return [
            f"the backup {job_id} is missing: a snapshot of it is neither listed nor forgotten"
            for job_id in self.missing
        ]


def look_for_backups(catalog: Catalog, repository: Repository) -> Presence:
    """Note on the catalog's rows which backups are there, forgotten or missing, and return it.

    The rows are read before the repository: a backup that ends meanwhile is not
    missed. Snapshots are listed before and after the notes of forgotten ones,
    because forgetting writes its note first and an undo its snapshot.
    """
    known = known_backups(catalog.sessions)
    box = repository.box
    listed = set(box.ids(Kind.SNAPSHOT))
    try:
        notes = read_forgotten(box)
    except DamageError as error:
        return _unjudged(
            known_snapshots=[s for b in known if not b.forgotten for s in b.snapshots],
            listed=listed,
            problem=error.message,
        )
    listed |= set(box.ids(Kind.SNAPSHOT))
    waiting = {str(key): Waiting(note.at, note.until) for key, note in notes.items() if key not in listed}
    wanted = {snapshot for backup in known if not backup.forgotten for snapshot in backup.snapshots}
    listed |= _unlisted(box, sorted(wanted - listed - waiting.keys()))
    missing = note_presence(catalog.sessions, known, listed=listed, waiting=waiting, now=catalog.clock())
    unforgotten = [
        backup
        for backup in known
        if set(backup.snapshots) <= listed or not (backup.forgotten or set(backup.snapshots) <= listed | waiting.keys())
    ]
    return Presence(
        listed=frozenset(listed),
        waiting=frozenset(waiting),
        known=tuple(snapshot for backup in unforgotten for snapshot in backup.snapshots),
        missing=missing,
        problems=(),
    )


def _unlisted(box: ObjectBox, snapshots: list[str]) -> set[str]:
    """Return those that are there although no listing has them yet: a listing may lag, a name never does."""
    return {snapshot for snapshot in snapshots[:_ASKED] if box.has(Kind.SNAPSHOT, snapshot)}


def _unjudged(*, known_snapshots: list[str], listed: set[str], problem: str) -> Presence:
    return Presence(frozenset(listed), frozenset(), tuple(known_snapshots), (), (storable(problem),))
