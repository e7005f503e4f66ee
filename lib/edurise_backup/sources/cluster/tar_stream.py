"""Read the archives of a base backup from its stream, name by name; nothing is extracted, nothing waits on a disk.

Source: POSIX ustar as PostgreSQL's `src/port/tar.c` writes it. A name can be
read only when the bytes of the one before it have been.
"""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import crc32c

from edurise_backup.errors import SourceError
from edurise_backup.model.content import Node
from edurise_backup.postgres.replication import Archive, Manifest, Part, Position

_BLOCK = 512
_SAFE = "nothing was published"
_PATIENCE = 0.5
"""Seconds between looks at whether somebody has given up."""


class Member(NamedTuple):
    """One name of an archive."""

    name: str
    header: tarfile.TarInfo


class Seen(NamedTuple):
    """What was read of a file: its size and CRC-32C, for the manifest."""

    size: int
    checksum: int


class TarStream:
    """The stream of a base backup: archive after archive, then the manifest, then where it ends."""

    def __init__(self, parts: Iterator[Part], alive: Callable[[], None]) -> None:
        """`alive` raises when the work was cancelled; asked while somebody waits for a reader."""
        self._parts = parts
        self._alive = alive
        self._left = memoryview(b"")
        self._next: Part | None = None
        self._open: TarContent | None = None
        self._peeked: Member | None = None
        self._in_archive = False

    def next_archive(self) -> Archive | None:
        """Go on to the next archive; None when there are no more. What is left of this one is passed over."""
        while self.peek() is not None:
            self.take()
        part = self._part()
        if isinstance(part, Archive):
            self._left, self._in_archive = memoryview(b""), True
            return part
        self._next = part
        return None

    def peek(self) -> Member | None:
        """Return the archive's next name without taking it; None at its end."""
        self._finish_open()
        if self._peeked is None and self._in_archive:
            header = self._exactly(_BLOCK)
            if header is None or not any(header):
                self._in_archive = False  # two blocks of zeros, or nothing (before version 15), end an archive
                self._skip_data()
                return None
            try:
                found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            except tarfile.TarError as error:
                raise SourceError(
                    f"the server's archive cannot be read: {error}", safe="nothing was published"
                ) from error
            self._peeked = Member(found.name.removeprefix("./").rstrip("/"), found)
        return self._peeked

    def take(self) -> Member:
        """Take the name that was peeked at; the bytes of a file that nobody opens are passed over."""
        member = self.peek()
        assert member is not None
        self._peeked = None
        self._open = TarContent(self, member.header.size if member.header.isreg() else 0)
        return member

    def content(self, node: Node, done: Callable[[Seen], None]) -> TarContent:
        """Open the file that was taken last; `done` hears what was read of it."""
        assert self._open is not None
        self._open.opened(node, done)
        return self._open

    def await_reader(self) -> None:
        """Wait until the file that was taken last has been read."""
        if self._open is not None:
            while not self._open.closed.wait(_PATIENCE):
                self._alive()

    def manifest(self) -> tuple[bytes, Position]:
        """Return the manifest and where the backup ends; raises SourceError when the stream is another one."""
        pieces = []
        while not isinstance(part := self._part(), Position):
            if part is None or isinstance(part, Archive):
                raise SourceError("the server's base backup ended early", safe=_SAFE)
            if not isinstance(part, Manifest):
                pieces.append(bytes(part))
        return b"".join(pieces), part

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer's beginning with the archive's bytes; 0 at its end."""
        if not self._left and not self._more():
            return 0
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def skip(self, count: int) -> None:
        """Pass over bytes of the archive."""
        while count:
            if not self._left and not self._more():
                raise SourceError("the server's archive ended within a file", safe=_SAFE)
            step = min(count, len(self._left))
            self._left = self._left[step:]
            count -= step

    def _finish_open(self) -> None:
        if self._open is not None:
            self._open.skip_rest()
            self._open = None

    def _exactly(self, count: int) -> bytes | None:
        room = bytearray(count)
        at = 0
        while at < count:
            got = self.readinto(memoryview(room)[at:])
            if not got:
                return None
            at += got
        return bytes(room)

    def _skip_data(self) -> None:
        while self._left or self._more():
            self._left = memoryview(b"")

    def _more(self) -> bool:
        part = self._part()
        if isinstance(part, bytes | memoryview):
            self._left = memoryview(part)
            return True
        self._next = part
        return False

    def _part(self) -> Part | None:
        part, self._next = self._next, None
        return part if part is not None else next(self._parts, None)


class TarContent:
    """A file of the archive that is being read; a `ports.Content`."""

    node: Node

    def __init__(self, stream: TarStream, size: int) -> None:
        self.closed = threading.Event()
        self._stream = stream
        self._size = self._left = size
        self._checksum = 0
        self._done: Callable[[Seen], None] | None = None

    def opened(self, node: Node, done: Callable[[Seen], None]) -> None:
        """Say what it is read for."""
        self.node, self._done = node, done

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer's beginning; 0 at the end."""
        count = self._stream.readinto(buffer[: self._left]) if self._left else 0
        if self._left and not count:
            raise SourceError("the server's archive ended within a file", safe=_SAFE)
        self._checksum = crc32c.crc32c(buffer[:count], self._checksum)
        self._left -= count
        return count

    def skip_hole(self, back: int, unit: int) -> int:
        """There are none."""
        return 0

    def finish(self) -> str | None:
        """Tell what was read."""
        if self._done is not None:
            self._done(Seen(self._size, self._checksum))
        return None

    def close(self) -> None:
        """Let the stream go on."""
        self.closed.set()

    def skip_rest(self) -> None:
        """Pass over what nobody has read, and the padding behind it."""
        self._stream.skip(self._left + -self._size % _BLOCK)
        self._left = 0
