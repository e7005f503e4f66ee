"""Assemble files beside their places: equal ranges from the old file, proved as they are copied, the others fetched."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from mmap import PAGESIZE, mmap

from edurise_backup.errors import DamageError
from edurise_backup.machine.direct import write_at
from edurise_backup.model.content import Node
from edurise_backup.ports import Buffer, Progress
from edurise_backup.recovery.delta.comparing import OPEN_FILE
from edurise_backup.recovery.delta.plan import FileStep, Range
from edurise_backup.recovery.delta.target import Target
from edurise_backup.recovery.delta.temporary import aside_name, unfinished_name
from edurise_backup.recovery.extraction import is_zeros
from edurise_backup.recovery.metadata import Troubles
from edurise_backup.recovery.planning import Names, WantedBlob

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MADE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Assembly:
    """Files that are being made, each under a temporary name in its directory; takes pieces from any thread.

    Leaving the block removes those that have not taken their places.
    """

    def __init__(self, target: Target, progress: Progress) -> None:
        self._target = target
        self._progress = progress
        self._room = _Room()
        self._made: dict[Names, str] = {}
        self._inodes: dict[Names, tuple[int, int]] = {}

    def __enter__(self) -> Assembly:
        return self

    def __exit__(self, *_: object) -> None:
        for names, made in self._made.items():
            with suppress(OSError), self._target.folder(names[:-1]) as above:
                os.unlink(made, dir_fd=above)

    def begin(self, step: FileStep) -> list[Range]:
        """Begin a file with what the old one has of it; return the ranges that are to be fetched."""
        self._progress.raise_if_cancelled()
        self._made[step.names] = aside_name() if step.displaces else unfinished_name()
        missing: list[Range] = []
        with self._target.attempt(step.names):
            if not _is_one_piece(step):
                with self._open(step.names, _NEW) as descriptor:
                    os.ftruncate(descriptor, step.file.node.size)
            missing += [*step.fetched, *self._copy(step)]
        return missing

    def _copy(self, step: FileStep) -> Iterator[Range]:
        """Copy equal ranges; yield those that are not equal any more."""
        if step.old is None or not step.copied:
            yield from step.copied
            return
        try:
            with self._target.folder(step.old[:-1]) as above:
                old = os.open(step.old[-1], OPEN_FILE, dir_fd=above)
        except OSError:  # gone, or became something else
            yield from step.copied
            return
        try:
            for part in step.copied:
                self._progress.raise_if_cancelled()
                data = self._read(old, part)
                if data is None:
                    yield part
                    continue
                if _is_one_piece(step):
                    self.write_whole(step.names, data, step.file.node)
                else:
                    self.write_piece(step.names, data, part.offset)
                self._progress.advance(bytes_done=part.length)
        finally:
            os.close(old)

    def _read(self, old: int, part: Range) -> memoryview | None:
        """Return a range of the old file, None when it is not the snapshot's any more."""
        view = self._room.view(part)
        try:
            count = os.preadv(old, [view], part.offset)
        except OSError:
            return None
        return view if count == len(view) and hashlib.sha256(view).digest() == part.blob else None

    def write_whole(self, names: Names, data: Buffer, node: Node) -> None:
        """Make a file from its only piece; zeros stay a hole."""
        with self._target.attempt(names), self._open(names, _NEW) as descriptor:
            if is_zeros(data):
                os.ftruncate(descriptor, len(data))
            else:
                write_at(descriptor, memoryview(data), 0)
            self._describe(descriptor, names, node)

    def write_piece(self, names: Names, data: Buffer, offset: int) -> None:
        """Write one piece of a file that was begun; zeros stay a hole."""
        if names not in self._target.failed and not is_zeros(data):
            with self._target.attempt(names), self._open(names, _MADE) as descriptor:
                write_at(descriptor, memoryview(data), offset)

    def hand_over(self) -> Troubles:
        """Return the problems since the last time, and forget them."""
        return self._target.metadata.hand_over()

    def take_over(self, troubles: Troubles) -> None:
        """Keep problems that were handed over."""
        self._target.metadata.take_over(troubles)

    def lose(self, blob: WantedBlob, error: DamageError) -> None:
        """Give up the files that need a blob which no pack has whole."""
        for piece in blob.pieces:
            self._target.fail(piece.file.names, error.message)

    def finish(self, step: FileStep) -> None:
        """Give a file of several pieces, or none, its owner, mode, times and attributes."""
        if step.names not in self._target.failed and not _is_one_piece(step):
            with self._target.attempt(step.names), self._open(step.names, _MADE) as descriptor:
                self._describe(descriptor, step.names, step.file.node)

    def put(self, step: FileStep) -> None:
        """Have a finished file take its place."""
        if step.names not in self._target.failed:
            with self._target.attempt(step.names):
                self._target.put(step.names, self._made[step.names], displaces=step.displaces)
                del self._made[step.names]

    def _describe(self, descriptor: int, names: Names, node: Node) -> None:
        metadata = self._target.metadata
        metadata.strip(descriptor, node, names)  # a directory may pass ACLs on to what is made in it
        metadata.describe(descriptor, node, names)

    @contextmanager
    def _open(self, names: Names, flags: int) -> Iterator[int]:
        with self._target.changing(names[:-1]) as above:
            descriptor = os.open(self._made[names], flags, 0o600, dir_fd=above)
        try:
            status = os.fstat(descriptor)
            inode = status.st_dev, status.st_ino
            # others may write to the directory: what they put there gets neither bytes nor an owner
            if self._inodes.setdefault(names, inode) != inode:
                raise OSError(errno.EBUSY, "somebody replaced its temporary file")
            yield descriptor
        finally:
            os.close(descriptor)


class _Room(threading.local):
    """Memory for one range, which begins as many bytes into a page as the range into a block: see `write_at`."""

    def __init__(self) -> None:
        self._whole = memoryview(mmap(-1, PAGESIZE))

    def view(self, part: Range) -> memoryview:
        """Return room for a range."""
        shift = part.offset % PAGESIZE
        if len(self._whole) < shift + part.length:
            self._whole = memoryview(mmap(-1, part.length + PAGESIZE))
        return self._whole[shift : shift + part.length]


def _is_one_piece(step: FileStep) -> bool:
    """Whether a file is made at once, from the only blob that it is."""
    return len(step.file.node.content or ()) == 1 and len(step.copied) + len(step.fetched) == 1
