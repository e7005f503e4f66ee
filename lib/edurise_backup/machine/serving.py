"""The side of a process that works for another one: what a crew's members (`machine/crew`) run."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from mmap import mmap
from typing import IO, NamedTuple, NoReturn, ParamSpec, TypeVar

import msgspec

from edurise_backup.errors import BackupError
from edurise_backup.machine.sampling import Sampler, Spent

LENGTH = 8
"""Bytes of a message's length, little-endian, in front of it."""
ALONE = "alone"
"""A program's word: it is a member itself, and forks none."""
ALSO = "also="
"""The beginning of another one: the name of a module that its members will need."""
PROFILED = "profile"
"""Another one: members tell in the end where their time went."""

Answer = TypeVar("Answer")
Asked = ParamSpec("Asked")
Setup = TypeVar("Setup")


class Failure(msgspec.Struct, array_like=True):
    """An error of a member, raised again where its answer is waited for."""

    kind: str
    message: bytes
    safe: bytes
    hint: bytes
    """Text may name files, and names need not be UTF-8: as in the file system's encoding."""


class _Places(NamedTuple):
    """What a member begins with: descriptors of its input, its output and its arena, and the arena's size."""

    asked: int
    answers: int
    shared: int
    arena: int

    def close(self) -> None:
        """Close them here."""
        for descriptor in (self.asked, self.answers, self.shared):
            os.close(descriptor)


class Messages:
    """A member's side: what it is asked, and its answers."""

    def __init__(self, places: _Places) -> None:
        self.arena = arena_of(places.shared, places.arena)
        self._asked: IO[bytes] = os.fdopen(places.asked, "rb")
        self._answers: IO[bytes] = os.fdopen(places.answers, "wb")

    def next(self, kind: type[Answer]) -> Answer:
        """Return the next message; the process ends when there is none."""
        content = read_message(self._asked)
        if content is None:
            raise SystemExit(0)
        return msgspec.msgpack.decode(content, type=kind)

    def say(self, answer: object) -> None:
        """Send one answer."""
        self.answer(lambda: answer)

    def answer(self, work: Callable[Asked, object], *args: Asked.args, **named: Asked.kwargs) -> None:
        """Send what `work` returns, or the error that it raises."""
        try:
            content = b"." + msgspec.msgpack.encode(work(*args, **named))
        except BackupError as error:
            content = _failed(error)
        except Exception as error:  # noqa: BLE001  the process's border: whoever waits must hear of it
            content = _failed(BackupError(f"{type(error).__name__}: {error}", hint="this is a defect: report it"))
        write_message(self._answers, content)

    def tell(self, spent: dict[str, Spent]) -> None:
        """Say where the time went; the last thing that is said."""
        with suppress(OSError):
            write_message(self._answers, b"#" + msgspec.msgpack.encode(spent))


def serve(setup: type[Setup], work: Callable[[Setup, Messages], None]) -> NoReturn:
    """Be a program of members, which do `work`, over and over, until their input ends; ends the process."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # both are for who started us, who then ends our input
        signal.signal(stop, signal.SIG_IGN)
    for word in sys.argv:
        if word.startswith(ALSO):
            importlib.import_module(word.removeprefix(ALSO))
    gc.disable()  # batch after batch of objects that never go in circles
    with socket.socket(fileno=int(sys.argv[1])) as asking:  # as `Program` calls us
        while (asked := _asked(asking)) is not None:
            if ALONE in sys.argv or _is_fork(asked):
                asking.close()
                _be_member(Messages(asked), setup, work)
            asked.close()
    with suppress(ChildProcessError):  # there is none left
        while True:
            os.wait()
    os._exit(0)  # whoever waits for us need not wait until everything is taken apart


def _asked(asking: socket.socket) -> _Places | None:
    """Return what the next member begins with; None when none will be asked for any more."""
    arena, descriptors, _, _ = socket.recv_fds(asking, LENGTH, 3)
    if not arena:
        return None
    asked, answers, shared = descriptors
    return _Places(asked, answers, shared, int.from_bytes(arena, "little"))


def _is_fork(places: _Places) -> bool:
    """Fork; whether this is the new process. Whoever waits for its answers hears why there is none.

    What is loaded so far is the same in all of them: a number that must be used only once, as a nonce, is the system's.
    """
    try:
        return os.fork() == 0
    except OSError as error:
        with os.fdopen(os.dup(places.answers), "wb") as stream, suppress(OSError):
            write_message(stream, _failed(none_started(error)))
        return False


def _be_member(messages: Messages, setup: type[Setup], work: Callable[[Setup, Messages], None]) -> NoReturn:
    sampler = Sampler()
    with (
        suppress(SystemExit, BrokenPipeError),  # nobody asks any more, or reads our answers
        sampler if PROFILED in sys.argv else nullcontext(),
    ):
        work(messages.next(setup), messages)
    if PROFILED in sys.argv:
        messages.tell(sampler.spent())
    os._exit(0)


def arena_of(descriptor: int, size: int) -> memoryview:
    """Return so many bytes of memory that whoever has the descriptor sees, too."""
    if not size:
        return memoryview(b"")
    os.ftruncate(descriptor, size)
    return memoryview(mmap(descriptor, size))


def _failed(error: BackupError) -> bytes:
    text = (os.fsencode(part) for part in (error.message, error.safe, error.hint))
    return b"!" + msgspec.msgpack.encode(Failure(type(error).__name__, *text))


def none_started(error: OSError) -> BackupError:
    """Return what to say where the system starts no process."""
    return BackupError(
        f"no further process can be started: {error.strerror}",
        safe="everything that was published before",
        hint="see what else runs on this machine and how many processes this user may have (ulimit -u)",
    )


def write_message(stream: IO[bytes], content: bytes) -> None:
    """Send a message behind its length; raises OSError."""
    stream.write(len(content).to_bytes(LENGTH, "little"))
    stream.write(content)
    stream.flush()


def read_message(stream: IO[bytes]) -> bytes | None:
    """Return the next message; None at the end. Raises OSError."""
    head = stream.read(LENGTH)
    if len(head) < LENGTH:
        return None
    length = int.from_bytes(head, "little")
    content = stream.read(length)
    return content if len(content) == length else None
