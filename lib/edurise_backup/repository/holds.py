"""Pins and legal holds: sealed notes that name snapshots which nobody may drop.

They lie in the repository, so that whoever forgets or prunes here sees them,
with a catalog or without. A note is read before anything goes; one that cannot
be read keeps everything. Stock clients do not know of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

import msgspec

from edurise_backup.errors import ConflictError, DamageError, NotFoundError
from edurise_backup.model.content import HexId
from edurise_backup.model.protections import Protection, ProtectionKind, protected_snapshots
from edurise_backup.repository.layout import NOTES
from edurise_backup.repository.moments import moment_of, moment_text
from edurise_backup.repository.objects import ObjectBox

FOLDER = "holds"
"""Below it lie pins, too: the note says which it is."""


class _Note(msgspec.Struct, kw_only=True):
    id: UUID
    kind: ProtectionKind
    backup: UUID
    snapshots: tuple[HexId, ...]
    reason: str
    who: str
    since: str
    until: str | None = None


def save_protection(box: ObjectBox, protection: Protection) -> None:
    """Store a pin or hold durably; from then on it is in force. Raises ConflictError when its id is there."""
    note = _Note(
        id=protection.id,
        kind=protection.kind,
        backup=protection.backup_id,
        snapshots=protection.snapshots,
        reason=protection.reason,
        who=protection.who,
        since=moment_text(protection.since),
        until=moment_text(protection.until) if protection.until else None,
    )
    box.save_note(f"{FOLDER}/{protection.id}", msgspec.json.encode(note))


def read_protections(box: ObjectBox) -> tuple[Protection, ...]:
    """Return all pins and holds, also those that have ended; raises DamageError for one that is not readable."""
    found = []
    for name in sorted(box.notes(FOLDER)):
        try:
            found.append(_decoded(name, box.load_note(name)))
        except NotFoundError:  # released since the listing
            continue
    return tuple(found)


def drop_protection(box: ObjectBox, protection_id: UUID) -> None:
    """Remove a pin or hold; one that is gone is gone."""
    box.store.delete(f"{NOTES}/{FOLDER}/{protection_id}")


def kept_snapshots(box: ObjectBox, now: datetime) -> dict[str, Protection]:
    """Return the snapshots that pins and holds keep now; raises DamageError."""
    return protected_snapshots(read_protections(box), now)


def refuse_protected(snapshots: Collection[str], kept: Mapping[str, Protection]) -> None:
    """Raise ConflictError when one of the snapshots is pinned or held; it says how to release it."""
    for snapshot in snapshots:
        if snapshot in kept:
            raise ConflictError(
                f"the snapshot {snapshot[:8]} {kept[snapshot].words}",
                safe="it was not forgotten",
                hint=f"when it may go: `{kept[snapshot].remedy}`, then run the same command again",
            )


def refuse_lost(snapshots: Collection[str], kept: Mapping[str, Protection]) -> None:
    """Raise ConflictError when a pinned or held snapshot is none of `snapshots`: those listed, and those that wait."""
    lost = sorted(snapshot for snapshot in kept if snapshot not in snapshots)
    if lost:
        one = kept[lost[0]]
        raise ConflictError(
            f"{len(lost)} snapshots that are pinned or held are neither listed nor forgotten: "
            f"{', '.join(snapshot[:8] for snapshot in lost[:5])}. The first of them {one.words}",
            safe="nothing was removed",
            hint=f"put them back from a copy (their data may still be there); to give one up: `{one.remedy}`",
        )


def _decoded(name: str, plaintext: bytes) -> Protection:
    try:
        note = msgspec.json.decode(plaintext, type=_Note)
        if name != f"{FOLDER}/{note.id}":
            raise ValueError(f"it is the note of {note.id}")
        since, until = moment_of(note.since), moment_of(note.until) if note.until else None
    except (msgspec.DecodeError, ValueError, OverflowError) as error:
        raise DamageError(
            f"the note {NOTES}/{name} of a pin or hold is not readable: {error}",
            safe="nothing was removed",
            hint="put that object back from a copy; or delete it: what the catalog knows of it stays in force there",
        ) from error
    return Protection(note.id, note.kind, note.backup, note.snapshots, note.reason, note.who, since, until)
