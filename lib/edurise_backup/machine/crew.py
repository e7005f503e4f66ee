"""Processes that work beside this one, and how they are talked to.

One process runs Python on one core only, and a small file costs Python more
than it costs the machine. So work on batches goes to members: processes of
this program that answer messages (MessagePack, each behind its length) until
their input ends; none outlives who started it. Loading Python and what they
need costs more than much of their work, so one process loads it, and the others
are forks of that one. A member gets its key through that pipe and never opens a
repository: what is decided is decided here. Bytes by the megabyte do not go
through a pipe but through the member's arena, memory that both see.
"""

from __future__ import annotations

import fcntl
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, TypeVar

import msgspec

from edurise_backup.errors import BackupError, DamageError, SpaceError
from edurise_backup.machine import sampling
from edurise_backup.machine.environment import for_helpers
from edurise_backup.machine.sampling import Sampler, Spent
from edurise_backup.machine.serving import (
    ALONE,
    ALSO,
    LENGTH,
    PROFILED,
    Failure,
    arena_of,
    none_started,
    read_message,
    write_message,
)

_PIPE = 1024 * 1024
"""Bytes that a member may answer ahead of whoever reads it; Linux allows no more to an ordinary user."""
_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1"}
"""Numpy's: a process with threads is not to be forked, and none of ours multiplies matrices."""
_CLASSES = {cls.__name__: cls for cls in (BackupError, DamageError, SpaceError)}

Answer = TypeVar("Answer")


_begun: dict[str, Program] = {}
"""Programs that were begun on a guess and not asked for yet, by their module."""


def begin(module: str) -> None:
    """Have a program loaded that a crew will probably need soon; if none does, it ends with this process."""
    with suppress(BackupError):  # whoever needs it tries again, and hears why
        _begun[module] = Program(module)


def program_of(module: str, *, also: Sequence[str] = ()) -> Program:
    """Return the program that was begun, or a new one; raises BackupError."""
    program = _begun.pop(module, None)
    return Program(module, also=also) if program is None or program.ended else program


class Crew:
    """Members of one kind, started as they are needed; safe from any number of threads."""

    def __init__(
        self, module: str, setup: object, *, members: int, arena: int = 0, program: Program | None = None
    ) -> None:
        """`module` is run as a program; `setup` is each member's first message; at most `members` run at once.

        `arena`: bytes of memory that each shares with this process. `program`: the module's, begun before; whoever
        began it ends it.
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
        self._program = program
        self._lent = program
        self._needed: set[str] = set()
        self._guard = threading.Lock()

    @property
    def begun(self) -> bool:
        """Whether there is a process already."""
        return self._program is not None

    def will_need(self, module: str) -> None:
        """Have a module loaded before there are members, each of which would load it; later it has no effect."""
        self._needed.add(module)

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
        """End all members; those of the program that runs have ended afterwards."""
        with self._guard:
            members, self._all = self._all, []
            program, self._program = self._program, None
        for member in members:
            member.end()
        if program is not None and program is not self._lent:
            program.end()

    def _new(self) -> Member:
        with self._guard:
            if self._program is None or self._program.ended:
                self._program = program_of(self._module, also=sorted(self._needed))
            member = Member(self._program, self._setup, arena=self._arena)
            self._all.append(member)
        return member


class Program:
    """A program of members, which loads what they need once: each member is a fork of it.

    `also`: further modules that it loads. `alone`: it is itself the only member.
    """

    def __init__(self, module: str, *, also: Sequence[str] = (), alone: bool = False) -> None:
        self._asking, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.alone = alone
        self.sampler = sampling.running()
        # -P: a file that lies in the present directory is no code of ours, and must not see the key
        words = [sys.executable, "-P", "-m", module, str(asked.fileno())]
        words += [ALONE] * alone + [PROFILED] * (self.sampler is not None) + [f"{ALSO}{name}" for name in also]
        with asked:
            try:
                self._process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds={asked.fileno()},
                    env={**for_helpers(os.environ), **_NO_THREADS},
                )
            except OSError as error:
                self._asking.close()
                raise none_started(error) from error

    @property
    def ended(self) -> bool:
        """Whether there is none of it any more."""
        return self._process.poll() is not None

    def ask(self, descriptors: Sequence[int], arena: int) -> None:
        """Have a member begin with these: its input, its output, and where that has a size, its arena."""
        try:
            socket.send_fds(self._asking, [arena.to_bytes(LENGTH, "little")], descriptors)
        except OSError as error:
            raise _gone() from error

    def end(self) -> None:
        """Return when it and all its members have ended, whose inputs were closed before."""
        self._asking.close()
        self._process.wait()


class Member:
    """One process; one thread talks to it at a time."""

    def __init__(self, program: Program, setup: object, *, arena: int = 0) -> None:
        asked, questions = os.pipe()
        answers, its_answers = os.pipe()
        shared = os.memfd_create("arena") if arena else its_answers
        self._program = program
        self._questions: IO[bytes] = os.fdopen(questions, "wb")
        self._answers: IO[bytes] = os.fdopen(answers, "rb")
        with suppress(OSError):  # a smaller pipe serves, too
            fcntl.fcntl(answers, fcntl.F_SETPIPE_SZ, _PIPE)
        try:
            self.arena = arena_of(shared, arena)
            program.ask([asked, its_answers, shared], arena)
            self.send(setup)
        except BaseException:
            self.end()
            raise
        finally:
            for descriptor in {asked, its_answers, shared}:
                os.close(descriptor)

    def send(self, message: object) -> None:
        """Send one message."""
        try:
            write_message(self._questions, msgspec.msgpack.encode(message))
        except OSError as error:
            raise _gone() from error

    def receive(self, kind: type[Answer]) -> Answer:
        """Return the next answer; raises what the member raised, BackupError when it is gone."""
        try:
            content = read_message(self._answers)
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
        """Let the process end; only `Program.end` waits for one that is a fork."""
        with suppress(OSError):  # it is gone already
            self._questions.close()
        if self._program.sampler is not None:
            self._hear_what_it_spent(self._program.sampler)
        self._answers.close()
        if self._program.alone:
            self._program.end()

    def _hear_what_it_spent(self, sampler: Sampler) -> None:
        """Read to the end of its answers, where it tells."""
        with suppress(OSError, msgspec.MsgspecError):
            while (content := read_message(self._answers)) is not None:
                if content[:1] == b"#":
                    sampler.take_in(msgspec.msgpack.decode(memoryview(content)[1:], type=dict[str, Spent]))


def _gone() -> BackupError:
    return BackupError(
        "a process of this command ended before its work was done",
        safe="everything that was published before",
        hint="see whether the system killed it for lack of memory, then run the command again",
    )
