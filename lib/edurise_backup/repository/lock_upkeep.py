"""Extend the locks of what lives on: done by whoever prunes, when that is done.

What was extended, and until when, is noted, so that a prune asks one request for
each object whose time runs short and none for the others. What no note knows
counts as locked since it was written; the first round of a repository trusts
nothing and extends everything.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from edurise_backup.errors import BackupError, DamageError, NotFoundError
from edurise_backup.ports import Progress, Vault
from edurise_backup.repository.layout import CONFIG, NOTES, Kind, object_id
from edurise_backup.repository.moments import moment_of, moment_text
from edurise_backup.repository.objects import ObjectBox

FOLDER = "retained"
MOST = 10_000
"""Objects whose lock one prune extends, at a request each; those with the least time first."""
_BATCH = 1000
_THREADS = 8


@dataclass(frozen=True, slots=True)
class LockUpkeep:
    """What a prune did for the locks."""

    extended: int = 0
    behind: int = 0
    """Objects whose lock runs short, and that are left for the next prune."""
    earliest: datetime | None = None
    """When the first lock of what lives on ends."""
    troubles: tuple[str, ...] = ()


class _Note(msgspec.Struct):
    until: str
    names: list[str]


@dataclass(slots=True)
class _Known:
    until: dict[str, datetime] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)


def keep_locked(
    box: ObjectBox, vault: Vault, packs: Collection[str], *, now: datetime, progress: Progress, most: int = MOST
) -> LockUpkeep:
    """Extend what runs short; `packs` are those that live on. What fails is told: the prune itself is done."""
    progress.phase("extend locks")
    done: list[str] = []
    until = vault.lock.until(now)
    try:
        known = _read_notes(box)
        living = dict(_living(vault, frozenset(packs)))
        if known.notes:
            ends = {name: known.until.get(name) or at + vault.lock.period for name, at in living.items()}
        else:
            ends = dict.fromkeys(living, now)
        short = sorted((end, name) for name, end in ends.items() if vault.lock.short(end, now))
        for start in range(0, min(most, len(short)), _BATCH):
            progress.raise_if_cancelled()
            batch = [name for _, name in short[start : min(most, start + _BATCH)]]
            done += _extend(box, vault, batch, until)
        _tidy(box, known, living, frozenset(done))
    except BackupError as error:
        return LockUpkeep(len(done), troubles=(f"locks could not be extended: {error.message} {error.hint}".strip(),))
    ends.update(dict.fromkeys(done, until))
    return LockUpkeep(len(done), max(0, len(short) - most), min(ends.values(), default=None))


def _extend(box: ObjectBox, vault: Vault, names: list[str], until: datetime) -> list[str]:
    """Extend some objects, and note that; a crash before the note costs these requests once more."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="extend") as pool:
        found = pool.map(lambda one: vault.extend(one, until), names)
        there = [name for name, extended in zip(names, found, strict=True) if extended]
    if there:
        box.save_note(f"{FOLDER}/{secrets.token_hex(16)}", msgspec.json.encode(_Note(moment_text(until), there)))
    return there


def _living(vault: Vault, packs: frozenset[str]) -> Iterator[tuple[str, datetime]]:
    """Yield (name, when it was written) of what is locked and lives on."""
    for kind in (Kind.KEY, Kind.SNAPSHOT, Kind.INDEX, Kind.PACK):
        for name, written in vault.created(kind):
            if kind is not Kind.PACK or object_id(name) in packs:
                yield name, written
    yield from vault.created(f"{NOTES}/audit")
    for version in vault.versions(CONFIG):
        if version.name == CONFIG and version.newest and not version.marker:
            yield CONFIG, version.modified


def _read_notes(box: ObjectBox) -> _Known:
    """Return what all notes say; what one said that is not readable is extended once more."""
    known = _Known()
    for note_name in list(box.notes(FOLDER)):
        try:
            note = msgspec.json.decode(box.load_note(note_name), type=_Note)
            until = moment_of(note.until)
        except NotFoundError:
            continue
        except (DamageError, msgspec.DecodeError, ValueError, OverflowError):
            known.notes[note_name] = []
            continue
        known.notes[note_name] = note.names
        for name in note.names:
            known.until[name] = max(until, known.until.get(name, until))
    return known


def _tidy(box: ObjectBox, known: _Known, living: Collection[str], extended: frozenset[str]) -> None:
    """Remove the notes that say nothing any more of anything that lives; the last one stays: it says that one was."""
    if not extended and len(known.notes) < 2:
        return
    for note_name, names in known.notes.items():
        if all(name in extended or name not in living for name in names):
            box.store.delete(f"{NOTES}/{note_name}")
