"""Forgotten snapshots: each waits as a sealed note until its grace is over, and can be brought back until then.

The note holds the snapshot's stored object byte for byte, so that what comes
back has the same id. It is durable before the object goes, and the object is
there again before the note goes: a crash leaves the one, the other, or both.
While a note waits, its tree counts as in use for our prune. Stock clients do
not know of notes.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from edurise_backup.errors import ConflictError, DamageError, NotFoundError
from edurise_backup.model.content import HexId
from edurise_backup.model.policy import FUTURE
from edurise_backup.model.protections import Protection
from edurise_backup.model.snapshot import Snapshot, SnapshotId, decode_snapshot
from edurise_backup.repository.holds import kept_snapshots, refuse_protected
from edurise_backup.repository.layout import NOTES, Kind, object_name
from edurise_backup.repository.moments import moment_of, moment_text
from edurise_backup.repository.objects import ObjectBox
from edurise_backup.repository.removals import take_away

FOLDER = "forgotten"
GRACE = timedelta(days=7)


class _Note(msgspec.Struct, kw_only=True):
    id: HexId
    forgotten: str
    until: str
    snapshot: msgspec.Raw
    stored: bytes


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A snapshot that waits; `notes` are the names of what says so (several when it was forgotten again)."""

    id: SnapshotId
    snapshot: Snapshot
    stored: bytes
    """The object as it lay in the store."""
    at: datetime
    until: datetime
    notes: tuple[str, ...]

    def over(self, now: datetime) -> bool:
        """Whether its grace has ended; a note from the future never ends."""
        return self.until <= now and not self.from_future(now)

    def from_future(self, now: datetime) -> bool:
        """Whether it claims to have been forgotten later than now: a clock is wrong."""
        return self.at > now + FUTURE


def forget(
    box: ObjectBox,
    snapshot_id: SnapshotId,
    *,
    now: datetime,
    grace: timedelta = GRACE,
    kept: Mapping[str, Protection] | None = None,
    removed: datetime | None = None,
) -> None:
    """Take a snapshot away, so that it can be brought back for `grace`; zero means at once and for ever.

    A shared lock is enough: it keeps prunes out. `kept`: what pins and holds
    keep, from whoever has just read them. `removed`: the time of this moment, where `now` is when the decision was
    made; by it our deletion is told from a stranger's. Raises ConflictError for a snapshot
    that is pinned or held, NotFoundError, DamageError.
    """
    refuse_protected([snapshot_id], kept_snapshots(box, now) if kept is None else kept)
    name = object_name(Kind.SNAPSHOT, snapshot_id)
    if grace > timedelta(0):
        plaintext = box.load(Kind.SNAPSHOT, snapshot_id)
        note = _Note(
            id=snapshot_id,
            forgotten=moment_text(now),
            until=moment_text(now + grace),
            snapshot=msgspec.Raw(plaintext),
            stored=box.store.get(name),
        )
        _proved(note, snapshot_id)
        # a name of its own: whoever forgets the same snapshot beside us never touches our note
        box.save_note(f"{FOLDER}/{snapshot_id}-{secrets.token_hex(4)}", msgspec.json.encode(note))
    take_away(box, [name], now=removed or now)
    if grace <= timedelta(0):  # what a forget that was cut short has noted does not count either
        for left in [left for left in box.notes(FOLDER) if left.startswith(f"{FOLDER}/{snapshot_id}-")]:
            box.store.delete(f"{NOTES}/{left}")


def put_back(box: ObjectBox, forgotten: Forgotten) -> None:
    """Put a snapshot back under its old id; its data must have been proved to be there. The notes stay."""
    try:
        box.store.put(object_name(Kind.SNAPSHOT, forgotten.id), [forgotten.stored])
    except ConflictError:  # an undo that was cut short has done this
        box.load(Kind.SNAPSHOT, forgotten.id)


def drop_notes(box: ObjectBox, forgotten: Forgotten) -> None:
    """Remove what says that a snapshot waits."""
    for note in forgotten.notes:
        box.store.delete(f"{NOTES}/{note}")


def read_forgotten(box: ObjectBox) -> dict[SnapshotId, Forgotten]:
    """Return all snapshots that wait, the earliest forgotten first; of several notes the latest end counts.

    Who removes data must know all of them: raises DamageError for a note that is not readable.
    """
    found: dict[SnapshotId, Forgotten] = {}
    for name in list(box.notes(FOLDER)):
        try:
            one = _decoded(name, box.load_note(name))
        except NotFoundError:  # brought back since the listing
            continue
        other = found.get(one.id)
        found[one.id] = one if other is None else _joined(one, other)
    return dict(sorted(found.items(), key=lambda item: (item[1].at, item[0])))


def choose_waiting(words: Iterable[str], found: dict[SnapshotId, Forgotten]) -> list[Forgotten]:
    """Return the snapshots that ids or their beginnings name; raises NotFoundError."""
    chosen = []
    for word in words:
        named = [snapshot_id for snapshot_id in found if word and snapshot_id.startswith(word.lower())]
        if len(named) != 1:
            raise NotFoundError(
                f"{len(named)} forgotten snapshots begin with {word!r}",
                safe="nothing was changed",
                hint="`repo forgotten` lists those that can be brought back",
            )
        chosen.append(found[named[0]])
    return chosen


def _decoded(name: str, plaintext: bytes) -> Forgotten:
    try:
        note = msgspec.json.decode(plaintext, type=_Note)
        at, until = moment_of(note.forgotten), moment_of(note.until)
    except (msgspec.DecodeError, ValueError, OverflowError) as error:
        raise DamageError(
            f"the note {NOTES}/{name} of a forgotten snapshot is not readable: {error}",
            safe="nothing was removed",
            hint="put that object back from a copy, or delete it to give the snapshot up",
        ) from error
    snapshot_id = SnapshotId(note.id)
    return Forgotten(snapshot_id, _proved(note, snapshot_id), note.stored, at, until, (name,))


def _proved(note: _Note, snapshot_id: SnapshotId) -> Snapshot:
    if hashlib.sha256(note.stored).hexdigest() != snapshot_id:
        raise DamageError(f"the stored object of the forgotten snapshot {snapshot_id[:8]} is not the one of that name")
    return decode_snapshot(bytes(note.snapshot))


def _joined(one: Forgotten, other: Forgotten) -> Forgotten:
    last = max(one, other, key=lambda forgotten: (forgotten.until, forgotten.notes))
    return Forgotten(last.id, last.snapshot, last.stored, last.at, last.until, (*one.notes, *other.notes))
