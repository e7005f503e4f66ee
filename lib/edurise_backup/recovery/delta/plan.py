"""What a restore onto an existing tree will do: a value that can be shown, and then be applied."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edurise_backup.model.content import BlobId, Node
from edurise_backup.recovery.planning import Names, PlannedFile
from edurise_backup.repository.index import Place

_BATCH_BYTES, _BATCH_FILES = 256 * 1024 * 1024, 1000
"""Files that are made durable together before they take their places."""


@dataclass(frozen=True, slots=True)
class Range:
    """A part of a file that is one blob."""

    blob: BlobId
    place: Place
    offset: int
    hole: bool
    """Nothing but zeros: neither fetched nor copied."""

    @property
    def length(self) -> int:
        """Its bytes."""
        return self.place.plain_length


@dataclass(frozen=True, slots=True)
class Extra:
    """A name that the snapshot does not have."""

    names: Names
    folder: bool


@dataclass(frozen=True, slots=True)
class LeftOver:
    """A temporary file of a run that was killed."""

    names: Names
    device: int
    bytes: int


@dataclass(frozen=True, slots=True)
class FolderStep:
    """A directory of the snapshot."""

    names: Names
    node: Node
    there: bool
    """As a directory; otherwise it is made."""
    displaces: bool
    """Something else lies there, and makes way."""
    own: bool
    """Part of what was selected: a directory above it stays as it is where it is there."""
    differs: bool
    """In owner, mode, times or attributes."""
    mind_owner: bool


@dataclass(frozen=True, slots=True)
class FileStep:
    """A file that is assembled beside its place and then takes it."""

    file: PlannedFile
    old: Names | None
    """Where the ranges lie that are equal."""
    copied: tuple[Range, ...]
    fetched: tuple[Range, ...]
    there: bool
    """Something lies in its place."""
    displaces: bool
    """A directory lies in its place, and makes way."""
    device: int
    freed: int
    """Bytes that the old file gives back."""

    @property
    def names(self) -> Names:
        """Where it goes."""
        return self.file.names

    @property
    def written(self) -> int:
        """Bytes that it takes on the disk."""
        return sum(part.length for part in (*self.copied, *self.fetched))


@dataclass(frozen=True, slots=True)
class LinkStep:
    """A further name of a file of the snapshot."""

    names: Names
    to: Names
    there: bool
    displaces: bool


@dataclass(frozen=True, slots=True)
class OtherStep:
    """A symbolic link, fifo or device that is made beside its place and then takes it."""

    names: Names
    node: Node
    there: bool
    displaces: bool


@dataclass(frozen=True, slots=True)
class DescribeStep:
    """Something whose content is right, and that gets its owner, mode, times and attributes in its place."""

    names: Names
    node: Node
    status: os.stat_result
    """What it was when it was compared."""


@dataclass(frozen=True, slots=True)
class DeltaPlan:
    """All that will be done below `target`, each kind in its order."""

    target: Path
    delete: bool
    folders: tuple[FolderStep, ...]
    """From the top down."""
    files: tuple[FileStep, ...]
    links: tuple[LinkStep, ...]
    others: tuple[OtherStep, ...]
    described: tuple[DescribeStep, ...]
    unchanged: int
    """Names of files and of other things but directories that are right already."""
    extras: tuple[Extra, ...]
    """Names that are there and not in the snapshot, directories before what they hold."""
    displaced: Mapping[Names, tuple[Extra, ...]]
    """What lies in directories that make way for something else."""
    left_over: tuple[LeftOver, ...]
    devices: Mapping[int, Names]
    """A directory that is there for each file system that is written to."""
    problems: tuple[str, ...]
    """What cannot be restored, a sentence each."""

    @property
    def steps(self) -> tuple[FileStep | LinkStep | OtherStep, ...]:
        """What takes a place, all names but directories'."""
        return (*self.files, *self.links, *self.others)

    @property
    def changed(self) -> list[Names]:
        """Names where something else takes the place of what is there."""
        return [step.names for step in self.steps if step.there]

    @property
    def new(self) -> list[Names]:
        """Names where nothing is."""
        return [step.names for step in self.steps if not step.there]

    @property
    def unwanted(self) -> list[Names]:
        """Names that are there and not in the snapshot, also those in directories that make way."""
        return [extra.names for extras in (self.extras, *self.displaced.values()) for extra in extras]

    @property
    def written_bytes(self) -> int:
        """What is written, holes apart."""
        return sum(step.written for step in self.files)

    @property
    def fetched_bytes(self) -> int:
        """What is read from the repository: sealed blobs, each once for a batch of files."""
        return sum(
            sum({part.blob: part.place.length for step in batch for part in step.fetched}.values())
            for batch in self.batches()
        )

    def batches(self) -> list[Sequence[FileStep]]:
        """Cut the files into groups that are assembled and made durable together."""
        batches: list[list[FileStep]] = []
        room = 0
        for step in self.files:
            if not batches or room < step.written or len(batches[-1]) >= _BATCH_FILES:
                batches.append([])
                room = _BATCH_BYTES
            batches[-1].append(step)
            room -= step.written
        return list(batches)

    def room(self) -> dict[int, int]:
        """Return the bytes that must be free on each device: what was replaced makes room for what follows."""
        return _peaks(self.batches())


def _peaks(batches: Iterable[Sequence[FileStep]]) -> dict[int, int]:
    held: Counter[int] = Counter()
    peak: Counter[int] = Counter()
    for batch in batches:
        for step in batch:
            held[step.device] += step.written
        for device in held:
            peak[device] = max(peak[device], held[device])
        for step in batch:
            held[step.device] -= step.freed
    return dict(peak)
