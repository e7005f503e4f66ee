"""What `doctor` says of the hosts that share the work; nothing where one machine does everything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edurise_backup.config import Settings
from edurise_backup.model.jobs import BackupType
from edurise_backup.model.workers import Worker
from edurise_backup.operations.catalogs import open_catalog
from edurise_backup.operations.findings import Finding, Level
from edurise_backup.operations.workers import WorkerState, list_workers

_PAGE = "docs/operations/several-machines.md"


def examine_workers(settings: Settings) -> Iterator[Finding]:
    """Look whether workers live and agree; raises UnreachableError."""
    if not settings.catalog.url:
        return  # nobody else can share an embedded catalog
    with open_catalog(settings) as catalog:
        states = list_workers(catalog)
    yield from judge_workers(states)


def judge_workers(states: Sequence[WorkerState]) -> Iterator[Finding]:
    """Say what is wrong with the workers taken together, or that they are fine; pure."""
    if not states:
        return
    living = [state.worker for state in states if state.lives]
    if not living:
        yield Finding(
            Level.FAULT,
            "workers",
            f"none of {len(states)} workers lives: nothing that is due is run",
            f"start one: `systemctl start edurise-backup-worker` on any host ({_PAGE})",
        )
        return
    away = [state.worker.host for state in states if not state.lives]
    if away:
        yield Finding(
            Level.WARNING,
            "workers",
            f"no worker lives on {', '.join(away)}",
            "start it there; a host that is gone for good: `edurise-backup worker remove HOST`",
        )
    yield from _disagreements(living)
    if not _whole([state.worker for state in states]):
        yield Finding(
            Level.WARNING,
            "workers",
            "no host reads every source: a full backup is refused everywhere",
            f"schedule each source by itself, or list them all on one host ({_PAGE})",
        )
    if not away:
        yield Finding(Level.FINE, "workers", f"{len(living)} live: {', '.join(worker.host for worker in living)}")


def _disagreements(living: Sequence[Worker]) -> Iterator[Finding]:
    versions = sorted({worker.version for worker in living})
    if len(versions) > 1:
        told = f"they run different releases: {', '.join(versions)}"
        yield Finding(Level.WARNING, "workers", told, "install one release on every host, then start its worker again")
    pools = sorted({worker.pool for worker in living})
    if len(pools) > 1:
        told = f"they work for different pools: {', '.join(pools)}; runs go to one of them only"
        yield Finding(Level.WARNING, "workers", told, f"start each with the same --pool ({_PAGE})")


def _whole(workers: Sequence[Worker]) -> bool:
    parts = {part.value for part in BackupType.FULL.parts}
    everything = {source for worker in workers for source in worker.sources if source.partition("/")[0] in parts}
    return any(everything <= set(worker.sources) for worker in workers)
