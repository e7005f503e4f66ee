"""Read what lies in a target and compare it with the snapshot, blob by blob: no time and no size stands for content."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from edurise_backup.model.content import BlobId, BlobKind, Node, go_mode
from edurise_backup.ports import Progress
from edurise_backup.recovery.delta.looking import Found
from edurise_backup.recovery.delta.plan import Range
from edurise_backup.recovery.extraction import link_target
from edurise_backup.recovery.folders import Folders
from edurise_backup.recovery.metadata import attributes_of, closed, is_described
from edurise_backup.recovery.planning import Names, PlannedFile, RestorePlan, all_zeros
from edurise_backup.repository.index import Index

OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A fifo that came in between neither blocks nor is read."""
_PIECE = 1024 * 1024

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class OldFile:
    """A regular file that lies where the snapshot has one, as it was when it was read."""

    names: Names
    status: os.stat_result
    equal: frozenset[int]
    """Where the ranges begin that hold what the snapshot says."""
    same: bool
    """All of them do, and there is nothing behind them."""
    described: bool
    """Owner, mode, time and attributes are the snapshot's, too."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How far a link, fifo or device is the snapshot's."""

    same: bool
    described: bool


@dataclass(frozen=True, slots=True)
class Compared:
    """What was found out about each file and other thing of the plan that has something in its place."""

    files: dict[Names, OldFile]
    """By the first name of each file: of several old ones that which has the most of it."""
    others: dict[Names, Likeness]


NOT_COMPARED = Compared({}, {})


def ranges_of(index: Index, node: Node) -> list[Range]:
    """Return a file's blobs, each with its place in the file; the plan has found all of them in the index."""
    ranges = []
    offset = 0
    for text in node.content or ():
        blob = BlobId(bytes.fromhex(text))
        place = index.find(BlobKind.DATA, blob)
        assert place is not None
        ranges.append(Range(blob, place, offset, all_zeros(blob, place)))
        offset += place.plain_length
    return ranges


def compare(
    index: Index, folders: Folders, plan: RestorePlan, found: Found, *, progress: Progress, workers: int
) -> Compared:
    """Read every file that lies where the plan has one, several at once."""
    tasks = [(file, names) for file in plan.files for names in _inodes(file, found)]
    progress.phase("compare", bytes_total=sum(found.there[names].st_size for _, names in tasks))
    reader = _Reader(index, folders, progress)
    files: dict[Names, OldFile] = {}
    for (file, _), old in zip(tasks, in_parallel(lambda task: reader.compare(*task), tasks, workers), strict=True):
        best = files.get(file.names)
        if old is not None and (best is None or (old.same, len(old.equal)) > (best.same, len(best.equal))):
            files[file.names] = old
    others = {
        names: _likeness(folders, names, found.there[names], node)
        for names, node in plan.others
        if names in found.there
    }
    return Compared(files, others)


def in_parallel(act: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield the results in the order of the items; not many more than `workers` are under way."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="delta")
    try:
        under_way: deque[Future[Result]] = deque()
        for item in items:
            if len(under_way) >= 16 * workers:
                yield under_way.popleft().result()
            under_way.append(pool.submit(act, item))
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _inodes(file: PlannedFile, found: Found) -> list[Names]:
    """Return a name for each file that lies under one of the names of a planned one."""
    inodes: dict[tuple[int, int], Names] = {}
    for names in (file.names, *file.links):
        if found.is_file(names):
            status = found.there[names]
            inodes.setdefault((status.st_dev, status.st_ino), names)
    return list(inodes.values())


class _Room(threading.local):
    def __init__(self) -> None:
        self.view = memoryview(bytearray(_PIECE))


class _Reader:
    def __init__(self, index: Index, folders: Folders, progress: Progress) -> None:
        self._index = index
        self._folders = folders
        self._progress = progress
        self._room = _Room()

    def compare(self, file: PlannedFile, names: Names) -> OldFile | None:
        """Return what is known of an old file; None for one that cannot be read: nothing of it is used."""
        try:
            with self._open(names) as descriptor:
                before = os.fstat(descriptor)
                if not stat.S_ISREG(before.st_mode):
                    return None
                equal, all_equal = self._equal(descriptor, before.st_size, file.node)
                after = os.fstat(descriptor)
                unchanged = (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
                    after.st_size,
                    after.st_mtime_ns,
                    after.st_ctime_ns,
                )
                same = all_equal and unchanged and after.st_size == file.node.size
                described = is_described(after, attributes_of(descriptor), file.node)
        except OSError:
            return None
        self._progress.advance(files_done=1)
        return OldFile(names, after, equal, same, described)

    def _equal(self, descriptor: int, size: int, node: Node) -> tuple[frozenset[int], bool]:
        ranges = ranges_of(self._index, node)
        equal = frozenset(
            part.offset
            for part in ranges
            if part.offset + part.length <= size and self._digest(descriptor, part) == part.blob
        )
        return equal, len(equal) == len(ranges)

    def _digest(self, descriptor: int, part: Range) -> bytes:
        digest = hashlib.sha256()
        at, end = part.offset, part.offset + part.length
        while at < end:
            self._progress.raise_if_cancelled()
            count = os.preadv(descriptor, [self._room.view[: end - at]], at)
            if not count:  # cut short meanwhile
                break
            digest.update(self._room.view[:count])
            at += count
            self._progress.advance(bytes_done=count)
        return digest.digest()

    @contextmanager
    def _open(self, names: Names) -> Iterator[int]:
        with self._folders.opened(names[:-1]) as above:
            descriptor = os.open(names[-1], OPEN_FILE, dir_fd=above)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _likeness(folders: Folders, names: Names, status: os.stat_result, node: Node) -> Likeness:
    if stat.S_ISSOCK(status.st_mode) or go_mode(status.st_mode)[0] != node.type:
        return Likeness(same=False, described=False)
    try:
        with folders.opened(names[:-1]) as above:
            if node.type == "symlink":
                same = os.readlink(os.fsencode(names[-1]), dir_fd=above) == link_target(node)
            else:
                same = node.type == "fifo" or status.st_rdev == node.device
            return Likeness(same, is_described(status, attributes_of(closed(above, names[-1])), node))
    except OSError:  # it has gone, or became something else
        return Likeness(same=False, described=False)
