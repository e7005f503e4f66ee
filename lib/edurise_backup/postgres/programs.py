"""Run PostgreSQL's client programs as streams: bytes out of one, or into one.

A program's end counts, not its stream's: bytes that ended cleanly are worth
nothing when the exit status is not 0. Its words (stderr) go to memory that is
no file on a disk, and are quoted in the error.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from edurise_backup.errors import ToolError

_WORDS_SHOWN = 8
_WORD_LENGTH = 300
_PIPE_BYTES = 1 << 20


class Program:
    """A running client program with one open end, `stdout` or `stdin`; leaving the context kills it."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        feed: bool = False,
        keep_output: bool = False,
    ) -> None:
        """Start `command`. `feed` opens its stdin for us; `keep_output` collects its stdout in memory.

        Raises ToolError when it cannot be started.
        """
        self.name = Path(command[0]).name
        self._words = os.memfd_create("stderr", os.MFD_CLOEXEC)
        self._output = os.memfd_create("stdout", os.MFD_CLOEXEC) if feed or keep_output else None
        try:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=subprocess.PIPE if self._output is None else self._output,
                stderr=self._words,
                env=dict(environment),
                cwd="/",
                bufsize=0,
            )
        except OSError as error:
            self._close_memory()
            raise ToolError(f"{self.name} cannot be started: {error.strerror}") from error
        pipe = self._process.stdin or self._process.stdout
        if pipe is not None:
            with suppress(OSError):  # beyond the user's allowance the pipe keeps its size
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer's beginning with what the program writes; 0 at the end of its stream."""
        assert self._process.stdout is not None
        return os.readv(self._process.stdout.fileno(), [buffer])

    def write(self, piece: bytes | bytearray | memoryview) -> bool:
        """Hand bytes to the program; False once it wants no more (it may have all that it needs)."""
        stdin = self._process.stdin
        if stdin is None or stdin.closed:
            return False
        view = memoryview(piece)
        try:
            while view:
                view = view[os.write(stdin.fileno(), view) :]
        except BrokenPipeError:
            stdin.close()
            return False
        return True

    @property
    def running(self) -> bool:
        """Whether the program has not ended yet."""
        return self._process.poll() is None

    def finish(self) -> None:
        """Wait for the program's end; raises ToolError with its last words unless the exit status is 0."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        status = self._process.wait()
        if status != 0:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
            # an error of COPY quotes the row, which may be long
            said = " | ".join(line[:_WORD_LENGTH] for line in self.words()[-_WORDS_SHOWN:]) or "it said nothing"
            raise ToolError(f"{self.name} {how}: {said}")

    def words(self) -> list[str]:
        """Return the lines that the program wrote to stderr so far."""
        return [line for line in _text_of(self._words).splitlines() if line.strip()]

    def output(self) -> str:
        """Return what the program wrote to stdout, when that is collected."""
        return _text_of(self._output) if self._output is not None else ""

    def close(self) -> None:
        """Kill the program if it still runs, and reap it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._close_memory()

    def kill(self) -> None:
        """Make the program end now; safe from any thread."""
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _close_memory(self) -> None:
        for descriptor in (self._words, self._output):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)
        self._words, self._output = -1, None


def warnings_of(words: list[str]) -> Iterator[str]:
    """Yield the lines that a person should know; not what is known to be harmless for these archives.

    Rows are loaded before any foreign key exists, so circular references among
    tables (which a data-only dump warns of) do not matter.
    """
    harmless = False
    for line in words:
        detail = ": detail: " in line or ": hint: " in line
        harmless = harmless if detail else "circular foreign-key constraints" in line
        if not harmless and not line.startswith((" ", "\t")):
            yield line.strip()


def _text_of(descriptor: int) -> str:
    if descriptor < 0:
        return ""
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode("utf-8", "replace")
