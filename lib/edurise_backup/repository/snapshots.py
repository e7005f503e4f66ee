"""Read the snapshots of a repository."""

from __future__ import annotations

from collections.abc import Mapping

from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.snapshot import Snapshot, SnapshotId, decode_snapshot
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.objects import ObjectBox


def read_snapshots(
    box: ObjectBox, *, unreadable: list[str] | None = None, seen: Mapping[SnapshotId, Snapshot] | None = None
) -> dict[SnapshotId, Snapshot]:
    """Return all snapshots by id, oldest first; those in `seen` are not read again.

    One that is not readable is told in `unreadable`, a sentence each; without that list it raises DamageError.
    """
    found = dict[SnapshotId, Snapshot]()
    for snapshot_id in map(SnapshotId, box.ids(Kind.SNAPSHOT)):
        if seen and snapshot_id in seen:
            found[snapshot_id] = seen[snapshot_id]
            continue
        try:
            found[snapshot_id] = decode_snapshot(box.load(Kind.SNAPSHOT, snapshot_id))
        except NotFoundError:  # forgotten since the listing
            continue
        except DamageError as error:
            if unreadable is None:
                raise
            unreadable.append(f"snapshot {snapshot_id[:8]}: {error.message}; run `check`")
    return dict(sorted(found.items(), key=lambda item: (item[1].nanoseconds, item[0])))


class ReadableSnapshots:
    """The snapshots that can be read, listed each time; who does not ask for damage has each read only once."""

    def __init__(self, box: ObjectBox) -> None:
        self._box = box
        self._seen: dict[SnapshotId, Snapshot] = {}

    def read(self, unreadable: list[str] | None) -> dict[SnapshotId, Snapshot]:
        """Return them, oldest first; with a list every one is read anew, and what cannot be is told there."""
        if unreadable is not None:
            return read_snapshots(self._box, unreadable=unreadable)
        self._seen = found = read_snapshots(self._box, unreadable=[], seen=self._seen)
        return dict(found)
