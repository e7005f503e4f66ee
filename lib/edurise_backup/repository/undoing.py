"""Bring forgotten snapshots back: proved first, published under their old ids, and only then their notes go."""

from __future__ import annotations

from edurise_backup.errors import DamageError, TransientError
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.repository.forgetting import Forgotten, drop_notes, put_back, read_forgotten
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.reachability import prove_stored
from edurise_backup.repository.repository import Repository


def list_forgotten(repository: Repository) -> dict[SnapshotId, Forgotten]:
    """Return the snapshots that wait until their grace is over; raises DamageError for an unreadable note."""
    there = set(repository.box.ids(Kind.SNAPSHOT))
    return {key: one for key, one in read_forgotten(repository.box).items() if key not in there}


def undo_forget(repository: Repository, forgotten: Forgotten, lock: Lock) -> None:
    """Bring a forgotten snapshot back under its old id, after proof that all of its data is there.

    `lock` keeps prunes out. Raises DamageError when data is gone, LockedError when the lock was lost.
    """
    repository.load_index(strict=False)
    try:
        prove_stored(repository.box, repository.index, forgotten.snapshot.tree)
    except TransientError as error:
        raise DamageError(
            f"the forgotten snapshot {forgotten.id[:8]} cannot be brought back: {error.message}",
            safe="every snapshot that is listed; nothing was changed",
            hint="a client that does not know of forgotten snapshots has pruned; look for a copy of the repository",
        ) from error
    lock.confirm()
    put_back(repository.box, forgotten)
    repository.confirm_published(forgotten.id, forgotten.snapshot, lock)
    drop_notes(repository.box, forgotten)
