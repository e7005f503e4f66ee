"""Decide what a restore onto an existing tree does; nothing is read or written here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from edurise_backup.errors import ConflictError
from edurise_backup.model.content import Node
from edurise_backup.recovery.delta.comparing import Compared, OldFile
from edurise_backup.recovery.delta.looking import Found
from edurise_backup.recovery.delta.plan import (
    DeltaPlan,
    DescribeStep,
    Extra,
    FileStep,
    FolderStep,
    LinkStep,
    OtherStep,
    Range,
)
from edurise_backup.recovery.planning import Names, PlannedFile, RestorePlan

_SHOWN = 5
"""Conflicts that are named."""
_KINDS = ("symlink", "fifo", "dev", "chardev")


def decide(
    plan: RestorePlan,
    found: Found,
    compared: Compared,
    *,
    target: Path,
    delete: bool,
    ranges: Callable[[Node], list[Range]],
    problems: Sequence[str] = (),
) -> DeltaPlan:
    """Say what has to be done; raises ConflictError where a directory would have to make way for something else.

    With `delete` it makes way, unless it is above what was selected, or holds what must stay.
    `problems` are known before.
    """
    refuse_conflicts(plan, found, delete=delete)
    return _Decision(plan, found, compared, ranges, problems).plan(target, delete)


def refuse_conflicts(plan: RestorePlan, found: Found, *, delete: bool) -> None:
    """Raise ConflictError for names that are a directory on one side only."""
    outside = plan.above | plan.leading
    conflicts = list(_conflicts(plan, found))
    fixed = [names for names in conflicts if names in outside or names in found.kept]
    refused = fixed if delete else conflicts
    if not refused:
        return
    shown = ", ".join("/" + "/".join(names) for names in refused[:_SHOWN])
    more = f" and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
    raise ConflictError(
        f"a directory on one side only, in the snapshot or in the target: {shown}{more}",
        safe="nothing was changed",
        hint="it leads to what was selected, or holds what must stay: restore SNAPSHOT:/DIR onto what is meant"
        if fixed
        else "--delete has them make way; or move them away, or leave them out with --exclude",
    )


def _conflicts(plan: RestorePlan, found: Found) -> Iterator[Names]:
    yield from (names for names, _ in plan.folders if names in found.there and not found.is_folder(names))
    for file in plan.files:
        yield from (names for names in (file.names, *file.links) if found.is_folder(names))
    yield from (names for names, node in plan.others if node.type in _KINDS and found.is_folder(names))


class _Decision:
    def __init__(
        self,
        plan: RestorePlan,
        found: Found,
        compared: Compared,
        ranges: Callable[[Node], list[Range]],
        problems: Sequence[str],
    ) -> None:
        self._plan = plan
        self._found = found
        self._compared = compared
        self._ranges = ranges
        self._folders: list[FolderStep] = []
        self._files: list[FileStep] = []
        self._links: list[LinkStep] = []
        self._others: list[OtherStep] = []
        self._described: list[DescribeStep] = []
        self._unchanged = 0
        self._problems = list(problems)
        self._device_of: dict[Names, int] = {(): found.device}
        self._shared = _shared(plan.files, found)

    def plan(self, target: Path, delete: bool) -> DeltaPlan:
        for names, node in self._plan.folders:
            self._decide_folder(names, node)
        for file in self._plan.files:
            self._decide_file(file)
        for names, node in self._plan.others:
            self._decide_other(names, node)
        devices: dict[int, Names] = {}
        for names, device in self._device_of.items():
            devices.setdefault(device, names)  # directories that are there come before what is made in them
        return DeltaPlan(
            target=target,
            delete=delete,
            folders=tuple(self._folders),
            files=tuple(self._files),
            links=tuple(self._links),
            others=tuple(self._others),
            described=tuple(self._described),
            unchanged=self._unchanged,
            extras=self._found.extras,
            displaced=self._displaced(),
            left_over=self._found.left_over,
            devices=devices,
            problems=tuple(self._problems),
        )

    def _displaced(self) -> dict[Names, tuple[Extra, ...]]:
        """Return what lies in the directories that make way."""
        steps: list[FileStep | LinkStep | OtherStep] = [*self._files, *self._links, *self._others]
        return {step.names: self._found.displaced[step.names] for step in steps if step.displaces}

    def _decide_folder(self, names: Names, node: Node) -> None:
        there = self._found.is_folder(names)
        self._device_of[names] = self._found.there[names].st_dev if there else self._device_of[names[:-1]]
        self._folders.append(
            FolderStep(
                names,
                node,
                there=there,
                displaces=names in self._found.there and not there,
                own=names not in self._plan.leading and names not in self._plan.above,
                differs=names in self._found.differing,
                mind_owner=names not in self._plan.above,
            )
        )

    def _decide_file(self, file: PlannedFile) -> None:
        old = self._compared.files.get(file.names)
        if old is not None and self._may_stay(file, old):
            to, settled = old.names, self._sharing(file, old)
            if old.described:
                self._unchanged += len(settled)
            else:
                self._described.append(DescribeStep(old.names, file.node, old.status))
        else:
            self._files.append(self._assembled(file, old))
            to, settled = file.names, {file.names}
        for names in (file.names, *file.links):
            if names not in settled:
                self._links.append(LinkStep(names, to, names in self._found.there, self._found.is_folder(names)))

    def _may_stay(self, file: PlannedFile, old: OldFile) -> bool:
        """Whether an old file can become the snapshot's without its other names, of other files, noticing."""
        if not old.same or _inode(old) in self._shared:
            return False
        return old.described or old.status.st_nlink == len(self._sharing(file, old))

    def _sharing(self, file: PlannedFile, old: OldFile) -> set[Names]:
        """Return the names of the planned file under which the old one lies."""
        there = self._found.there
        return {
            names
            for names in (file.names, *file.links)
            if names in there and (there[names].st_dev, there[names].st_ino) == _inode(old)
        }

    def _assembled(self, file: PlannedFile, old: OldFile | None) -> FileStep:
        wanted = [part for part in self._ranges(file.node) if not part.hole]
        equal = old.equal if old is not None else frozenset()
        status = self._found.there.get(file.names)
        return FileStep(
            file,
            old=old.names if old is not None else None,
            copied=tuple(part for part in wanted if part.offset in equal),
            fetched=tuple(part for part in wanted if part.offset not in equal),
            there=status is not None,
            displaces=self._found.is_folder(file.names),
            device=self._device_of[file.names[:-1]],
            freed=status.st_blocks * 512 if status is not None and status.st_nlink == 1 else 0,
        )

    def _decide_other(self, names: Names, node: Node) -> None:
        if node.type not in _KINDS:
            self._problems.append(f"{'/'.join(names)}: a {node.type or 'nameless kind of file'} cannot be restored")
            return
        there = self._found.there.get(names)
        likeness = self._compared.others.get(names)
        if there is None or likeness is None or not likeness.same:
            self._others.append(OtherStep(names, node, there is not None, self._found.is_folder(names)))
        elif likeness.described:
            self._unchanged += 1
        elif there.st_nlink == 1:
            self._described.append(DescribeStep(names, node, there))
        else:  # another name of it may be somebody else's
            self._others.append(OtherStep(names, node, there=True, displaces=False))


def _inode(old: OldFile) -> tuple[int, int]:
    return old.status.st_dev, old.status.st_ino


def _shared(files: Iterable[PlannedFile], found: Found) -> set[tuple[int, int]]:
    """Return the inodes that lie under names of several planned files: the snapshot has them apart."""
    seen: dict[tuple[int, int], Names] = {}
    shared = set()
    for file in files:
        for names in (file.names, *file.links):
            if found.is_file(names):
                inode = found.there[names].st_dev, found.there[names].st_ino
                if seen.setdefault(inode, file.names) != file.names:
                    shared.add(inode)
    return shared
