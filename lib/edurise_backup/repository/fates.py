"""Decide what becomes of each pack: it stays, goes, or what is in use of it is written again.

Of a blob that lies in several packs one copy serves: one that was read and
proved. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import compress

from edurise_backup.errors import DamageError
from edurise_backup.model.content import BlobKind
from edurise_backup.repository.condemned import GRACE
from edurise_backup.repository.reachability import read_copy
from edurise_backup.repository.survey import Survey

SMALL = 4 * 1024 * 1024
"""A pack of fewer bytes is small: a quarter of what packs are meant to have."""
MANY = 20
"""More small packs of a kind than this are joined."""
_SAFE = "nothing was removed"
_HINT = "run `check --read-data` to see which snapshots are affected"


@dataclass(frozen=True, slots=True)
class UnusedLimit:
    """How much unused data may stay in packs that are kept: a share of all that is kept, bytes, or (neither) any."""

    share: float | None = None
    size: int | None = None

    def bytes_beside(self, used: int) -> int | None:
        """Return the limit in bytes where `used` bytes are in use; None for no limit."""
        if self.size is not None:
            return self.size
        if self.share is None or self.share >= 1:
            return None
        return int(used * self.share / (1 - self.share))


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """How a prune weighs room against work and risk."""

    grace: timedelta = GRACE
    """How long packs wait, un-indexed, before they are deleted."""
    max_unused: UnusedLimit = UnusedLimit(share=0.05)
    max_repack_bytes: int | None = None
    max_removed: float = 0.5
    """The share of all indexed bytes that may go at once. More than half is what a short listing of
    snapshots or a slip in a policy looks like; a person who means it says so."""


DEFAULTS = PruneOptions()


@dataclass(frozen=True, slots=True)
class Fates:
    """What becomes of the packs that the index knows, by their numbers in it; sizes in bytes."""

    remove: tuple[int, ...]
    """Nothing in them is in use."""
    repack: tuple[int, ...]
    """What is in use of them is written into new packs."""
    absent: tuple[int, ...]
    """They are not in the store, and nobody needs them."""
    used_bytes: int
    removed_bytes: int
    """What leaves the index: all of the packs to remove, the unused part of those to write again."""
    repack_bytes: int
    """What is read and written again."""
    warnings: tuple[str, ...]


# Copies


def serving_copies(survey: Survey) -> bytearray:
    """Return which numbers serve: of a blob in several packs one copy that was read and proved."""
    kept = bytearray(survey.reach.used)
    packs = set[int]()
    for numbers in _used_copies(survey):  # there may be millions: they are looked up twice, not kept
        packs.update(map(survey.index.pack_of, numbers))
        for number in numbers:
            kept[number] = 1
    if not packs:
        return kept
    # packs that are used most come first, because they stay anyway
    worth = {pack: (-_share(survey, kept, pack), survey.index.pack_id(pack)) for pack in packs}
    for numbers in _used_copies(survey):
        best = _proved_copy(survey, sorted(numbers, key=lambda number: worth[survey.index.pack_of(number)]))
        for number in numbers:
            kept[number] = number == best
    return kept


def _used_copies(survey: Survey) -> Iterator[list[int]]:
    """Yield the numbers of each blob in use that lies in several places."""
    for kind, blob, _ in survey.index.copies():
        numbers = survey.index.numbers(kind, blob)
        if any(survey.reach.used[number] for number in numbers):
            yield numbers


def _share(survey: Survey, kept: bytearray, pack: int) -> float:
    live, total = _live_bytes(survey, kept, pack)
    return live / max(1, total)


def _proved_copy(survey: Survey, numbers: list[int]) -> int:
    survey.progress.raise_if_cancelled()
    for number in numbers:
        if survey.stored[survey.index.pack_of(number)] >= 0:
            with suppress(DamageError):
                read_copy(survey.box, survey.index, number)
                return number
    blob = survey.index.blob(numbers[0])
    raise DamageError(
        f"every copy of the {blob.kind.word} blob {blob.id.hex()[:8]} is damaged",
        safe=_SAFE,
        hint=_HINT,
    )


# Packs


@dataclass(frozen=True, slots=True)
class _Part:
    """A pack of which a part is in use, or that should not stay as it is."""

    pack: int
    live: int
    unused: int
    must: bool
    """It mixes trees and data, which newer clients do not write."""


def judge(survey: Survey, kept: bytearray, options: PruneOptions) -> Fates:
    """Decide about each pack; `kept` says which blobs serve. Raises DamageError when a needed pack is missing."""
    remove, absent, parts, warnings, small = list[int](), list[int](), list[_Part](), list[str](), _Small()
    used = lost = 0
    for pack in range(survey.index.pack_count):
        live, total = _live_bytes(survey, kept, pack)
        stored = survey.stored[pack]
        used += live
        if not live:
            (remove if stored >= 0 else absent).append(pack)
        elif stored < 0:
            lost += 1
        elif stored != survey.index.pack_size(pack):
            name = survey.index.pack_id(pack)[:8]
            warnings.append(f"pack {name} has {stored} bytes, its index says otherwise; it stays: run `check`")
        elif pack not in survey.rescued:
            kinds = survey.index.kinds(survey.index.blob_range(pack))
            part = _Part(pack, live, total - live, must=0 < sum(kinds) < len(kinds))
            parts.append(part)
            small.see(part, stored, kinds[0])
    if lost:
        raise DamageError(f"{lost} packs that snapshots refer to are missing", safe=_SAFE, hint=_HINT)
    repack = _choose(parts, small.many(), used, options)
    return Fates(
        remove=tuple(remove),
        repack=tuple(part.pack for part in repack),
        absent=tuple(absent),
        used_bytes=used,
        removed_bytes=sum(survey.stored[pack] for pack in remove) + sum(part.unused for part in repack),
        repack_bytes=sum(part.live for part in repack),
        warnings=tuple(warnings),
    )


class _Small:
    """Collects small packs; where there are many of a kind they are worth joining."""

    def __init__(self) -> None:
        self._found: dict[int, list[int]] = {BlobKind.DATA: [], BlobKind.TREE: []}

    def see(self, part: _Part, size: int, kind: int) -> None:
        if size < SMALL:
            self._found[kind].append(part.pack)

    def many(self) -> set[int]:
        return {pack for packs in self._found.values() if len(packs) > MANY for pack in packs}


def _choose(parts: list[_Part], small: set[int], used: int, options: PruneOptions) -> list[_Part]:
    """Choose what to write again: the packs with the most waste first, until little enough is left unused."""
    limit = options.max_unused.bytes_beside(used)
    left = sum(part.unused for part in parts)
    room = options.max_repack_bytes
    chosen = []
    for part in sorted(parts, key=lambda part: (not part.must, -part.unused / (part.live + part.unused), part.pack)):
        wasteful = part.unused and limit is not None and left > limit
        if not (part.must or wasteful or part.pack in small) or (room is not None and part.live > room):
            continue
        chosen.append(part)
        left -= part.unused
        room = None if room is None else room - part.live
    return chosen


def _live_bytes(survey: Survey, kept: bytearray, pack: int) -> tuple[int, int]:
    """Return the sealed bytes of the blobs that serve, and of all blobs, of one pack."""
    numbers = survey.index.blob_range(pack)
    lengths = survey.index.lengths(numbers)
    return sum(compress(lengths, kept[numbers.start : numbers.stop])), sum(lengths)
