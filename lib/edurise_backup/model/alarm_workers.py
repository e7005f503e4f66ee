"""Alarms about the hosts that share the work: one that fell silent, none that lives, a clock that is off."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from edurise_backup.model.alarm_facts import Facts
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.words import span

SILENT = timedelta(minutes=3)
"""A worker may be started again meanwhile, and its host, too."""
CLOCK_TOLERANCE = timedelta(seconds=5)
_PAGE = "docs/operations/several-machines.md"


def workers_away(facts: Facts) -> Iterator[Alarm]:
    """A host's worker fell silent without being stopped; or none lives, and nothing that is due is run."""
    if not facts.workers or facts.workers_at is None:
        return
    now = facts.workers_at
    for worker in facts.workers:
        if worker.left_at is None and (silent := now - worker.seen_at) > SILENT:
            yield Alarm(
                AlarmKind.SERVICE_DOWN,
                f"worker {worker.host}",
                Severity.WARNING,
                f"the worker on {worker.host} gave no sign of life for {span(silent)}; "
                f"what only it can read waits: {', '.join(worker.sources)}",
                f"look at that host: `systemctl status edurise-backup-worker`; gone for good: "
                f"`edurise-backup worker remove {worker.host}` ({_PAGE})",
            )
    if not any(worker.lives(now) for worker in facts.workers):
        last = max(worker.seen_at for worker in facts.workers)
        if (silent := now - last) > SILENT:
            yield Alarm(
                AlarmKind.SERVICE_DOWN,
                "workers",
                Severity.CRITICAL,
                f"no worker of the pool {facts.workers[0].pool} lives since {last:%Y-%m-%d %H:%M:%S} UTC: "
                "nothing that is due is run",
                f"start one: `systemctl start edurise-backup-worker` on any host ({_PAGE})",
            )


def worker_clocks(facts: Facts) -> Iterator[Alarm]:
    """The clock of a host with a worker and the catalog server's differ."""
    for worker in facts.workers:
        offset = timedelta(seconds=worker.clock_offset_seconds)
        where = "ahead of" if offset > timedelta(0) else "behind"
        living = facts.workers_at is not None and worker.lives(facts.workers_at)
        if living and abs(offset) > CLOCK_TOLERANCE:
            yield Alarm(
                AlarmKind.CLOCK_OFF,
                f"host {worker.host}",
                Severity.WARNING,
                f"the clock of {worker.host} is {span(abs(offset))} {where} the catalog server's",
                "let every host follow the same time servers (`timedatectl`): leases and signs of life go by the "
                "catalog's clock, but schedules and the times of snapshots by the host's",
            )
