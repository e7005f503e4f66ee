"""Cut a tree into shards of similar size: pure, and the same tree gives the same shards.

A shard is a list of ranges: of a directory, the children whose names lie
between two bounds, each with all that is below it. Ranges are half-open and
those of a directory leave no gap, so a name that appears later falls into
exactly one. Directories that lie in several shards are *opened*: whoever joins
the shards makes their trees.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import msgspec

from edurise_backup.model.object_names import is_written

Way = tuple[str, ...]
"""A directory as its names, from `/` down; empty: `/` itself."""

ENTRY_BYTES = 32 * 1024
"""What a name costs beside its bytes: so many bytes are stored in the time that an empty file takes."""
RANGE_NAMES = 10_000
"""A range holds at most about this many names: its tree, and what is in memory of it, stay small."""
_GRAINS = 16
"""A shard is made of about so many pieces, so shards differ by less than one of them in that many."""
_DEPTH = 64
"""Below it no directory is opened."""


class NameRange(msgspec.Struct, frozen=True, array_like=True):
    """Names from `first` on and before `end` (None: to the last one), by their bytes."""

    first: bytes = b""
    end: bytes | None = None

    @classmethod
    def only(cls, name: bytes) -> NameRange:
        """Return the range that holds this name alone."""
        return cls(name, name + b"\0")

    @property
    def single(self) -> bytes | None:
        """The only name that can lie in it, if there is one."""
        return self.first if self.end == self.first + b"\0" else None

    def __contains__(self, name: bytes) -> bool:
        return self.first <= name and (self.end is None or name < self.end)


ALL_NAMES = NameRange()


class Range(msgspec.Struct, frozen=True, array_like=True):
    """Children of a directory, each with all that is below it."""

    folder: Way
    names: NameRange

    def __str__(self) -> str:
        first = self.names.first.decode("utf-8", "backslashreplace")
        end = "" if self.names.end is None else self.names.end.decode("utf-8", "backslashreplace")
        where = "/" + "/".join(self.folder)
        return where if self.names == ALL_NAMES else f"{where}: {first!r} to {end!r}"


@dataclass(frozen=True, slots=True)
class Weight:
    """What lies below a name: entries and bytes; what it costs is one number."""

    entries: int = 0
    bytes: int = 0

    @property
    def cost(self) -> int:
        """Bytes, and what so many entries are worth."""
        return self.bytes + self.entries * ENTRY_BYTES

    def __add__(self, other: Weight) -> Weight:
        return Weight(self.entries + other.entries, self.bytes + other.bytes)


@dataclass(frozen=True, slots=True)
class Shard:
    """What one worker backs up."""

    ranges: tuple[Range, ...]
    weight: Weight


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Every path of a tree in exactly one shard, but for the directories that are opened."""

    shards: tuple[Shard, ...]

    @property
    def opened(self) -> frozenset[Way]:
        """The directories that no shard holds whole, and all above them."""
        return frozenset(
            one.folder[:depth] for shard in self.shards for one in shard.ranges for depth in range(len(one.folder) + 1)
        )

    def without(self, gone: Collection[Way]) -> ShardPlan:
        """Return the plan without the ranges of some directories, and without shards that hold nothing else."""
        kept = [[one for one in shard.ranges if one.folder not in gone] for shard in self.shards]
        pairs = zip(self.shards, kept, strict=True)
        return ShardPlan(tuple(replace(shard, ranges=tuple(ranges)) for shard, ranges in pairs if ranges))

    def lines(self) -> list[str]:
        """Show the plan, a line for each shard."""
        return [
            f"shard {number}: {shard.weight.entries:,} names, {shard.weight.bytes:,} bytes: "
            + "; ".join(map(str, shard.ranges[:3]))
            + (f"; and {len(shard.ranges) - 3} more" if len(shard.ranges) > 3 else "")
            for number, shard in enumerate(self.shards, 1)
        ]


@dataclass(frozen=True, slots=True)
class ShardGoal:
    """How many shards are wanted; or, with `size`, how many bytes one may cost."""

    count: int = 1
    size: int = 0

    def grain(self, total: int) -> int:
        """Return the cost below which nothing is cut further, of a tree that costs `total` so far."""
        return max(1, self.size // _GRAINS if self.size else total // (self.count * _GRAINS))

    def shards(self, total: int) -> int:
        """Return how many shards a tree of this cost gives."""
        return max(1, -(-total // self.size)) if self.size else self.count


@dataclass(slots=True)
class Run:
    """Neighbours in a directory that are not cut: so many names from `first` on."""

    first: bytes
    names: int = 0
    weight: Weight = Weight()


@dataclass(slots=True)
class Folder:
    """A directory that may be cut."""

    name: str
    parts: list[Part] = field(default_factory=list)
    weight: Weight = Weight()


Part: TypeAlias = "Run | Folder"


class Scale:
    """Weighs a tree while somebody walks it, depth first; remembers what may be cut alone.

    Names should come in their order, or nearly: what comes out of it is weighed with its neighbours.
    """

    def __init__(self, goal: ShardGoal) -> None:
        self._goal = goal
        self._levels = [Folder("")]
        self._total = 0

    def file(self, name: str, size: int) -> None:
        """Weigh what is no directory."""
        self._total += size + ENTRY_BYTES
        self._take(name, Weight(1, size))

    def enter(self, name: str) -> None:
        """Go into a directory."""
        self._levels.append(Folder(name))

    def leave(self) -> None:
        """Come out of it."""
        folder = self._levels.pop()
        folder.parts.sort(key=_first_name)
        self._total += ENTRY_BYTES
        folder.weight += Weight(1, 0)
        heavy = folder.weight.cost >= self._goal.grain(self._total)
        if heavy and len(self._levels) < _DEPTH and _can_be_cut(folder):
            above = self._levels[-1]
            above.parts.append(folder)
            above.weight += folder.weight
        else:
            self._take(folder.name, folder.weight)

    def plan(self) -> ShardPlan:
        """Return the shards of all that was weighed: cost / number each, give or take a piece."""
        (top,) = self._levels
        top.parts.sort(key=_first_name)
        return _Cutting(top, self._goal.shards(self._total)).plan()

    def _take(self, name: str, weight: Weight) -> None:
        folder = self._levels[-1]
        folder.weight += weight
        run = folder.parts[-1] if folder.parts else None
        if not isinstance(run, Run) or run.names >= RANGE_NAMES or run.weight.cost >= self._goal.grain(self._total):
            run = Run(name.encode("utf-8", "surrogateescape"))
            folder.parts.append(run)
        run.names += 1
        run.weight += weight


def _can_be_cut(folder: Folder) -> bool:
    if is_written(folder.name):  # it is no key's, and may be another one next time
        return False
    return len(folder.parts) > 1 or any(isinstance(part, Folder) for part in folder.parts)


def _first_name(part: Part) -> bytes:
    """Return where a part begins; a bucket is walked in the order of its keys, which is not that of names."""
    return part.first if isinstance(part, Run) else part.name.encode("utf-8", "surrogateescape")


@dataclass(slots=True)
class _Cut:
    """From this name on, children belong to `shard`; None: the one child of this name is opened."""

    first: bytes
    shard: int | None
    names: int = 0


class _Cutting:
    """Gives each run to the shard in which its middle lies, when all runs lie in a row."""

    def __init__(self, top: Folder, shards: int) -> None:
        self._top = top
        self._count = shards
        self._before = 0
        self._weights = [Weight() for _ in range(shards)]
        self._ranges: list[list[Range]] = [[] for _ in range(shards)]

    def plan(self) -> ShardPlan:
        whole = self._cut((), self._top)
        if whole is not None:
            self._ranges[whole].append(Range((), ALL_NAMES))
        return ShardPlan(
            tuple(
                Shard(tuple(ranges), weight)
                for ranges, weight in zip(self._ranges, self._weights, strict=True)
                if ranges
            )
        )

    def _cut(self, way: Way, folder: Folder) -> int | None:
        """Cut a directory; return the shard that has all of it, if one does: then nobody needs to open it."""
        begun = [len(ranges) for ranges in self._ranges]
        cuts: list[_Cut] = []
        used: set[int] = set()
        for part in folder.parts:
            if isinstance(part, Run):
                shard = self._shard_of(part.weight)
                used.add(shard)
                cuts.append(_Cut(part.first, shard, part.names))
                continue
            inside = self._cut((*way, part.name), part)
            name = part.name.encode("utf-8", "surrogateescape")
            used.update(self._grown(begun) if inside is None else {inside})
            cuts.append(_Cut(name, inside, 1))
        if len(used) < 2 and all(cut.shard is not None for cut in cuts):
            return min(used, default=0)
        for shard, one in _ranges(way, _without_gaps(cuts, fallback=min(used))):
            self._ranges[shard].append(one)
        return None

    def _grown(self, begun: list[int]) -> set[int]:
        return {shard for shard, count in enumerate(begun) if len(self._ranges[shard]) > count}

    def _shard_of(self, weight: Weight) -> int:
        shard = self._shard_at(self._before + weight.cost // 2)
        self._before += weight.cost
        self._weights[shard] += weight
        return shard

    def _shard_at(self, cost: int) -> int:
        return min(self._count - 1, cost * self._count // max(1, self._top.weight.cost))


def _without_gaps(cuts: Iterable[_Cut], *, fallback: int) -> list[_Cut]:
    """Have names before, between and behind those of the plan belong to somebody, too: the shard before them."""
    whole: list[_Cut] = []
    last = fallback
    for cut in cuts:
        before = whole[-1] if whole else None
        if before is None:
            start = b""
        elif before.shard is None:
            start = before.first + b"\0"
        else:
            start = cut.first
        if cut.shard is None:
            if before is None or before.shard is None:
                whole.append(_Cut(start, last))
            whole.append(cut)
        else:
            last = cut.shard
            whole.append(_Cut(start, cut.shard, cut.names))
    if whole and whole[-1].shard is None:
        whole.append(_Cut(whole[-1].first + b"\0", last))
    return whole


def _ranges(way: Way, cuts: list[_Cut]) -> Iterator[tuple[int, Range]]:
    """Yield (shard, range); neighbours of one shard are one range, unless it would hold too many names."""
    at = 0
    while at < len(cuts):
        cut, names = cuts[at], cuts[at].names
        at += 1
        if cut.shard is None:
            continue
        while at < len(cuts) and cuts[at].shard == cut.shard and names + cuts[at].names <= RANGE_NAMES:
            names += cuts[at].names
            at += 1
        yield cut.shard, Range(way, NameRange(cut.first, cuts[at].first if at < len(cuts) else None))
