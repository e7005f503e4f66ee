"""Counts what is asked of a server."""

from __future__ import annotations

import threading
from types import MappingProxyType

from edurise_backup.model.traffic import Count, Traffic


class Meter:
    """Counts, from any number of threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._counts: dict[str, Count] = {}

    def add(self, operation: str, count: Count) -> None:
        """Count what one request took."""
        with self._guard:
            self._counts[operation] = self._counts.get(operation, Count()) + count

    def read(self) -> Traffic:
        """Return what was counted so far."""
        with self._guard:
            return Traffic(MappingProxyType(dict(self._counts)))
