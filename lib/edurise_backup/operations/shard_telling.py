"""A worker's word to its shard's row: how far it is; and the job's to the worker: whether it is still wanted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from edurise_backup.catalog.shards import Shards, ShardStatus
from edurise_backup.errors import BackupError
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.shard_orders import BringOrder, Order

BEAT_SECONDS = 2.0
"""How often a worker tells how far it is, and asks whether it is still wanted."""


@dataclass(slots=True)
class _Counts:
    bytes: int = 0
    files: int = 0


class Telling(SilentProgress):
    """Counts for the row of a shard; `beat` tells them, and returns whether the work is wanted.

    With `silence`, whoever has heard nothing for so many seconds, as one who
    stood still, asks before the next step, and waits for the answer.
    """

    def __init__(self, beat: Callable[[_Counts], bool], silence: float | None) -> None:
        super().__init__()
        self.counts = _Counts()
        self._beat = beat
        self._silence = silence
        self._heard = _now()
        self._guard = threading.Lock()
        self._asking = threading.Lock()

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Count what was done."""
        with self._guard:
            self.counts.bytes += bytes_done
            self.counts.files += files_done

    def tell(self) -> None:
        """Tell how far it is; a job that does not want it any more has it stop. Raises BackupError."""
        asked = _now()
        if not self._beat(self.counts):
            self.cancel()
        self._heard = asked

    def raise_if_cancelled(self) -> None:
        """Raise CancelledError when the work is not wanted any more, as far as is known and recent enough."""
        super().raise_if_cancelled()
        if self._silence is None or _now() - self._heard < self._silence:
            return
        with self._asking:
            began = self._heard
            while self._heard == began:
                try:
                    self.tell()
                except BackupError:
                    if self._cancelled.wait(BEAT_SECONDS):
                        break
        super().raise_if_cancelled()


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while a machine sleeps


@contextmanager
def telling(shards: Shards, order: Order, silence: float) -> Iterator[Telling]:
    """Have the shard's row say how far it is, and the work stop when the job is not wanted any more.

    A catalog that does not answer stops nothing: whoever joins proves what counts. But a recovery's bytes are written
    to where people may work by then, if another one has brought them: who brings some must know that they are wanted.
    """

    def beat(counts: _Counts) -> bool:
        return shards.beat(order.job, order.number, bytes_done=counts.bytes, files_done=counts.files)

    progress = Telling(beat, silence if isinstance(order, BringOrder) else None)
    ended = threading.Event()
    if not shards.begin(order.job, order.number):
        progress.cancel()

    def tell() -> None:
        while not ended.wait(BEAT_SECONDS):
            with suppress(BackupError):
                progress.tell()

    thread = threading.Thread(target=tell, name="shard-heartbeat", daemon=True)
    thread.start()
    status = ShardStatus.FAILED
    try:
        yield progress
        status = ShardStatus.DONE
    finally:
        ended.set()
        thread.join()
        counts = progress.counts
        with suppress(BackupError):
            shards.end(order.job, order.number, status, bytes_done=counts.bytes, files_done=counts.files)
