"""Hosts that take runs from one pool: what each can read, and which of them a piece of work goes to."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

ANYWHERE = ""
"""The place of what every host can do."""
STILL_LIVES = timedelta(seconds=60)
"""A worker says so often enough that one that was not heard of for longer is away (`EVERY` in `flows.worker`)."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A host with a worker; one that was stopped or died is kept until somebody removes it."""

    host: str
    id: UUID
    pool: str
    slots: int
    """How many runs it works on at once."""
    sources: tuple[str, ...]
    """What it may read, as PART/NAME, sorted."""
    repository: str
    """The id of the repository that it opens."""
    version: str
    pid: int
    boot_id: str | None
    machine_id: str | None
    clock_offset_seconds: float
    started_at: datetime
    seen_at: datetime
    left_at: datetime | None

    def lives(self, now: datetime) -> bool:
        """Whether it gave a sign of life of late; `now` is the catalog server's."""
        return self.left_at is None and now - self.seen_at <= STILL_LIVES


def place_of(workers: Collection[Worker], needed: Collection[str], now: datetime) -> str | None:
    """Return the host that reads all of `needed`, `ANYWHERE` when each of them does, None when there is none; pure.

    Of several a living one is chosen, the first by name: runs of one source stay on one host, where it was read before.
    """
    able = [worker for worker in workers if set(needed) <= set(worker.sources)]
    if len(able) == len(workers):
        return ANYWHERE
    if not able:
        return None
    living = [worker for worker in able if worker.lives(now)]
    return min(worker.host for worker in living or able)


def lacking(workers: Iterable[Worker], sources: Collection[str], parts: Collection[str]) -> dict[str, str]:
    """Return the sources of these parts that others read and `sources` does not hold, each with a host of it; pure."""
    found: dict[str, str] = {}
    for worker in workers:
        for source in worker.sources:
            if source.partition("/")[0] in parts and source not in sources:
                found.setdefault(source, worker.host)
    return dict(sorted(found.items()))
