"""What this product itself has removed from a bucket that locks objects: told apart from what a stranger deleted.

There a deletion leaves the locked version below a delete marker, and a marker
does not say whose it is. So a sealed note says so first. A crash between the
two, or a credential that may not delete, leaves a note of something that is
still there: a marker counts as ours only when it follows such a note soon.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from edurise_backup.errors import BackupError, DamageError, NotFoundError
from edurise_backup.ports import Vault, utc_now
from edurise_backup.repository.layout import NOTES
from edurise_backup.repository.moments import moment_of, moment_text
from edurise_backup.repository.objects import ObjectBox

FOLDER = "removed"
_MOST = 2000
"""Names whose versions one prune removes for good, at one request or two each."""


_SOON = timedelta(hours=1)
"""So long may the deletions take that a note announces."""
_SKEW = timedelta(minutes=5)
"""The store's clock may be behind ours."""


class _Note(msgspec.Struct):
    time: str
    names: list[str]


@dataclass(slots=True)
class Removed:
    """What the notes say."""

    times: dict[str, list[datetime]] = field(default_factory=dict)
    """Each name that was to be removed, and when."""
    notes: dict[str, tuple[datetime, tuple[str, ...]]] = field(default_factory=dict)

    def ours(self, name: str, written: datetime, deleted: Iterable[datetime]) -> bool:
        """Whether a version that was written then is one that we have removed; `deleted` are its markers' times."""
        moments = tuple(deleted)
        return any(
            written <= noted and any(noted - _SKEW <= moment <= noted + _SOON for moment in moments)
            for noted in self.times.get(name, ())
        )


def take_away(box: ObjectBox, names: Collection[str], *, now: datetime | None = None) -> None:
    """Remove objects that a lock may still hold; the note is durable before the first of them goes."""
    if box.vault is not None and names:
        note = _Note(moment_text(now or utc_now()), sorted(names))
        box.save_note(f"{FOLDER}/{secrets.token_hex(16)}", msgspec.json.encode(note))
    for name in names:
        box.store.delete(name)


def read_removed(box: ObjectBox) -> Removed:
    """Return what all notes say; one that is not readable says nothing, and what it named looks like a stranger's."""
    found = Removed()
    for name in list(box.notes(FOLDER)):
        try:
            note = msgspec.json.decode(box.load_note(name), type=_Note)
            time = moment_of(note.time)
        except (NotFoundError, DamageError, msgspec.DecodeError, ValueError, OverflowError):
            continue
        found.notes[name] = (time, tuple(note.names))
        for one in note.names:
            found.times.setdefault(one, []).append(time)
    return found


def purge(box: ObjectBox, vault: Vault, *, now: datetime) -> list[str]:
    """Remove for good what was removed longer ago than any lock lasts; return what could not be, a sentence each.

    Nothing is extended once it was removed, so by then no lock holds it.
    """
    left = _MOST
    for name, (time, names) in sorted(read_removed(box).notes.items(), key=lambda item: item[1][0]):
        if time + vault.lock.period + timedelta(days=1) > now or len(names) > left:
            continue
        left -= len(names)
        try:
            for one in names:
                _purge_one(vault, one, time)
        except BackupError as error:
            return [f"older versions of what was removed stay, and are paid for: {error.message}"]
        box.store.delete(f"{NOTES}/{name}")
    return []


def _purge_one(vault: Vault, name: str, time: datetime) -> None:
    versions = [version for version in vault.versions(name) if version.name == name]
    if not any(version.marker and version.newest for version in versions):
        return  # it was brought back
    for version in sorted(versions, key=lambda version: version.marker):  # a crash between leaves it hidden
        if version.marker or version.modified <= time:
            vault.drop(version)
