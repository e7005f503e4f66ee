"""Write runs of a pack's blobs to their files, here or in processes of their own (`machine/crew`).

Run as a program this is such a process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from mmap import PAGESIZE, mmap
from pathlib import Path
from typing import Protocol

import msgspec

from edurise_backup.errors import BackupError, DamageError
from edurise_backup.machine.crew import Crew, Member, Program, program_of
from edurise_backup.machine.direct import BLOCK, read_range
from edurise_backup.machine.serving import Messages, serve
from edurise_backup.model.content import BlobId, ExtendedAttribute, Node
from edurise_backup.pipeline.codec import MasterKey, Scratch
from edurise_backup.ports import Buffer
from edurise_backup.recovery.extraction import Extraction, is_zeros
from edurise_backup.recovery.metadata import Troubles
from edurise_backup.recovery.planning import Names, WantedBlob

_SMALL = 256 * 1024
"""Bytes up to which a piece waits for the next one."""
_TOGETHER = 4 * 1024 * 1024


class Description(msgspec.Struct, array_like=True):
    """What a file is to be, besides its bytes: the parts of its node that a restore sets."""

    mode: int
    uid: int
    gid: int
    user: str
    group: str
    atime: str
    mtime: str
    attributes: list[tuple[str, bytes | None]]

    @classmethod
    def of(cls, node: Node) -> Description:
        """Take what a restore sets from a node."""
        attributes = [(one.name, one.value) for one in node.extended_attributes]
        return cls(node.mode, node.uid, node.gid, node.user, node.group, node.atime, node.mtime, attributes)

    def node(self) -> Node:
        """Return it as a node."""
        return Node(
            name="",
            type="file",
            mode=self.mode,
            mtime=self.mtime,
            atime=self.atime,
            ctime=self.mtime,
            uid=self.uid,
            gid=self.gid,
            user=self.user,
            group=self.group,
            extended_attributes=[ExtendedAttribute(name, value) for name, value in self.attributes],
            content=None,
        )


class PieceOrder(msgspec.Struct, array_like=True):
    """Where a blob goes: a path below the target, in the file system's bytes."""

    path: bytes
    offset: int
    whole: Description | None
    """Of a file that this blob is all of."""


class BlobOrder(msgspec.Struct, array_like=True):
    """A blob of a run; `offset` from the run's beginning."""

    id: bytes
    offset: int
    length: int
    raw_length: int
    pieces: list[PieceOrder]


class RunOrder(msgspec.Struct, array_like=True):
    """Blobs that one read brings: from `file`, or in `sealed`."""

    file: bytes | None
    sealed: bytes
    start: int
    length: int
    blobs: list[BlobOrder]


class RunResult(msgspec.Struct, array_like=True):
    """What was written; `damaged` numbers the blobs that could not be opened, of which nothing was written."""

    written: int
    damaged: list[int]
    problems: list[bytes]
    not_owned: dict[str, int]

    @property
    def troubles(self) -> Troubles:
        """What the extraction handed over."""
        return [os.fsdecode(problem) for problem in self.problems], self.not_owned


class PieceTaker(Protocol):
    """Takes proved pieces of files, from any number of threads, and keeps what could not be applied."""

    def write_whole(self, names: Names, data: Buffer, node: Node) -> None:
        """Take a file's only piece; the file is then done."""

    def write_piece(self, names: Names, data: Buffer, offset: int) -> None:
        """Take one of several pieces; where none comes, the file stays a hole."""

    def hand_over(self) -> Troubles:
        """Return the problems since the last time, and forget them."""

    def take_over(self, troubles: Troubles) -> None:
        """Keep problems that were handed over."""


class RunWriter:
    """Opens blobs and has them written; for one thread."""

    def __init__(self, key: MasterKey, taker: PieceTaker) -> None:
        self._key = key
        self._taker = taker
        self._scratch = Scratch()
        self._read = memoryview(b"")
        self._together = _Together(taker)

    def write(self, order: RunOrder) -> RunResult:
        """Write every blob of the run to all its places; raises SpaceError, BackupError. Nothing is under way then."""
        try:
            damaged, written = self._write(order)
            self._together.flush()
        except BaseException:
            self._together.forget()
            raise
        problems, not_owned = self._taker.hand_over()
        return RunResult(written, damaged, [os.fsencode(problem) for problem in problems], not_owned)

    def _write(self, order: RunOrder) -> tuple[list[int], int]:
        sealed = self._sealed(order)
        damaged = []
        written = 0
        for number, blob in enumerate(order.blobs):
            try:
                part = sealed[blob.offset : blob.offset + blob.length]
                data = self._scratch.open_blob(
                    self._key, part, wanted=BlobId(blob.id), raw_length=blob.raw_length, goes_to=blob.pieces[0].offset
                )
            except DamageError:
                damaged.append(number)
                continue
            if len(blob.pieces) == 1 and blob.pieces[0].whole is None and len(data) <= _SMALL and not is_zeros(data):
                self._together.add(blob.pieces[0], data)
            else:
                write_pieces(self._taker, blob.pieces, data)
            written += len(data) * len(blob.pieces)
        return damaged, written

    def _sealed(self, order: RunOrder) -> memoryview:
        if order.file is None:
            return memoryview(order.sealed)
        if len(self._read) < order.length + 2 * BLOCK:
            self._read = memoryview(mmap(-1, order.length + 2 * BLOCK))
        with suppress(OSError):  # what is missing is looked for elsewhere
            descriptor = os.open(order.file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return read_range(descriptor, order.start, order.length, self._read)
            finally:
                os.close(descriptor)
        return memoryview(b"")


class _Together:
    """Small pieces of one file that follow one another are written at once: each write costs as much as its bytes.

    While they are, the next ones are gathered: the disk and the processor work at the same time.
    """

    def __init__(self, taker: PieceTaker) -> None:
        self._taker = taker
        self._rooms = [memoryview(b""), memoryview(b"")]
        self._path = b""
        self._offset = 0
        self._shift = 0
        self._filled = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._writing: Future[None] | None = None

    def add(self, piece: PieceOrder, data: Buffer) -> None:
        """Take a piece; those before are written first when it does not follow them."""
        follows = piece.path == self._path and piece.offset == self._offset + self._filled
        if not self._filled or not follows or self._shift + self._filled + len(data) > _TOGETHER:
            self._hand_over()
            self._path, self._offset, self._shift = piece.path, piece.offset, piece.offset % PAGESIZE
        if not self._rooms[0]:
            self._rooms[0] = memoryview(mmap(-1, _TOGETHER + PAGESIZE))
        start = self._shift + self._filled
        self._rooms[0][start : start + len(data)] = data
        self._filled += len(data)

    def forget(self) -> None:
        """Drop what work that failed has left, once nothing of it is under way."""
        self._filled = 0
        if self._writing is not None:
            self._writing.exception()
            self._writing = None

    def flush(self) -> None:
        """Return when all is written; raises what a write met."""
        self._hand_over()
        self._finish()

    def _hand_over(self) -> None:
        if self._filled:
            data = self._rooms[0][self._shift : self._shift + self._filled]
            self._filled = 0
            self._finish()
            names = tuple(os.fsdecode(self._path).split("/"))
            self._writing = self._writer.submit(self._taker.write_piece, names, data, self._offset)
            self._rooms.reverse()

    def _finish(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()


def write_pieces(taker: PieceTaker, pieces: Sequence[PieceOrder], data: Buffer) -> None:
    """Write one blob to all its places."""
    hole = len(pieces) > 1 and is_zeros(data)  # looked at once: a sparse file has thousands of such pieces
    for piece in pieces:
        names = tuple(os.fsdecode(piece.path).split("/"))
        if piece.whole is not None:
            taker.write_whole(names, data, piece.whole.node())
        elif not hole:
            taker.write_piece(names, data, piece.offset)


def ordered(blob: WantedBlob, start: int) -> BlobOrder:
    """Return what a wanted blob of a run means."""
    pieces = [
        PieceOrder(
            os.fsencode("/".join(piece.file.names)),
            piece.offset,
            Description.of(piece.file.node) if len(piece.file.node.content or ()) == 1 else None,
        )
        for piece in blob.pieces
    ]
    return BlobOrder(blob.id, blob.place.offset - start, blob.place.length, blob.place.raw_length, pieces)


class _Setup(msgspec.Struct, array_like=True):
    key: bytes
    target: bytes


class Writers:
    """Processes that write, for one restore after the other; as a context manager it ends what it began."""

    def __init__(self) -> None:
        self._program: Program | None = None

    def begin(self) -> None:
        """Have what they need loaded, because there will be much to write."""
        if self._program is None:
            with suppress(BackupError):  # the crew tries again, and says why
                self._program = program_of(__name__)

    def crew(self, key: MasterKey, target: Path, *, members: int) -> Crew:
        """Return those that write runs below `target`."""
        setup = _Setup(key.to_bytes(), os.fsencode(target))
        return Crew(__name__, setup, members=members, program=self._program)

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._program is not None:
            self._program.end()


def written_by(member: Member, order: RunOrder) -> RunResult:
    """Have a member write a run."""
    member.send(order)
    return member.receive(RunResult)


def _work(setup: _Setup, messages: Messages) -> None:
    os.umask(0o077)
    extraction = Extraction(Path(os.fsdecode(setup.target)))
    extraction.open()
    key = MasterKey.from_bytes(setup.key)
    writer = RunWriter(key, extraction)
    while True:
        messages.answer(writer.write, messages.next(RunOrder))


if __name__ == "__main__":
    serve(_Setup, _work)
