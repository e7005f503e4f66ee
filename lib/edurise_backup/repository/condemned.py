"""Packs that no index lists wait here until they go: sealed notes of packs and of when each was first seen so.

A pack's age is what our notes say, never a file's time. Of several notes the
latest time of a pack counts. A pack that an index lists is not condemned,
whatever a note says.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import msgspec

from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.content import HexId
from edurise_backup.model.policy import FUTURE
from edurise_backup.repository.layout import NOTES
from edurise_backup.repository.moments import moment_of, moment_text
from edurise_backup.repository.objects import ObjectBox

FOLDER = "condemned"
GRACE = timedelta(days=1)
PACKS = 100_000
"""A note names at most this many packs."""


class _Note(msgspec.Struct, omit_defaults=True):
    time: str
    packs: list[HexId]
    locked: str = ""
    """Until when the store holds them, whatever is asked of it."""


@dataclass(slots=True)
class Condemned:
    """What the notes say."""

    since: dict[str, datetime] = field(default_factory=dict)
    """The packs that wait, and the latest time that a note tells of each."""
    notes: dict[str, frozenset[str]] = field(default_factory=dict)
    """Each note's packs; of one that is not readable none."""
    times: dict[str, datetime] = field(default_factory=dict)
    locked: dict[str, datetime] = field(default_factory=dict)
    """Until when the store is known to hold a pack that was to be deleted."""
    ends: dict[str, datetime] = field(default_factory=dict)
    """The same, of each note that says so."""
    unreadable: list[str] = field(default_factory=list)

    def due(self, packs: Iterable[str], *, now: datetime, grace: timedelta) -> list[str]:
        """Return those of `packs` that were noted at least `grace` ago; with no grace at all, every one of them.

        Those that a lock holds are among them.
        """
        if grace <= timedelta(0):
            return list(packs)
        return [pack for pack in packs if (since := self.since.get(pack)) is not None and since + grace <= now]

    def warnings(self, now: datetime) -> list[str]:
        """Return what a person should know of, a sentence each."""
        late = sum(since > now + FUTURE for since in self.since.values())
        return self.unreadable + (
            [f"{late} packs are said to wait since a time that is still to come; they go only when it has"]
            if late
            else []
        )


def read_condemned(box: ObjectBox) -> Condemned:
    """Return what all notes say. One that is not readable says nothing: its packs begin to wait anew."""
    found = Condemned()
    for name in list(box.notes(FOLDER)):
        try:
            note = msgspec.json.decode(box.load_note(name), type=_Note)
            time = moment_of(note.time)
            locked = moment_of(note.locked) if note.locked else None
        except NotFoundError:
            continue
        except (DamageError, msgspec.DecodeError, ValueError, OverflowError):
            found.unreadable.append(f"the note {NOTES}/{name} is not readable; its packs begin to wait anew")
            found.notes[name] = frozenset()
            continue
        found.notes[name] = frozenset(note.packs)
        found.times[name] = time
        for pack in note.packs:
            found.since[pack] = max(time, found.since.get(pack, time))
            if locked is not None:
                found.locked[pack] = max(locked, found.locked.get(pack, locked))
        if locked is not None:
            found.ends[name] = locked
    return found


def condemn(box: ObjectBox, packs: Collection[str], *, now: datetime, locked: datetime | None = None) -> None:
    """Note durably that packs wait from now on, and until when the store holds them."""
    ordered = sorted(packs)
    for start in range(0, len(ordered), PACKS):
        note = _Note(moment_text(now), ordered[start : start + PACKS], moment_text(locked) if locked else "")
        box.save_note(f"{FOLDER}/{secrets.token_hex(16)}", msgspec.json.encode(note))


def note_locked(box: ObjectBox, condemned: Condemned, locked: Mapping[str, datetime], *, now: datetime) -> None:
    """Note until when the store holds packs that were to be deleted, so that no prune before asks again."""
    days: dict[date, list[str]] = {}
    for pack, until in locked.items():
        if condemned.locked.get(pack) != until:
            days.setdefault(until.date(), []).append(pack)
    for packs in days.values():
        since = max(condemned.since.get(pack, now) for pack in packs)
        condemn(box, packs, now=since, locked=max(locked[pack] for pack in packs))


def tidy(box: ObjectBox, condemned: Condemned, waiting: Collection[str]) -> None:
    """Remove the notes of packs that do not wait any more; what a note says of others is written anew first."""
    waiting = frozenset(waiting)
    for name, packs in condemned.notes.items():
        left = packs & waiting
        if left == packs and packs:
            continue
        if left:
            condemn(box, left, now=condemned.times[name], locked=condemned.ends.get(name))
        box.store.delete(f"{NOTES}/{name}")
