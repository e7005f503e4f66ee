"""Ask again while a server has a passing trouble, within a budget, and slow down together when it asks for that.

Every request of a store goes through one `Perseverance`: it is the only place
that repeats requests, so that attempts never multiply.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from edurise_backup.errors import ThrottledError, TransientError, UnreachableError

T = TypeVar("T")
_SLICE = 0.25
"""Seconds between two looks whether the work was cancelled."""
_SMALLEST_GAP = 0.02


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one request is repeated; seconds."""

    attempts: int = 100
    seconds: float = 600.0
    silent_seconds: float = 20.0
    """In place of `seconds` for a server that has never answered: its address may be wrong."""
    first_wait: float = 0.1
    longest_wait: float = 15.0
    longest_gap: float = 5.0


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


@dataclass(frozen=True, slots=True)
class Timing:
    """Clock, pause and chance; tests bring their own."""

    now: Callable[[], float] = time.monotonic
    pause: Callable[[float], object] = _pause
    chance: Callable[[], float] = field(default_factory=lambda: random.SystemRandom().random)
    """A number from 0 to 1."""


class Pace:
    """How far apart requests are sent: doubled when the server asks for less, and closed again as it answers."""

    def __init__(self, longest: float, timing: Timing) -> None:
        self.gap = 0.0
        self._longest = longest
        self._timing = timing
        self._next = 0.0
        self._guard = threading.Lock()

    def turn(self) -> float:
        """Take a turn; return how many seconds to wait for it."""
        with self._guard:
            if not self.gap:
                return 0.0
            now = self._timing.now()
            begin = max(now, self._next)
            self._next = begin + self.gap
            return begin - now

    def slower(self) -> None:
        """The server asked for less."""
        with self._guard:
            self.gap = min(self._longest, max(_SMALLEST_GAP, self.gap * 2))

    def quicker(self) -> None:
        """The server did what it was asked for."""
        if self.gap:
            with self._guard:
                self.gap = self.gap * 0.8 if self.gap > _SMALLEST_GAP else 0.0


class Perseverance:
    """Repeats requests that failed with a TransientError; safe from any number of threads."""

    def __init__(
        self,
        patience: Patience,
        *,
        where: str,
        answered: Callable[[], bool],
        stop: Callable[[], None],
        timing: Timing | None = None,
    ) -> None:
        """`answered` says whether the server has ever answered; `stop` raises when the work was cancelled."""
        self._patience = patience
        self._where = where
        self._answered = answered
        self._stop = stop
        self._timing = timing or Timing()
        self.pace = Pace(patience.longest_gap, self._timing)
        self._last_words = threading.local()

    @contextmanager
    def last_words(self) -> Iterator[None]:
        """Have this thread's requests sent although the work was cancelled: each once, without a wait.

        Who was cancelled still takes his lock away, so that nobody has to wait for it.
        """
        self._last_words.said = True
        try:
            yield
        finally:
            self._last_words.said = False

    def run(self, call: Callable[[], T]) -> T:
        """Return what `call` returns in the end; raises TransientError, UnreachableError when nobody ever answered."""
        began = self._timing.now()
        attempt = 0
        while True:
            self._wait(self.pace.turn())
            attempt += 1
            try:
                result = call()
            except TransientError as error:
                if isinstance(error, ThrottledError):
                    self.pace.slower()
                wait = self._pause_after(attempt)
                if self._spent(attempt, self._timing.now() - began + wait):
                    raise self._given_up(error, attempt, self._timing.now() - began) from error
                self._wait(wait)
            else:
                self.pace.quicker()
                return result

    def _pause_after(self, attempt: int) -> float:
        longest = min(self._patience.longest_wait, self._patience.first_wait * 2.0 ** min(attempt - 1, 20))
        return longest * (0.5 + self._timing.chance() / 2)

    def _spent(self, attempt: int, seconds: float) -> bool:
        budget = self._patience.seconds if self._answered() else self._patience.silent_seconds
        return attempt >= self._patience.attempts or seconds > budget

    def _given_up(self, error: TransientError, attempts: int, seconds: float) -> TransientError | UnreachableError:
        tried = f"{error.message} (tried {attempts} times in {seconds:.0f} s)"
        if not self._answered():
            return UnreachableError(
                f"{self._where} does not answer: {tried}",
                safe="nothing was changed",
                hint="check the address and port, this machine's network, and whether the server runs",
            )
        return TransientError(
            tried,
            safe="everything that was published before",
            hint="see how the server is, then run the same command again: what was stored is not sent twice",
        )

    def _wait(self, seconds: float) -> None:
        if seconds <= 0 and getattr(self._last_words, "said", False):
            return
        self._stop()
        while seconds > 0:
            self._timing.pause(min(seconds, _SLICE))
            seconds -= _SLICE
            self._stop()
