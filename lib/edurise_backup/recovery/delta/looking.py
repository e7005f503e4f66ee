"""Look at what lies in a target; nothing is changed, and no link is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edurise_backup.errors import InputError
from edurise_backup.ports import Progress
from edurise_backup.recovery.delta.plan import Extra, LeftOver
from edurise_backup.recovery.delta.temporary import is_left_over
from edurise_backup.recovery.folders import Folders
from edurise_backup.recovery.metadata import attributes_of, is_described
from edurise_backup.recovery.planning import Names, RestorePlan, Selection


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in a target."""

    there: Mapping[Names, os.stat_result]
    """Names that the snapshot has, too."""
    differing: frozenset[Names]
    """Directories with another owner, mode, time or other attributes than the snapshot's."""
    extras: tuple[Extra, ...]
    """Names that the snapshot does not have, in directories that it covers; directories before what they hold."""
    displaced: Mapping[Names, tuple[Extra, ...]]
    """What lies in directories where the snapshot has something else."""
    kept: frozenset[Names]
    """Directories that hold what must stay: what is excluded, sockets, other file systems."""
    left_over: tuple[LeftOver, ...]
    device: int
    """The target's own; 0 when it is not there."""

    def is_folder(self, names: Names) -> bool:
        """Whether a directory lies there."""
        return names in self.there and stat.S_ISDIR(self.there[names].st_mode)

    def is_file(self, names: Names) -> bool:
        """Whether a regular file lies there."""
        return names in self.there and stat.S_ISREG(self.there[names].st_mode)


NOTHING = Found({}, frozenset(), (), {}, frozenset(), (), 0)
"""What lies in a target that is not there."""


@contextmanager
def opened(target: Path) -> Iterator[Folders | None]:
    """Give the directories of a target, None when it is not there; raises InputError."""
    try:
        root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise InputError(f"{target}: {error.strerror}", hint="choose a directory that can be read") from error
    folders = Folders(root)
    try:
        yield folders
    finally:
        folders.close()
        os.close(root)


def look(folders: Folders, target: Path, plan: RestorePlan, select: Selection, *, progress: Progress) -> Found:
    """Return what lies where the plan writes, and beside it; raises InputError for what cannot be read."""
    return _Look(folders, target, plan, select, progress).run()


class _Look:
    def __init__(
        self, folders: Folders, target: Path, plan: RestorePlan, select: Selection, progress: Progress
    ) -> None:
        self._folders = folders
        self._target = target
        self._unwanted = select.unwanted
        self._progress = progress
        self._nodes = dict(plan.folders)
        files = (names for file in plan.files for names in (file.names, *file.links))
        self._others = {*files, *(names for names, _ in plan.others)}
        self._outside = plan.above | plan.leading
        self._there: dict[Names, os.stat_result] = {}
        self._differing: set[Names] = set()
        self._extras: list[Extra] = []
        self._displaced: dict[Names, tuple[Extra, ...]] = {}
        self._kept: set[Names] = set()
        self._left_over: list[LeftOver] = []

    def run(self) -> Found:
        device = self._list(())
        for names in self._nodes:  # from the top down
            if names in self._there and stat.S_ISDIR(self._there[names].st_mode):
                self._list(names)
        return Found(
            self._there,
            frozenset(self._differing),
            tuple(extra for extra in self._extras if extra.names not in self._kept),
            self._displaced,
            frozenset(self._kept),
            tuple(self._left_over),
            device,
        )

    def _list(self, folder: Names) -> int:
        """Sort the names of a directory that the snapshot has, too; return its device."""
        self._progress.raise_if_cancelled()
        try:
            status, entries = self._read(folder)
        except OSError as error:
            raise InputError(
                f"{self._target}/{'/'.join(folder)} cannot be read: {error.strerror}",
                safe="nothing was changed",
                hint="run as a user who may read it, or leave it out with --exclude",
            ) from error
        for name, found in entries:
            self._sort((*folder, name), found, status.st_dev, covered=folder not in self._outside)
        return status.st_dev

    def _read(self, folder: Names) -> tuple[os.stat_result, list[tuple[str, os.stat_result]]]:
        with self._folders.opened(folder) as descriptor:
            status = os.fstat(descriptor)
            node = self._nodes.get(folder)
            if node is not None and not is_described(status, attributes_of(descriptor), node):
                self._differing.add(folder)
            return status, _entries(descriptor)

    def _sort(self, names: Names, status: os.stat_result, device: int, *, covered: bool) -> None:
        if names in self._nodes:
            self._there[names] = status
        elif names in self._others:
            self._there[names] = status
            if stat.S_ISDIR(status.st_mode):
                self._displaced[names] = tuple(self._walk(names, status, device))[1:]
        elif is_left_over(names[-1]) and not stat.S_ISDIR(status.st_mode):
            freed = status.st_blocks * 512 if status.st_nlink == 1 else 0
            self._left_over.append(LeftOver(names, status.st_dev, freed))
        elif covered:
            self._extras += self._walk(names, status, device)

    def _walk(self, top: Names, status: os.stat_result, device: int) -> Iterator[Extra]:
        """Yield a name and all below it, but for what must stay and the directories that hold it."""
        ahead = [(top, status)]
        while ahead:
            names, status = ahead.pop()
            if self._must_stay(names, status, device):
                self._kept.update(names[:length] for length in range(1, len(names) + 1))
                continue
            folder = stat.S_ISDIR(status.st_mode)
            yield Extra(names, folder)
            if folder:
                ahead += self._below(names)

    def _must_stay(self, names: Names, status: os.stat_result, device: int) -> bool:
        # no backup holds a socket, so its absence from a snapshot says nothing
        return status.st_dev != device or stat.S_ISSOCK(status.st_mode) or self._unwanted("/" + "/".join(names))

    def _below(self, names: Names) -> list[tuple[Names, os.stat_result]]:
        self._progress.raise_if_cancelled()
        try:
            with self._folders.opened(names) as descriptor:
                return [((*names, name), status) for name, status in _entries(descriptor)]
        except OSError:  # its removal will say so, if it comes to that
            return []


def _entries(folder: int) -> list[tuple[str, os.stat_result]]:
    """Return (name, lstat) in the order of the names; what vanishes meanwhile is left out."""
    found = []
    for name in sorted(os.listdir(folder)):
        try:
            found.append((name, os.stat(name, dir_fd=folder, follow_symlinks=False)))
        except FileNotFoundError:
            continue
    return found
