"""A store around any store: uploads and downloads take as long as a slower line would need.

All threads, and all stores that share a `Line`, wait in one queue. Locks are
counted but never wait: one that is not refreshed in time counts as dead.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from edurise_backup.ports import Buffer, Clock, Store

_PATIENCE = 0.25
"""Seconds between two looks whether the work was cancelled."""


Rate = Callable[[float], tuple[int, float]]
"""At a second of a line's clock: how many bytes a second it carries (0: any number), and until when that holds."""


def daily(
    at: Callable[[datetime], tuple[int, datetime]],
    *,
    clock: Clock,
    now: Callable[[], float] = time.monotonic,
) -> Rate:
    """Return the rate of a line whose speed follows the time of day, which `clock` tells."""

    def rate(second: float) -> tuple[int, float]:
        began, present = now(), clock()
        speed, until = at(present + timedelta(seconds=second - began))
        return speed, began + (until - present).total_seconds()

    return rate


class Line:
    """A line of so many bytes a second: whoever transfers waits until the line has carried his bytes."""

    def __init__(
        self,
        rate: int | Rate,
        *,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        """`pause` waits for so many seconds; tests bring their own, and their own clock."""
        self._rate: Rate = rate if callable(rate) else lambda _second: (rate, math.inf)
        self._now = now
        self._pause = pause or threading.Event().wait
        self._guard = threading.Lock()
        self._free_at = now()

    def carry(self, count: int, *, stop: Callable[[], None], wait: bool = True) -> None:
        """Wait until `count` bytes have gone over the line, behind those that came before.

        `stop` is called several times a second and raises when the work was cancelled.
        """
        with self._guard:
            self._free_at = done = self._carried(max(self._now(), self._free_at), count)
        while wait and (left := done - self._now()) > 0:
            stop()
            self._pause(min(left, _PATIENCE))

    def _carried(self, begin: float, count: float) -> float:
        """Return when the bytes have gone over the line that begin then; its speed may change on the way."""
        while True:
            speed, until = self._rate(begin)
            if not speed:
                return begin
            done = begin + count / speed
            if done <= until:
                return done
            count -= (until - begin) * speed
            begin = until


class LimitedStore:
    """Passes every call on to `store`; bytes of `put` go over `upload`, those of `get` over `download`."""

    def __init__(
        self, store: Store, *, upload: Line | None = None, download: Line | None = None, stop: Callable[[], None]
    ) -> None:
        """`stop` raises when the work was cancelled; a line that is None has no limit."""
        self._store = store
        self._upload = upload
        self._download = download
        self._stop = stop

    @property
    def address(self) -> str:
        """Where the store is."""
        return self._store.address

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Create the object, once the line has had time for its bytes."""
        if self._upload is not None:
            self._upload.carry(sum(len(piece) for piece in pieces), stop=self._stop, wait=_patient(name))
        self._store.put(name, pieces)

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the object's bytes, once the line has had time for them."""
        data = self._store.get(name, offset=offset, length=length)
        if self._download is not None:
            self._download.carry(len(data), stop=self._stop, wait=_patient(name))
        return data

    def size(self, name: str) -> int:
        """Return the object's size in bytes."""
        return self._store.size(name)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield names and sizes; what a listing itself takes is not counted."""
        yield from self._store.list(prefix)

    def delete(self, name: str) -> None:
        """Remove the object."""
        self._store.delete(name)

    def file_of(self, name: str) -> str | None:
        """Return the object's file, if there is one and reading has no limit."""
        return self._store.file_of(name) if self._download is None else None

    def now(self) -> datetime | None:
        """Return the store's own time, if it can tell."""
        return self._store.now()

    def sweep(self, prefix: str) -> int:
        """Remove what puts that were cut short left below `prefix`."""
        return self._store.sweep(prefix)


def _patient(name: str) -> bool:
    return not name.startswith("locks/")
