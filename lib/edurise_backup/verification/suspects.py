"""Packs that a check found damaged: notes under `edurise/suspects/`, so that a repair need not read everything again.

A note is a hint and no proof: a repair looks at each pack itself before it does anything.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.content import HexId
from edurise_backup.ports import Clock, utc_now
from edurise_backup.repository.layout import NOTES
from edurise_backup.repository.objects import ObjectBox

FOLDER = "suspects"


class _Note(msgspec.Struct):
    packs: list[HexId]


@dataclass(frozen=True, slots=True)
class Suspects:
    """Packs that checks have found damaged, and the notes that say so."""

    packs: frozenset[str]
    notes: tuple[str, ...]
    damage: tuple[str, ...] = ()
    """Notes that cannot be read, a sentence each."""


def load_suspects(box: ObjectBox) -> Suspects:
    """Read what checks have noted; one that is not readable is told in `damage`."""
    packs: set[str] = set()
    notes = []
    damage = []
    for name in list(box.notes(FOLDER)):
        try:
            packs.update(msgspec.json.decode(box.load_note(name), type=_Note).packs)
        except NotFoundError:  # removed since the listing
            continue
        except (msgspec.DecodeError, UnicodeError) as error:
            damage.append(f"{NOTES}/{name} is not readable: {error}")
        except DamageError as error:
            damage.append(error.message)
        notes.append(name)
    return Suspects(frozenset(packs), tuple(notes), tuple(damage))


def note_suspects(box: ObjectBox, packs: Collection[str], *, now: Clock = utc_now) -> None:
    """Note the damaged packs that no note names yet."""
    new = sorted(set(packs) - load_suspects(box).packs)
    if new:
        name = f"{FOLDER}/{now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(8)}"
        box.save_note(name, msgspec.json.encode(_Note(new)))


def clear_suspects(box: ObjectBox, suspects: Suspects) -> None:
    """Remove the notes whose packs a repair has dealt with."""
    for name in suspects.notes:
        box.store.delete(f"{NOTES}/{name}")
