"""A store around any store: calls that failed for a passing reason are made again.

Names are hashes of what they name, so a `put` that was reported as failed but
did arrive is told apart from a conflict by its length and left as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from edurise_backup.errors import ConflictError, TransientError
from edurise_backup.ports import Buffer, Store

T = TypeVar("T")
_SLICE = 0.25
"""Seconds between two looks whether the work was cancelled."""


class RetryingStore:
    """Passes every call on to `store`; a TransientError is answered by at most `attempts` calls in all."""

    def __init__(
        self,
        store: Store,
        *,
        attempts: int = 5,
        first_wait: float = 0.1,
        longest_wait: float = 10.0,
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        """`stop` raises when the work was cancelled: asked several times a second while a call waits to be made."""
        self._store = store
        self._stop = stop
        self._attempts = attempts
        self._first_wait = first_wait
        self._longest_wait = longest_wait

    @property
    def address(self) -> str:
        """Where the store is."""
        return self._store.address

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Create the object; one that an earlier attempt made although it failed counts as created."""
        attempts = 0

        def attempt() -> None:
            nonlocal attempts
            attempts += 1
            try:
                self._store.put(name, pieces)
            except ConflictError:
                if attempts == 1 or self._store.size(name) != sum(len(piece) for piece in pieces):
                    raise

        self._retried(attempt)

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the object's bytes."""
        return self._retried(lambda: self._store.get(name, offset=offset, length=length))

    def size(self, name: str) -> int:
        """Return the object's size in bytes."""
        return self._retried(lambda: self._store.size(name))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield names and sizes; a listing that breaks off is begun anew, never passed on in part."""
        yield from self._retried(lambda: [*self._store.list(prefix)])

    def delete(self, name: str) -> None:
        """Remove the object."""
        self._retried(lambda: self._store.delete(name))

    def file_of(self, name: str) -> str | None:
        """Return the object's file, if there is one; whoever reads it tries again by `get`."""
        return self._store.file_of(name)

    def sweep(self, prefix: str) -> int:
        """Remove what puts that were cut short left below `prefix`."""
        return self._retried(lambda: self._store.sweep(prefix))

    def now(self) -> datetime | None:
        """Return the time by the store's clock."""
        return self._retried(self._store.now)

    def _sleep(self, seconds: float) -> None:
        self._stop()
        while seconds > 0:
            threading.Event().wait(min(seconds, _SLICE))
            seconds -= _SLICE
            self._stop()

    def _retried(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except TransientError as error:
            return self._called_again(call, error)

    def _called_again(self, call: Callable[[], T], first: TransientError) -> T:
        import tenacity  # whose store works does not wait for it

        failed = [first]

        def attempt() -> T:
            if failed:
                raise failed.pop()
            return call()

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=tenacity.wait_random_exponential(multiplier=self._first_wait, max=self._longest_wait),
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(attempt)
