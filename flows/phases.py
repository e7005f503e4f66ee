"""Show the phases of an operation as Prefect tasks while the operation runs.

The library runs all phases in one call and names each as it begins
(`ports.Progress`). The call runs in a thread of its own; the task's thread
follows it and keeps one small task open per phase, so that Prefect's page
shows every phase with its true beginning, end and outcome.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from queue import SimpleQueue
from threading import Event
from typing import TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging.handlers import APILogHandler

from edurise_backup.errors import CancelledError
from edurise_backup.ports import Progress

T = TypeVar("T")

STOP_SECONDS = 20.0
"""How long a stopped operation may take to end its job row; Prefect kills the process after 30 s."""


class PhaseFeed:
    """A `Progress` that hands phase names to another thread; the end is None."""

    def __init__(self) -> None:
        self._names: SimpleQueue[str | None] = SimpleQueue()
        self._cancelled = Event()

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        """Announce the phase."""
        self._names.put(name)

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Do nothing: how far a phase got is in the job row, which the operation writes itself."""

    def raise_if_cancelled(self) -> None:
        """Raise CancelledError once the run was asked to stop."""
        if self._cancelled.is_set():
            raise CancelledError(
                "the run was stopped",
                safe="everything that was published before is whole",
                hint="start it again when it is wanted",
            )

    def next_name(self) -> str | None:
        """Wait for the next phase; None when the operation has ended."""
        return self._names.get()

    def end(self) -> None:
        """Announce that no phase follows."""
        self._names.put(None)

    def cancel(self) -> None:
        """Ask the operation to stop at its next look."""
        self._cancelled.set()


def run_showing_phases(act: Callable[[Progress], T], *, feed: PhaseFeed | None = None) -> T:
    """Return what `act` returns, with a task per phase; a stop signal ends `act` before it is passed on.

    To be called inside a task or flow. Raises what `act` raises; the phase in
    which it happened fails with it.
    """
    phases = feed or PhaseFeed()

    def work() -> T:
        try:
            return act(phases)
        finally:
            phases.end()

    with ThreadPoolExecutor(1, thread_name_prefix="operation") as pool, _library_log_in_the_run():
        # The context tells Prefect's log handler, in the other thread, which run this is.
        outcome = pool.submit(copy_context().run, work)
        try:
            _follow(phases, outcome)
            return outcome.result()
        except BaseException:  # TerminationSignal, too: the operation must get to close its job row
            phases.cancel()
            with suppress(TimeoutError):
                outcome.exception(timeout=STOP_SECONDS)
            raise


def _follow(feed: PhaseFeed, outcome: Future[T]) -> None:
    name = feed.next_name()
    while name is not None:
        name = _show(name, lambda: _end_of_phase(feed, outcome))


@task(name="phase", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def _show(name: str, end_of_phase: Callable[[], str | None]) -> str | None:
    return end_of_phase()


def _end_of_phase(feed: PhaseFeed, outcome: Future[T]) -> str | None:
    name = feed.next_name()
    if name is None:
        outcome.result()  # an operation that failed fails the phase that it was in
    return name


@contextmanager
def _library_log_in_the_run() -> Iterator[None]:
    """Send the library's log lines to the run's page as well."""
    logger = logging.getLogger("edurise_backup")
    handler, level = APILogHandler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(min(level, logging.INFO) if level else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
