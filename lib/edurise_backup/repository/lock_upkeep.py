"""Extend the locks of what lives on: done by whoever prunes, when that is done.

What was extended, and until when, is noted, so that a prune asks one request for
each object whose time runs short and none for the others. What no note knows
counts as locked since it was written, if that was after the first round with the
lock that is set now; what is older is extended, because it may have been written
with another lock, or with none.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from edurise_backup.errors import BackupError, DamageError, NotFoundError
from edurise_backup.model.object_lock import ObjectLock
from edurise_backup.ports import Progress, Vault
from edurise_backup.repository.layout import CONFIG, NOTES, Kind, object_id
from edurise_backup.repository.moments import moment_of, moment_text
from edurise_backup.repository.objects import ObjectBox

FOLDER = "retained"
MOST = 10_000
"""Objects whose lock one prune extends, at a request each; those with the least time first."""
_BATCH = 1000
_SHOWN = 20
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


_SKEW = timedelta(minutes=5)
"""The store's clock may be ahead of ours."""


class _Note(msgspec.Struct):
    until: str
    names: list[str]
    lock: str = ""
    """Mode and period; empty in notes of earlier releases."""
    since: str = ""
    """When the first round with this lock was."""


@dataclass(slots=True)
class _Known:
    """What notes of the lock that is set now say."""

    since: datetime
    until: dict[str, datetime] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    """Of every lock."""


def keep_locked(
    box: ObjectBox, vault: Vault, packs: Collection[str], *, now: datetime, progress: Progress, most: int = MOST
) -> LockUpkeep:
    """Extend what runs short; `packs` are those that live on. What fails is told: the prune itself is done."""
    progress.phase("extend locks")
    done: list[str] = []
    troubles: list[str] = []
    until = vault.lock.until(now)
    try:
        known = _read_notes(box, vault.lock, now)
        living = dict(_living(vault, frozenset(packs)))
        ends = {
            name: known.until.get(name) or (at + vault.lock.period if at > known.since + _SKEW else now)
            for name, at in living.items()
        }
        short = sorted((end, name) for name, end in ends.items() if vault.lock.short(end, now))
        for start in range(0, min(most, len(short)), _BATCH):
            progress.raise_if_cancelled()
            batch = [name for _, name in short[start : min(most, start + _BATCH)]]
            done += _extend(box, vault, batch, until, known.since, troubles)
        _tidy(box, known, living, frozenset(done))
    except BackupError as error:
        return LockUpkeep(len(done), troubles=(f"locks could not be extended: {error.message} {error.hint}".strip(),))
    ends.update(dict.fromkeys(done, until))
    left = max(0, len(short) - most) + len(troubles)
    return LockUpkeep(len(done), left, min(ends.values(), default=None), tuple(troubles[:_SHOWN]))


def _extend(
    box: ObjectBox, vault: Vault, names: list[str], until: datetime, since: datetime, troubles: list[str]
) -> list[str]:
    """Extend some objects, and note that; a crash before the note costs these requests once more.

    One that is refused costs none of the others; raises BackupError when all are.
    """

    def one(name: str) -> bool | BackupError:
        try:
            return vault.extend(name, until)
        except BackupError as error:
            return error

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="extend") as pool:
        found = list(pool.map(one, names))
    refused = [answer for answer in found if isinstance(answer, BackupError)]
    if refused and len(refused) == len(found):
        raise refused[0]
    troubles += [f"a lock could not be extended: {error.message}" for error in refused]
    there = [name for name, answer in zip(names, found, strict=True) if answer is True]
    if there:
        note = _Note(moment_text(until), there, _words(vault.lock), moment_text(since))
        box.save_note(f"{FOLDER}/{secrets.token_hex(16)}", msgspec.json.encode(note))
    return there


def _words(lock: ObjectLock) -> str:
    return f"{lock.mode.value}:{lock.period.total_seconds():.0f}"


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


def _read_notes(box: ObjectBox, lock: ObjectLock, now: datetime) -> _Known:
    """Return what all notes say; what one said that is not readable, or of another lock, is extended once more."""
    known = _Known(now)
    for note_name in list(box.notes(FOLDER)):
        try:
            note = msgspec.json.decode(box.load_note(note_name), type=_Note)
            until = moment_of(note.until)
            since = moment_of(note.since) if note.lock == _words(lock) else None
        except NotFoundError:
            continue
        except (DamageError, msgspec.DecodeError, ValueError, OverflowError):
            known.notes[note_name] = []
            continue
        known.notes[note_name] = note.names
        if since is None:
            continue
        known.since = min(known.since, since)
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
