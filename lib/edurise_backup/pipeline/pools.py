"""Threads that read files; who gives them work waits while they have enough."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_AHEAD = 64
"""Read jobs of either kind that wait or are under way at most: the walk does not run far ahead of the readers."""


class Pool:
    """Threads of one kind; who submits waits while many jobs are not done, whichever they are.

    So a long job holds up no short one.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._ahead = threading.Semaphore(_AHEAD)

    def submit(self, run: Callable[[], None]) -> None:
        """Have `run` called, which raises nothing."""
        self._ahead.acquire()

        def run_and_tell() -> None:
            run()
            self._ahead.release()

        self._threads.submit(run_and_tell)

    def shutdown(self, *, cancel: bool) -> None:
        """Wait until all that was begun has ended."""
        self._threads.shutdown(wait=True, cancel_futures=cancel)


class Pools:
    """The threads that read: some for large files, one chunk after the other, some for batches of small ones."""

    def __init__(self, streams: int, batches: int) -> None:
        self.streams = Pool(streams, "read")
        self.batches = Pool(batches, "batch")

    def shutdown(self, *, cancel: bool = False) -> None:
        """Wait until all that was begun has ended."""
        self.streams.shutdown(cancel=cancel)
        self.batches.shutdown(cancel=cancel)
