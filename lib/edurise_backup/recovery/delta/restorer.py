"""Plan a restore onto an existing tree, and do what the plan says.

The order is the promise: what is right gets its metadata; files are assembled
beside their places, made durable, and renamed over the old ones, a batch after
the other; when all of it is durable, and only when nothing failed, names that
the snapshot does not have are removed; directories get their times last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edurise_backup.errors import SpaceError
from edurise_backup.machine.cores import cores
from edurise_backup.ports import Progress
from edurise_backup.recovery.delta import acts
from edurise_backup.recovery.delta.assembly import Assembly
from edurise_backup.recovery.delta.comparing import NOT_COMPARED, compare, in_parallel, ranges_of
from edurise_backup.recovery.delta.deciding import decide, refuse_conflicts
from edurise_backup.recovery.delta.looking import NOTHING, look, opened
from edurise_backup.recovery.delta.plan import DeltaPlan, FileStep, Range
from edurise_backup.recovery.delta.target import Target
from edurise_backup.recovery.fetching import Fetcher
from edurise_backup.recovery.planning import Names, Piece, RestorePlan, Selection, WantedBlob
from edurise_backup.repository.repository import Repository

Step = TypeVar("Step")


@dataclass(frozen=True, slots=True)
class Updated:
    """What a restore onto an existing tree did; all but `folders` counts names of anything but directories."""

    unchanged: int
    described: int
    changed: int
    new: int
    folders: int
    """Directories that were made."""
    removed: int
    """Names that the snapshot does not have, directories among them."""
    stayed: int
    """Such names that are still there."""
    written_bytes: int
    failed: tuple[str, ...]
    """What could not be restored, a sentence each; the old is still in its place."""
    problems: tuple[str, ...]
    """What is not as it was in the snapshot, a sentence each."""


def plan_delta(
    repository: Repository,
    plan: RestorePlan,
    target: Path,
    *,
    select: Selection,
    delete: bool,
    progress: Progress,
    workers: int = 0,
) -> DeltaPlan:
    """Look at the target, read and compare what is there, and say what is to be done; changes nothing.

    `plan` is of the same selection. Raises ConflictError, and InputError for what cannot be read.
    """
    index = repository.index
    with opened(target) as folders:
        found, compared = NOTHING, NOT_COMPARED
        if folders is not None:
            progress.phase("look")
            found = look(folders, target, plan, select, progress=progress)
            refuse_conflicts(plan, found, delete=delete)  # before hours of reading
            compared = compare(index, folders, plan, found, progress=progress, workers=workers or _workers())
    return decide(
        plan,
        found,
        compared,
        target=target,
        delete=delete,
        ranges=lambda node: ranges_of(index, node),
        problems=repository.damage,
    )


def apply_delta(repository: Repository, plan: DeltaPlan, *, progress: Progress, workers: int = 0) -> Updated:
    """Do what the plan says; files that cannot be restored whole stay as they are, and are named.

    Raises SpaceError (before anything is written, or on the way), CancelledError
    and BackupError; each name then shows the old or the new file, and a second run does the rest.
    """
    foreign = [step.names for step in plan.folders if step.there and not step.own]
    with Target(plan.target, foreign=foreign) as target:
        _refuse_without_room(target, plan)
        return _Work(repository, plan, target, progress, workers or _workers()).run()


def _workers() -> int:
    return 2 * cores()


def _refuse_without_room(target: Target, plan: DeltaPlan) -> None:
    for device, needed in plan.room().items():
        freed = sum(left.bytes for left in plan.left_over if left.device == device)
        free = target.free_bytes(plan.devices[device]) + freed
        if needed > free:
            raise SpaceError(
                f"the restore needs {needed:,} bytes, {free:,} are free there",
                safe="nothing was changed",
                hint="free space on that disk, or restore a part with --include",
            )


class _Work:
    def __init__(
        self, repository: Repository, plan: DeltaPlan, target: Target, progress: Progress, workers: int
    ) -> None:
        self._repository = repository
        self._plan = plan
        self._target = target
        self._progress = progress
        self._workers = workers

    def run(self) -> Updated:
        self._progress.phase("restore", bytes_total=self._plan.written_bytes)
        self._make_ready()
        for batch in self._plan.batches():
            self._write(batch)
        for link in self._each(self._plan.links):
            acts.link(self._target, link)
        for other in self._each(self._plan.others):
            acts.make_other(self._target, other)
        self._sync()
        removed = self._clear()
        for folder in reversed(self._plan.folders):
            if not folder.there or (folder.own and (folder.differs or folder.names in self._target.touched)):
                acts.finish_folder(self._target, folder)
        self._sync()
        return self._result(removed)

    def _make_ready(self) -> None:
        """Describe what is right already, remove what killed runs left, make directories."""
        for step in self._each(self._plan.described):  # first: a further name of a file, or one less, changes its ctime
            acts.describe(self._target, step)
        for left in self._each(self._plan.left_over):
            acts.remove(self._target, left.names, folder=False)
        for folder in self._each(self._plan.folders):
            if not folder.there:
                acts.make_folder(self._target, folder)

    def _each(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Yield the steps until a person asks to stop."""
        for step in steps:
            self._progress.raise_if_cancelled()
            yield step

    def _write(self, batch: Sequence[FileStep]) -> None:
        """Assemble files, make them durable, and only then let them take their places."""
        with Assembly(self._target, self._progress) as assembly:
            wanted = _Wanted()
            for step, ranges in zip(batch, in_parallel(assembly.begin, batch, self._workers), strict=True):
                wanted.add(step, ranges)
            # no gap: what lies between two wanted blobs is equal, and is not to be read
            fetcher = Fetcher(self._repository, assembly, progress=self._progress, lost=assembly.lose, gap=0)
            fetcher.run(wanted.packs(), workers=self._workers)
            for step in batch:
                assembly.finish(step)
            self._sync()
            self._progress.raise_if_cancelled()
            for step in batch:
                assembly.put(step)

    def _sync(self) -> None:
        self._target.sync(self._plan.devices.values())

    def _clear(self) -> int:
        """Remove what made way, and what the snapshot does not have, unless anything failed; return how many names."""
        if self._target.failed:
            for aside, names in self._target.set_aside:
                self._target.metadata.tell(f"{'/'.join(names)}: what was there before is {aside[-1]} now")
            return 0
        removed = 0
        for aside, names in self._target.set_aside:
            content = self._plan.displaced.get(names)
            for extra in reversed(content or ()):
                inside = (*aside, *extra.names[len(names) :])
                removed += acts.remove(self._target, inside, folder=extra.folder)
            acts.remove(self._target, aside, folder=content is not None)
        for extra in self._each(self._plan.extras[::-1] if self._plan.delete else ()):
            removed += acts.remove(self._target, extra.names, folder=extra.folder)
        return removed

    def _result(self, removed: int) -> Updated:
        plan, failed = self._plan, self._target.failed
        undone = failed.keys() | self._target.refused
        there = {*plan.changed, *(step.names for step in plan.described)}
        return Updated(
            unchanged=plan.unchanged,
            described=sum(step.names not in failed for step in plan.described),
            changed=sum(names not in undone for names in plan.changed),
            new=sum(names not in undone for names in plan.new),
            folders=sum(not step.there and step.names not in failed for step in plan.folders),
            removed=removed,
            stayed=len(plan.unwanted) - removed,
            written_bytes=sum(step.written for step in plan.files if step.names not in failed),
            failed=tuple(_sentence(names, why, old=names in there) for names, why in sorted(failed.items())),
            problems=(*plan.problems, *self._target.metadata.problems),
        )


def _sentence(names: Names, why: str, *, old: bool) -> str:
    return f"/{'/'.join(names)} cannot be restored{', and stays as it is' if old else ''}: {why}"


class _Wanted:
    """Blobs that a batch needs from the repository, each once."""

    def __init__(self) -> None:
        self._blobs: dict[bytes, WantedBlob] = {}

    def add(self, step: FileStep, ranges: Iterable[Range]) -> None:
        for part in ranges:
            blob = self._blobs.setdefault(part.blob, WantedBlob(part.blob, part.place))
            blob.pieces.append(Piece(step.file, part.offset))

    def packs(self) -> dict[str, list[WantedBlob]]:
        packs: dict[str, list[WantedBlob]] = {}
        for blob in self._blobs.values():
            packs.setdefault(blob.place.pack, []).append(blob)
        for blobs in packs.values():
            blobs.sort(key=lambda blob: blob.place.offset)
        return packs
