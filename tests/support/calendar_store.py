"""A local store whose clock is a test's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from edurise_backup.ports import Buffer, Clock, Store


class ClockedStore:
    """Another store, with a clock of its own."""

    def __init__(self, inner: Store, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock

    @property
    def address(self) -> str:
        """Where the other one is."""
        return self._inner.address

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Create the object."""
        self._inner.put(name, pieces)

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the object, or a part of it."""
        return self._inner.get(name, offset=offset, length=length)

    def size(self, name: str) -> int:
        """Return the object's size in bytes."""
        return self._inner.size(name)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield what lies below `prefix`."""
        return self._inner.list(prefix)

    def file_of(self, name: str) -> str | None:
        """Return where the object lies as a file."""
        return self._inner.file_of(name)

    def sweep(self, prefix: str) -> int:
        """Remove remains of puts."""
        return self._inner.sweep(prefix)

    def now(self) -> datetime | None:
        """Return the test's time."""
        return self._clock()

    def delete(self, name: str) -> None:
        """Remove the object."""
        self._inner.delete(name)
