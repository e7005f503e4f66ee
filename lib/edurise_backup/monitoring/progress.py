"""Progress that nobody watches, with a way to stop the work."""

from __future__ import annotations

import threading

from edurise_backup.errors import CancelledError


class SilentProgress:
    """Shows nothing; satisfies `ports.Progress`. `cancel` stops the work at its next step."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop; safe in a signal handler and from any thread."""
        self._cancelled.set()

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        """Show nothing."""

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Show nothing."""

    def raise_if_cancelled(self) -> None:
        """Raise CancelledError after `cancel`."""
        if self._cancelled.is_set():
            raise CancelledError(
                "stopped by request",
                safe="everything that was published before; the repository is sound",
                hint="run the same command again: what was stored already is not stored twice",
            )
