"""What the command line shows: progress on a terminal, JSON for scripts, errors in three parts."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import msgspec

from edurise_backup.errors import BackupError
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.monitoring.redaction import REDACTOR

if TYPE_CHECKING:
    from edurise_backup.machine.sampling import Spent

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


@dataclass(slots=True)
class Output:
    """How this run speaks, from the global options."""

    json: bool = False
    quiet: bool = False
    under_way: SilentProgress | None = field(default=None, repr=False)
    """The work that a person may cancel now."""

    def result(self, value: object, text: str, *, even_quiet: str = "") -> None:
        """Print the command's result: one JSON document, or text; with -q only what must not be missed."""
        shown = as_json(value) if self.json else even_quiet if self.quiet else text
        if shown:
            _print(REDACTOR.without_known(shown))

    def error(self, error: BackupError) -> None:
        """Print what happened, what is safe, what to do."""
        clean = REDACTOR.clean
        if self.json:
            parts = {"error": clean(error.message), "safe": clean(error.safe), "hint": clean(error.hint)}
            text = as_json({**parts, "exit_status": error.exit_status})
        else:
            text = "\n".join(printable(clean(line)) for line in error.lines())
        with suppress(OSError):  # nobody is there to read it; the exit status says it, too
            sys.stderr.write(text + "\n")

    def spent(self, stages: Mapping[str, Spent], seconds: float) -> None:
        """Print where the time went to standard error, the most work first: CPU, and wall time, of all threads."""
        ordered = dict(sorted(stages.items(), key=lambda item: (-item[1].cpu, -item[1].wall)))
        if self.json:
            figures = {stage: {"cpu": round(one.cpu, 3), "wall": round(one.wall, 3)} for stage, one in ordered.items()}
            text = as_json({"seconds": round(seconds, 3), "stages": figures})
        else:
            rows = [[stage, f"{one.cpu:.2f}", f"{one.wall:.2f}"] for stage, one in ordered.items()]
            cpu = sum(one.cpu for one in stages.values())
            text = table(["Stage", "CPU s", "Wall s"], [*rows, ["all", f"{cpu:.2f}", f"{seconds:.2f}"]])
        with suppress(OSError):
            sys.stderr.write(text + "\n")

    def raise_if_cancelled(self) -> None:
        """Raise CancelledError when a person asked to stop: for what waits without knowing whose work it does."""
        if self.under_way is not None:
            self.under_way.raise_if_cancelled()

    @contextmanager
    def progress(self) -> Iterator[SilentProgress]:
        """Give a progress that a terminal shows, and that Ctrl-C and SIGTERM cancel; the second one kills."""
        shown = sys.stderr.isatty() and not (self.json or self.quiet)
        progress = TerminalProgress() if shown else SilentProgress()

        def stop(_signal: int, _frame: FrameType | None) -> None:
            progress.cancel()
            restore()

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        self.under_way = progress
        try:
            yield progress
        finally:
            self.under_way = None
            restore()
            if isinstance(progress, TerminalProgress):
                progress.close()


class TerminalProgress(SilentProgress):
    """One line on standard error: phase, bytes, files, rate, time left; nothing more once the terminal is gone."""

    def __init__(self) -> None:
        super().__init__()
        self._gone = False
        self._guard = threading.Lock()
        self._begin("starting", None)

    def _begin(self, name: str, bytes_total: int | None) -> None:
        self._name, self._total, self._bytes, self._files = name, bytes_total, 0, 0
        self._started = time.monotonic()
        self._shown = 0.0

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        """Begin a new count."""
        with self._guard:
            self._begin(name, bytes_total)
            self._show()

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Count, and redraw ten times a second at most."""
        with self._guard:
            self._bytes += bytes_done
            self._files += files_done
            if time.monotonic() - self._shown > 0.1:
                self._show()

    def close(self) -> None:
        """Clear the line."""
        self._draw("")

    def _show(self) -> None:
        self._shown = time.monotonic()
        elapsed = self._shown - self._started
        rate = self._bytes / elapsed if elapsed > 0.5 else 0.0
        line = f"{self._name}  {size(self._bytes)}"
        if self._total:
            line += f" of {size(self._total)}"
        if self._files:
            line += f"  {self._files} files"
        if rate:
            line += f"  {size(int(rate))}/s"
            if self._total and self._bytes:
                line += f"  {duration((self._total - self._bytes) / rate)} left"
        self._draw(line)

    def _draw(self, line: str) -> None:
        if self._gone:
            return
        try:
            sys.stderr.write(f"\r\033[K{line}")
            sys.stderr.flush()
        except OSError:  # the work matters more than who watches it
            self._gone = True


def as_json(value: object) -> str:
    """Return a value as one JSON document.

    A byte of a name that is not UTF-8 becomes the four characters `\\xNN`: JSON
    has no way to hold it that every reader accepts.
    """
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except UnicodeEncodeError:
        return msgspec.json.encode(_as_text(msgspec.to_builtins(value, enc_hook=str))).decode()


def _as_text(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        case dict():
            return {_as_text(key): _as_text(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_as_text(inner) for inner in value]
        case _:
            return value


def _print(text: str) -> None:
    """Write to standard output; who reads it may be gone, and the command's exit status stays what it is."""
    try:
        try:
            sys.stdout.write(text + "\n")
        except UnicodeEncodeError:  # a name that is not UTF-8, or a terminal that is not
            encoding = sys.stdout.encoding
            sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except OSError as error:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())  # else Python tries again when it ends
        if not isinstance(error, BrokenPipeError):
            raise BackupError(
                f"the result cannot be printed: {error.strerror}", safe="what was done", hint="see the output's disk"
            ) from error


def size(count: float) -> str:
    """Return a number of bytes as people read it: 1.5 MiB."""
    value = float(count)
    for unit in UNITS:
        if abs(value) < 1024 or unit == UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def duration(seconds: float) -> str:
    """Return a duration as people read it: 1 h 02 min, 3 min 05 s, 4.2 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return rows under a head, in columns; control characters in names are shown escaped."""
    lines = [head, *[[printable(cell) for cell in row] for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([shown[0], "-" * len(shown[0]), *shown[1:]])


def printable(text: str) -> str:
    """Return text that cannot move the cursor or break a line: a file's name is data."""
    return "".join(
        char
        if char.isprintable()
        else char.encode("unicode_escape", "surrogateescape").decode()
        if not "\udc80" <= char <= "\udcff"
        else f"\\x{ord(char) - 0xDC00:02x}"
        for char in text
    )
