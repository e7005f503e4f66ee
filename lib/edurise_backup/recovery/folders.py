"""Directories below a target, held open: each opened by its own name in the one above, without following links."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from edurise_backup.recovery.planning import Names

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = 256
"""So many stay open, the most recently used ones."""

Held = list[int]
"""[descriptor, users]"""


class Folders:
    """The descriptors of directories below one root; safe from any number of threads."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._guard = threading.Lock()
        self._held: dict[Names, Held] = {}

    def hold(self, names: Names) -> Held:
        """Return a directory's descriptor, to be given to `let_go`; raises OSError."""
        if not names:
            return [self._root, 1]
        with self._guard:
            held = self._held.pop(names, None) or [self._open(names), 0]
            self._held[names] = held  # the most recent one is last
            held[1] += 1
            self._close_unused()
        return held

    def let_go(self, held: Held) -> None:
        """Say that a descriptor is not needed any more."""
        with self._guard:
            held[1] -= 1

    @contextmanager
    def opened(self, names: Names) -> Iterator[int]:
        """Give a directory's descriptor inside the `with` block; raises OSError."""
        held = self.hold(names)
        try:
            yield held[0]
        finally:
            self.let_go(held)

    def close(self) -> None:
        """Close all but the root."""
        for descriptor, _users in self._held.values():
            os.close(descriptor)
        self._held = {}

    def _open(self, names: Names) -> int:
        """Open a directory from the nearest one above it that is open; those in between stay open, too."""
        depth = next((depth for depth in range(len(names) - 1, 0, -1) if names[:depth] in self._held), 0)
        at = self._held[names[:depth]][0] if depth else self._root
        for length in range(depth + 1, len(names) + 1):
            at = os.open(names[length - 1], OPEN_FOLDER, dir_fd=at)
            if length < len(names):
                self._held[names[:length]] = [at, 0]
        return at

    def _close_unused(self) -> None:
        if len(self._held) <= _OPEN:
            return
        for names, (descriptor, users) in list(self._held.items())[: _OPEN // 4]:
            if not users:
                os.close(descriptor)
                del self._held[names]
