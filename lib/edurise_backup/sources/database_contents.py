"""The files that a database source offers: streams of pg_dump, and texts that wait for them.

An error here must end the backup: a database without one of its archives is
no backup of it. So whatever goes wrong is raised as something else than
SourceError, which would only leave this file out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path

from edurise_backup.errors import BackupError, CancelledError, SourceError, ToolError
from edurise_backup.model.content import Node
from edurise_backup.postgres.programs import Program, warnings_of


class DumpContent:
    """What a dump program writes, while its table of contents is read along.

    `listed` gets the table of contents (empty without `listing`) when the
    program has ended well, or the error.
    """

    def __init__(
        self,
        node: Node,
        command: Sequence[str | Path],
        *,
        environment: dict[str, str],
        turn: AbstractContextManager[object],
        listed: Future[str],
        report: Callable[[str], None],
        listing: Sequence[str | Path] = (),
        check: Callable[[str], None] | None = None,
    ) -> None:
        self.node = node
        self._listed = listed
        self._report = report
        self._check = check
        self._turn = turn
        self._listing: Program | None = None
        self._open = False
        try:
            turn.__enter__()
            try:
                if listing:
                    self._listing = Program(listing, environment=environment, feed=True)
                self._program = Program(command, environment=environment)
            except BaseException:
                if self._listing is not None:
                    self._listing.close()
                turn.__exit__(None, None, None)
                raise
        except BaseException as error:
            _fail(listed, error)
            raise
        self._open = True

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer's beginning with the dump's next bytes; 0 at its end."""
        count = self._program.readinto(buffer)
        if self._listing is not None and count:
            self._listing.write(buffer[:count])
        return count

    def skip_hole(self, back: int, unit: int) -> int:
        """There are none."""
        return 0

    def finish(self) -> None:
        """Wait for the program's end; raises ToolError unless it and its table of contents are right."""
        try:
            self._program.finish()
            for line in warnings_of(self._program.words()):
                self._report(line)
            text = ""
            if self._listing is not None:
                self._listing.finish()
                text = self._listing.output()
            if self._check is not None:
                self._check(text)
        except BaseException as error:
            _fail(self._listed, error)
            raise
        self._listed.set_result(text)

    def close(self) -> None:
        """Kill what still runs; a dump that did not finish counts as failed."""
        if not self._open:
            return
        self._open = False
        _fail(self._listed, CancelledError("the dump was stopped before its end"))
        self._program.close()
        if self._listing is not None:
            self._listing.close()
        self._turn.__exit__(None, None, None)


class TextContent:
    """A text that is made when the first byte is asked for; until then it may wait for dumps and counts."""

    def __init__(self, node: Node, make: Callable[[], bytes]) -> None:
        self.node = node
        self._make = make
        self._text: memoryview | None = None

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer's beginning; raises whatever the text's making raised, never SourceError."""
        if self._text is None:
            try:
                self._text = memoryview(self._make())
            except SourceError as error:
                raise ToolError(error.message, safe=error.safe, hint=error.hint) from error
        count = min(len(buffer), len(self._text))
        buffer[:count] = self._text[:count]
        self._text = self._text[count:]
        return count

    def skip_hole(self, back: int, unit: int) -> int:
        """There are none."""
        return 0

    def finish(self) -> None:
        """A text is one state by itself."""

    def close(self) -> None:
        """Let go of the text."""
        self._text = None


class Turns(AbstractContextManager[None]):
    """Lets so many programs run at once; whoever waits is let go when the source closes."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._closed = False
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0 or self._closed)
            if self._closed:
                raise CancelledError("the database source was closed")
            self._free -= 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify()

    def close(self) -> None:
        """Wake everybody who waits, with CancelledError."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _fail(future: Future[str], error: BaseException) -> None:
    if not future.done():
        reason = error if isinstance(error, BackupError) else CancelledError(f"the dump was stopped: {error}")
        future.set_exception(reason)
