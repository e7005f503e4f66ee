"""Look after the shards of a job: whose worker stands still, though nobody has said that it died."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from edurise_backup.catalog.shards import ShardRow, Shards, ShardStatus
from edurise_backup.errors import BackupError
from edurise_backup.model.jobs import JobId
from edurise_backup.monitoring.logs import log_event

_PATIENCE = 6
"""A worker that gives signs of life and gets no further is left in peace for so many times the silence of a dead one:
a store may be ill for ten minutes, and a large index takes long to read."""


@dataclass(slots=True)
class _Seen:
    """What a shard's row said, and since when."""

    sign: object
    signed: float
    counts: object
    counted: float


class ShardWatch:
    """Tells which shards of a job stand still; `silence` is how long a process without a sign of life is waited for."""

    def __init__(
        self,
        shards: Shards,
        job_id: JobId,
        first: int,
        *,
        silence: timedelta,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shards = shards
        self._job_id = job_id
        self._first = first
        self._silence = silence.total_seconds()
        self._clock = clock
        self._looked = clock()
        self._seen: dict[int, _Seen] = {}

    def still(self) -> list[int]:
        """Return the places (from `first` on) of shards that stand still, each once; may be asked at any time."""
        now = self._clock()
        if now - self._looked < self._silence / 4:
            return []
        self._looked = now
        try:
            rows = self._shards.of(self._job_id)
        except BackupError:  # nobody could tell it anything meanwhile
            self._seen.clear()
            return []
        found = [row for row in rows if row.number >= self._first and self._stands_still(row, now)]
        for row in found:
            what = f"shard {row.number}: no progress on {row.host} (process {row.pid}); another worker does it again"
            log_event("shard_stands_still", what, job_id=str(self._job_id))
        return [row.number - self._first for row in found]

    def _stands_still(self, row: ShardRow, now: float) -> bool:
        if row.status is not ShardStatus.RUNNING:
            self._seen.pop(row.number, None)
            return False
        who = (row.tries, row.host, row.pid)
        sign, counts = (*who, row.heartbeat_at), (*who, row.bytes_done, row.files_done)
        seen = self._seen.setdefault(row.number, _Seen(sign, now, counts, now))
        if seen.sign != sign:
            seen.sign, seen.signed = sign, now
        if seen.counts != counts:
            seen.counts, seen.counted = counts, now
        if now - seen.signed < self._silence and now - seen.counted < _PATIENCE * self._silence:
            return False
        del self._seen[row.number]
        return True
