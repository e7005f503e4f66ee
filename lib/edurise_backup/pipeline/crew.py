"""Processes that work on batches of small files beside this one, and how they are talked to.

A member gets its key through a pipe, reads files and seals blobs; it never
opens a repository. Which blobs are new is decided here, where all of them are
known. A member ends when its pipe ends, so none outlives the backup.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import IO, TypeVar

import msgspec

from edurise_backup.errors import BackupError, DamageError
from edurise_backup.model.content import BlobId
from edurise_backup.pipeline.codec import MasterKey
from edurise_backup.pipeline.small_files import SealedBlob, SealSettings, SmallFiles
from edurise_backup.ports import FileState

_BATCHES_ALONE = 8
"""So many batches are worked on in this process: starting others costs more than a few hundred files."""
_LENGTH = 8

Claim = Callable[[Sequence[BlobId | None]], list[bool]]
"""Says of each blob whether it is to be sealed."""


class Setup(msgspec.Struct, array_like=True):
    """The first message to a member."""

    encrypt: bytes
    mac_k: bytes
    mac_r: bytes
    level: int | None
    check: bool


class Sealed(msgspec.Struct, array_like=True):
    """A member's answer: the wanted blobs, or why they cannot be had."""

    blobs: list[tuple[bytes, int, int]]
    damage: str = ""


_Answer = TypeVar("_Answer")
Wire = tuple[bytes, int, int, int, int, int, int, int, int]
"""A `FileState`, the path in the file system's bytes."""


class Crew:
    """Works on batches; safe from any number of threads, each of which waits for its own batch."""

    def __init__(self, key: MasterKey, settings: SealSettings, *, members: int) -> None:
        self._key = key
        self._settings = settings
        self._most = members
        self._idle: queue.SimpleQueue[_Member] = queue.SimpleQueue()
        self._members: list[_Member] = []
        self._guard = threading.Lock()
        self._batches = 0

    def work(self, files: Sequence[FileState], claim: Claim) -> tuple[list[BlobId | None], list[SealedBlob]]:
        """Return the files' ids, and the sealed blobs that were claimed; raises DamageError, BackupError."""
        member = self._take()
        if member is None:
            alone = SmallFiles(self._key, self._settings)
            ids = alone.read(files)
            return ids, alone.seal(claim(ids))
        ids = member.read(files)
        sealed = member.seal(claim(ids), ids)
        self._idle.put(member)  # not after an error: nobody knows then what it would answer
        return ids, sealed

    def close(self) -> None:
        """End all members."""
        with self._guard:
            members, self._members = self._members, []
        for member in members:
            member.end()

    def _take(self) -> _Member | None:
        with self._guard:
            self._batches += 1
            if self._batches <= _BATCHES_ALONE or self._most == 0:
                return None
            if self._idle.empty() and len(self._members) < self._most:
                member = _Member(self._key, self._settings)
                self._members.append(member)
                return member
        return self._idle.get()


class _Member:
    """One process; one thread talks to it at a time."""

    def __init__(self, key: MasterKey, settings: SealSettings) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edurise_backup.pipeline.crew_member"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._send(Setup(*key.parts(), settings.level, settings.check))

    def read(self, files: Sequence[FileState]) -> list[BlobId | None]:
        self._send([(file.path.encode("utf-8", "surrogateescape"), *file[1:]) for file in files])
        return self._receive(list[BlobId | None])

    def seal(self, wanted: list[bool], ids: Sequence[BlobId | None]) -> list[SealedBlob]:
        self._send(wanted)
        answer = self._receive(Sealed)
        if answer.damage:
            raise DamageError(
                answer.damage,
                safe="everything that was published before; the damaged blob was not stored",
                hint="test this machine's memory, then run the backup again",
            )
        names = [name for name, yes in zip(ids, wanted, strict=True) if yes and name is not None]
        return [SealedBlob(name, *blob) for name, blob in zip(names, answer.blobs, strict=True)]

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for stream in (self._process.stdin, self._process.stdout):
            try:
                stream.close()
            except OSError:  # it is gone already
                continue
        self._process.wait()

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        try:
            write_message(self._process.stdin, message)
        except OSError as error:
            raise self._gone() from error

    def _receive(self, kind: type[_Answer]) -> _Answer:
        assert self._process.stdout is not None
        try:
            content = read_message(self._process.stdout)
        except OSError as error:
            raise self._gone() from error
        if content is None:
            raise self._gone()
        return msgspec.msgpack.decode(content, type=kind)

    def _gone(self) -> BackupError:
        return BackupError(
            "a process that reads small files ended before its work was done",
            safe="everything that was published before; nothing of this run was published",
            hint="see whether the system killed it for lack of memory, then run the backup again",
        )


def write_message(stream: IO[bytes], message: object) -> None:
    """Write a message and its length; raises OSError."""
    content = msgspec.msgpack.encode(message)
    stream.write(len(content).to_bytes(_LENGTH, "little") + content)
    stream.flush()


def read_message(stream: IO[bytes]) -> bytes | None:
    """Return the next message, or None at the end of the stream; raises OSError."""
    head = stream.read(_LENGTH)
    if len(head) < _LENGTH:
        return None
    length = int.from_bytes(head, "little")
    content = stream.read(length)
    return content if len(content) == length else None
