"""What a copy's repository lists, and the catalog's rows about it, which follow from that.

A copied snapshot has another id than the one that it was made of; restic's field `original` tells which that was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from edurise_backup.catalog.policies import good_backups
from edurise_backup.errors import DamageError
from edurise_backup.model.jobs import BackupJob
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.model.stores import BackupCopy, CopyState
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.undoing import list_forgotten


@dataclass(slots=True)
class CopyContents:
    """The snapshots of one repository, also by the name of what each was copied from."""

    snapshots: dict[SnapshotId, Snapshot] = field(default_factory=dict)
    ids: dict[str, SnapshotId] = field(default_factory=dict)
    """From the id of an original, or its own, to the one that is there."""
    waiting: set[str] = field(default_factory=set)
    """Originals of snapshots that were forgotten here and can be brought back."""
    problems: list[str] = field(default_factory=list)
    """What could not be read, a sentence each."""

    def add(self, snapshot_id: SnapshotId, snapshot: Snapshot) -> None:
        """Take one more snapshot."""
        self.snapshots[snapshot_id] = snapshot
        self.ids[snapshot_id] = snapshot_id
        if snapshot.original:
            self.ids[snapshot.original] = snapshot_id

    def of_backup(self, backup: BackupJob) -> tuple[str, ...]:
        """Return what is here of a backup's parts, in their order; empty for one that is not."""
        return tuple(str(self.ids.get(part.snapshot_id, "")) for part in backup.parts)


def read_snapshots(repository: Repository) -> CopyContents:
    """List a repository's snapshots, not those that wait; what is not readable is told in `problems`."""
    found = CopyContents()
    for snapshot_id, snapshot in repository.readable_snapshots(found.problems).items():
        found.add(snapshot_id, snapshot)
    return found


def read_contents(repository: Repository) -> CopyContents:
    """List a repository; what is not readable is told in `problems`."""
    found = read_snapshots(repository)
    try:
        for snapshot_id, forgotten in list_forgotten(repository).items():
            found.waiting |= {str(snapshot_id), forgotten.snapshot.original or str(snapshot_id)}
    except DamageError as error:
        found.problems.append(error.message)
    return found


def follow_contents(catalog: Catalog, store: str, there: CopyContents, now: datetime) -> dict[UUID, BackupCopy]:
    """Make the rows of a copy say what its repository lists, and return them by backup."""
    known = catalog.copies.of_store(store)
    rows: dict[UUID, BackupCopy] = {}
    for backup in good_backups(catalog.sessions):
        row = standing(store, backup, there, known.get(backup.id), now)
        if row is not None:
            rows[backup.id] = row
    catalog.copies.put([row for row in rows.values() if _differs(row, known)])
    return rows


def standing(
    store: str, backup: BackupJob, there: CopyContents, known: BackupCopy | None, now: datetime
) -> BackupCopy | None:
    """Return how a backup stands in a copy, or None when it is not there and never was; pure."""
    snapshots = there.of_backup(backup)
    absent = [part.snapshot_id for part, found in zip(backup.parts, snapshots, strict=True) if not found]
    if not backup.parts:
        return None
    if not absent:
        state = CopyState.WHOLE
    elif set(absent) <= there.waiting or (known is not None and known.state is CopyState.FORGOTTEN):
        state = CopyState.FORGOTTEN
    elif known is not None and known.copied_at is not None:  # it was whole
        state = CopyState.GONE
    elif len(absent) < len(snapshots):
        state = CopyState.PARTIAL
    elif known is not None:
        state = CopyState.GONE
    else:
        return None
    came = known.copied_at if known else None
    proved = known if known and known.snapshots == snapshots else None  # of others nobody has read a byte
    return BackupCopy(
        store,
        backup.id,
        state,
        snapshots,
        known.bytes if known else None,
        came or (now if state is CopyState.WHOLE else None),
        proved.verified_at if proved else None,
        proved.outcome if proved else None,
    )


def _differs(row: BackupCopy, known: Mapping[UUID, BackupCopy]) -> bool:
    before = known.get(row.backup_id)
    return before is None or (before.state, before.snapshots) != (row.state, row.snapshots)
