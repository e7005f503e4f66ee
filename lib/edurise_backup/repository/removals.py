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
"""The store's clock may be behind ours, or ahead."""
_NAMED = 1000
"""Names in one note."""


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
    """Remove objects that a lock may still hold; a note of each is durable before it goes."""
    going = sorted(names) if box.vault is not None else list(names)
    for start in range(0, len(going), _NAMED):
        part = going[start : start + _NAMED]
        if box.vault is not None:
            note = _Note(moment_text(now or utc_now()), part)
            box.save_note(f"{FOLDER}/{secrets.token_hex(16)}", msgspec.json.encode(note))
        for name in part:
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
        if time + vault.lock.period + timedelta(days=1) > now:
            continue
        if len(names) > left and left < _MOST:  # an earlier release wrote longer ones: the first one that is due goes
            continue
        left -= len(names)
        try:
            purged = [_purge_one(vault, one, time) for one in names]
        except BackupError as error:
            return [f"older versions of what was removed stay, and are paid for: {error.message}"]
        if all(purged):
            box.store.delete(f"{NOTES}/{name}")
    return []


def _purge_one(vault: Vault, name: str, time: datetime) -> bool:
    """Drop what lay below the marker of then; False while something later lies there, of which another note tells.

    A marker goes last, and only when nothing is left that would be there again without it: what was brought back
    meanwhile and removed once more has its own note, whose time comes later.
    """
    versions = [version for version in vault.versions(name) if version.name == name]
    if not any(version.marker and version.newest for version in versions):
        return True  # it was brought back
    real = [version for version in versions if not version.marker]
    old = [version for version in real if version.modified <= time + _SKEW]
    for version in old:
        vault.drop(version)
    if len(old) < len(real):
        return False
    for version in versions:
        if version.marker:
            vault.drop(version)
    return True
