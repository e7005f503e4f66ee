"""Processes that work beside this one, and how they are talked to.

One process runs Python on one core only, and a small file costs Python more
than it costs the machine. So work on batches goes to members: processes of
this program that answer messages (MessagePack, each behind its length) until
their input ends; none outlives who started it. A member gets its key through
that pipe and never opens a repository: what is decided is decided here. Bytes
by the megabyte do not go through a pipe but through the member's arena, memory
that both see.
"""

from __future__ import annotations

import fcntl
import gc
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from mmap import mmap
from typing import IO, ParamSpec, TypeVar

import msgspec

from edurise_backup.errors import BackupError, DamageError, SpaceError
from edurise_backup.machine import sampling
from edurise_backup.machine.environment import for_helpers
from edurise_backup.machine.sampling import Sampler, Spent

_LENGTH = 8
_PIPE = 1024 * 1024
"""Bytes that a member may answer ahead of whoever reads it; Linux allows no more to an ordinary user."""
_PROFILED = "profile"
"""A member's last word: it tells where its time went."""
_CLASSES = {cls.__name__: cls for cls in (BackupError, DamageError, SpaceError)}

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


class Crew:
    """Members of one kind, started as they are needed; safe from any number of threads."""

    def __init__(self, module: str, setup: object, *, members: int, arena: int = 0) -> None:
        """`module` is run as a program; `setup` is its first message; at most `members` run at once.

        `arena`: bytes of memory that each shares with this process.
        """
        self._module = module
        self._setup = setup
        self._arena = arena
        self.room = members
        self._idle: queue.LifoQueue[Member | None] = queue.LifoQueue()
        """Members that wait for work; None is room for a new one."""
        for _ in range(members):
            self._idle.put(None)
        self._all: list[Member] = []
        self._guard = threading.Lock()

    def start(self) -> None:
        """Start all members now: they load while other things are made ready. Called before any was lent."""
        places = [self._idle.get() for _ in range(self.room)]
        for number in range(len(places)):
            with suppress(BackupError):  # whoever needs it tries again, and hears why
                places[number] = self._new()
        for place in places:
            self._idle.put(place)

    @contextmanager
    def member(self) -> Iterator[Member]:
        """Lend a member to this thread; one that had it when an error came is ended, as its state is not known."""
        member = self._idle.get()
        try:
            member = member or self._new()
            yield member
        except BaseException:
            if member is not None:
                member.end()
            self._idle.put(None)
            raise
        self._idle.put(member)

    def close(self) -> None:
        """End all members."""
        with self._guard:
            members, self._all = self._all, []
        for member in members:
            member.end()

    def _new(self) -> Member:
        member = Member(self._module, self._setup, arena=self._arena)
        with self._guard:
            self._all.append(member)
        return member


class Member:
    """One process; one thread talks to it at a time."""

    def __init__(self, module: str, setup: object, *, arena: int = 0) -> None:
        answers, its_answers = os.pipe()
        shared = os.memfd_create("arena") if arena else its_answers
        try:
            self.arena = _arena(shared, arena)
            # -P: a file that lies in the present directory is no code of ours, and must not see the key
            command = [sys.executable, "-P", "-m", module, str(its_answers), str(shared), str(arena)]
            self._sampler = sampling.running()
            if self._sampler is not None:
                command.append(_PROFILED)
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds={its_answers, shared},
                env=for_helpers(os.environ),
            )
        except OSError as error:
            os.close(answers)
            raise BackupError(
                f"no further process can be started: {error.strerror}",
                safe="everything that was published before",
                hint="see what else runs on this machine and how many processes this user may have (ulimit -u)",
            ) from error
        finally:
            for descriptor in {its_answers, shared}:
                os.close(descriptor)
        with suppress(OSError):  # a smaller pipe serves, too
            fcntl.fcntl(answers, fcntl.F_SETPIPE_SZ, _PIPE)
        self._answers = os.fdopen(answers, "rb")
        try:
            self.send(setup)
        except BackupError:
            self.end()
            raise

    def send(self, message: object) -> None:
        """Send one message."""
        assert self._process.stdin is not None
        try:
            _write(self._process.stdin, msgspec.msgpack.encode(message))
        except OSError as error:
            raise _gone() from error

    def receive(self, kind: type[Answer]) -> Answer:
        """Return the next answer; raises what the member raised, BackupError when it is gone."""
        try:
            content = _read(self._answers)
        except OSError as error:
            raise _gone() from error
        if content is None:
            raise _gone()
        if content[:1] == b"!":
            failure = msgspec.msgpack.decode(memoryview(content)[1:], type=Failure)
            raise _CLASSES.get(failure.kind, BackupError)(
                os.fsdecode(failure.message), safe=os.fsdecode(failure.safe), hint=os.fsdecode(failure.hint)
            )
        return msgspec.msgpack.decode(memoryview(content)[1:], type=kind)

    def end(self) -> None:
        """Let the process end."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it is gone already
            self._process.stdin.close()
        if self._sampler is not None:
            self._hear_what_it_spent(self._sampler)
        self._answers.close()
        self._process.wait()

    def _hear_what_it_spent(self, sampler: Sampler) -> None:
        """Read to the end of its answers, where it tells."""
        with suppress(OSError, msgspec.MsgspecError):
            while (content := _read(self._answers)) is not None:
                if content[:1] == b"#":
                    sampler.take_in(msgspec.msgpack.decode(memoryview(content)[1:], type=dict[str, Spent]))


class Messages:
    """A member's side: what it is asked, and its answers."""

    def __init__(self) -> None:
        answers, shared, arena = map(int, sys.argv[1:4])  # as `Member` calls us
        self.arena = _arena(shared, arena)
        self._asked: IO[bytes] = sys.stdin.buffer
        self._answers: IO[bytes] = os.fdopen(answers, "wb")

    def next(self, kind: type[Answer]) -> Answer:
        """Return the next message; the process ends when there is none."""
        content = _read(self._asked)
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
        _write(self._answers, content)

    def tell(self, spent: dict[str, Spent]) -> None:
        """Say where the time went; the last thing that is said."""
        with suppress(OSError):
            _write(self._answers, b"#" + msgspec.msgpack.encode(spent))


def serve(setup: type[Setup], work: Callable[[Setup, Messages], None]) -> None:
    """Be a member: do `work`, over and over, until the input ends."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # both are for who started us, who then ends our input
        signal.signal(stop, signal.SIG_IGN)
    gc.disable()  # batch after batch of objects that never go in circles
    messages = Messages()
    sampler = Sampler()
    try:
        with sampler if _PROFILED in sys.argv else nullcontext():
            work(messages.next(setup), messages)
    except BrokenPipeError:  # nobody reads our answers any more
        os._exit(0)
    finally:
        if _PROFILED in sys.argv:
            messages.tell(sampler.spent())


def _arena(descriptor: int, size: int) -> memoryview:
    if not size:
        return memoryview(b"")
    os.ftruncate(descriptor, size)
    return memoryview(mmap(descriptor, size))


def _failed(error: BackupError) -> bytes:
    text = (os.fsencode(part) for part in (error.message, error.safe, error.hint))
    return b"!" + msgspec.msgpack.encode(Failure(type(error).__name__, *text))


def _gone() -> BackupError:
    return BackupError(
        "a process of this command ended before its work was done",
        safe="everything that was published before",
        hint="see whether the system killed it for lack of memory, then run the command again",
    )


def _write(stream: IO[bytes], content: bytes) -> None:
    stream.write(len(content).to_bytes(_LENGTH, "little"))
    stream.write(content)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes | None:
    head = stream.read(_LENGTH)
    if len(head) < _LENGTH:
        return None
    length = int.from_bytes(head, "little")
    content = stream.read(length)
    return content if len(content) == length else None
