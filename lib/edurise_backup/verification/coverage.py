"""When each pack was last read whole and proved: notes under `edurise/verified/`.

A note lists packs that passed, never one that failed. Notes are only added;
when there are many, one that says the same is made durable before they go. A
note that is damaged or lost costs its knowledge: its packs are read again sooner.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from edurise_backup.errors import BackupError, DamageError, NotFoundError
from edurise_backup.ports import Clock, utc_now
from edurise_backup.repository.layout import NOTES
from edurise_backup.repository.objects import ObjectBox

FOLDER = "verified"
WITHIN = timedelta(days=30)
"""Every byte is to be proved at least this often."""

_MANY = 16
_FLUSH = 1000
_ID = 32
_STEP = 60  # times are kept to the minute, rounded down: packs of one run then share few entries


class _Group(msgspec.Struct):
    time: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
    packs: bytes
    """Pack ids of 32 bytes, joined."""


class _Note(msgspec.Struct):
    verified: list[_Group]


_decoder = msgspec.json.Decoder(_Note)


@dataclass(frozen=True, slots=True)
class CoverageFigures:
    """How fresh the proof of some packs is; sizes in bytes."""

    packs: int
    bytes: int
    never: int
    """Packs that were never proved."""
    oldest: datetime | None
    """When the pack that has waited longest was proved; None when none ever was."""
    overdue_packs: int
    """Packs that were proved longer ago than `WITHIN`, or never."""
    overdue_bytes: int

    @property
    def within_percent(self) -> float:
        """The share of bytes proved within `WITHIN`, cut to two places: 100 means every byte."""
        if not self.bytes:
            return 100.0
        return math.floor((self.bytes - self.overdue_bytes) * 10_000 / self.bytes) / 100


@dataclass(slots=True)
class Coverage:
    """The time of each pack's last proof, in seconds since 1970 by the id's bytes."""

    times: dict[bytes, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """The notes that this was read from, damaged ones too."""
    damage: list[str] = field(default_factory=list)
    """Notes that cannot be read, a sentence each."""
    ahead: bool = False
    """A note was from the future."""

    def proved(self, pack: str) -> datetime | None:
        """Return when the pack was last proved, or None."""
        seconds = self.times.get(bytes.fromhex(pack))
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

    def oldest(self, packs: Iterable[str]) -> list[str]:
        """Return the packs in the order in which to read them: never proved first, then by age."""
        return sorted(packs, key=lambda pack: (self.times.get(bytes.fromhex(pack), -1), pack))

    def overdue(self, sizes: Mapping[str, int], *, now: datetime, within: timedelta) -> tuple[int, int]:
        """Return how many of the packs, and of their bytes, were proved longer ago than `within`, or never."""
        limit = (now - within).timestamp()
        late = [size for pack, size in sizes.items() if self.times.get(bytes.fromhex(pack), -1) < limit]
        return len(late), sum(late)

    def figures(self, sizes: Mapping[str, int], *, now: datetime) -> CoverageFigures:
        """Return the figures of the packs in `sizes` (pack id → bytes)."""
        known = [seconds for pack in sizes if (seconds := self.times.get(bytes.fromhex(pack))) is not None]
        late_packs, late_bytes = self.overdue(sizes, now=now, within=WITHIN)
        return CoverageFigures(
            packs=len(sizes),
            bytes=sum(sizes.values()),
            never=len(sizes) - len(known),
            oldest=datetime.fromtimestamp(min(known), UTC) if known else None,
            overdue_packs=late_packs,
            overdue_bytes=late_bytes,
        )

    def add(self, packs: bytes, seconds: int) -> None:
        """Take over joined pack ids that were proved at one time."""
        for at in range(0, len(packs), _ID):
            pack = packs[at : at + _ID]
            if self.times.get(pack, -1) < seconds:
                self.times[pack] = seconds


def load_coverage(box: ObjectBox, *, now: datetime | None = None) -> Coverage:
    """Read all notes; one that is not readable is told in `damage`. A time in the future counts as now."""
    coverage = Coverage()
    present = int((now or utc_now()).timestamp())
    for name in list(box.notes(FOLDER)):
        try:
            groups = _decode(box.load_note(name), name)
        except NotFoundError:  # merged into another one since the listing
            continue
        except DamageError as error:
            coverage.damage.append(f"verification times: {error.message}")
            groups = []
        coverage.notes.append(name)
        for group in groups:
            coverage.ahead |= group.time > present
            coverage.add(group.packs, min(group.time, present))
    return coverage


class CoverageKeeper:
    """Writes down which packs pass, while a check goes on: a check that is cut short keeps what it has proved."""

    def __init__(self, box: ObjectBox, coverage: Coverage, *, now: Clock = utc_now) -> None:
        self._box = box
        self._coverage = coverage
        self._now = now
        self._fresh: dict[int, bytearray] = {}
        self._count = 0

    def passed(self, pack: str) -> None:
        """Note a pack that was read whole and is sound; raises what the store raises."""
        seconds = int(self._now().timestamp()) // _STEP * _STEP
        binary = bytes.fromhex(pack)
        self._coverage.add(binary, seconds)
        self._fresh.setdefault(seconds, bytearray()).extend(binary)
        self._count += 1
        if self._count >= _FLUSH:
            self._flush()

    def close(self, present: Collection[str]) -> list[str]:
        """Make durable what passed, and join the notes when there are many; return what could not be done.

        `present` are the packs of the store: a joined note leaves out all others.
        A failure costs only the times, so it must not hide what the check has found.
        """
        try:
            self._flush()
            coverage = self._coverage
            if coverage.notes and (len(coverage.notes) > _MANY or coverage.ahead or coverage.damage):
                self._join({bytes.fromhex(pack) for pack in present})
        except BackupError as error:
            return [f"the times of this verification could not be kept: {error.message}"]
        return []

    def _flush(self) -> None:
        if self._count:
            self._coverage.notes.append(self._save({seconds: bytes(ids) for seconds, ids in self._fresh.items()}))
            self._fresh.clear()
            self._count = 0

    def _join(self, present: Collection[bytes]) -> None:
        groups: dict[int, list[bytes]] = {}
        for pack, seconds in self._coverage.times.items():
            if pack in present:
                groups.setdefault(seconds, []).append(pack)
        joined = self._save({seconds: b"".join(sorted(packs)) for seconds, packs in groups.items()})
        for name in self._coverage.notes:  # only those that were read: others may have come meanwhile
            self._box.store.delete(f"{NOTES}/{name}")
        self._coverage.notes = [joined]

    def _save(self, groups: dict[int, bytes]) -> str:
        name = f"{FOLDER}/{self._now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(8)}"
        note = _Note([_Group(seconds, packs) for seconds, packs in sorted(groups.items())])
        self._box.save_note(name, msgspec.json.encode(note))
        return name


def _decode(plaintext: bytes, name: str) -> list[_Group]:
    try:
        groups = _decoder.decode(plaintext).verified
    except (msgspec.DecodeError, UnicodeError) as error:
        raise DamageError(f"{NOTES}/{name} is not readable: {error}") from error
    if any(len(group.packs) % _ID for group in groups):
        raise DamageError(f"{NOTES}/{name} holds a part of a pack's id")
    return groups
