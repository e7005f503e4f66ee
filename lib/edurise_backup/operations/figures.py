"""What a prune or check did, in the figures that the catalog keeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TypedDict

from edurise_backup.model.maintenance import CheckFigures, LockFigures, MaintenanceFigures, PruneFigures
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.prune_plan import Departure, PrunePlan
from edurise_backup.repository.pruner import Pruned
from edurise_backup.repository.repository import Repository
from edurise_backup.verification.checker import CheckResult


def planned_figures(plan: PrunePlan) -> MaintenanceFigures:
    """Return what a prune would do, and the repository as it is."""
    leaving = plan.departure
    pruned = PruneFigures(
        forgotten_snapshots=plan.forgotten,
        used_bytes=plan.fates.used_bytes,
        repacked_bytes=plan.fates.repack_bytes,
        deleted_packs=len(leaving.due),
        deleted_bytes=leaving.due_bytes,
        waiting_packs=len(leaving.waiting),
        waiting_bytes=leaving.waiting_bytes,
        waiting_until=leaving.until,
        refusal=plan.refusal,
        **_locked(leaving),
    )
    return MaintenanceFigures(plan.snapshots, plan.packs, plan.total_bytes, pruned=pruned)


def pruned_figures(repository: Repository, done: Pruned) -> MaintenanceFigures:
    """Return what a prune did, and the repository as it is now."""
    leaving, packs = done.departure, _stored_packs(repository)
    figures = planned_figures(done.plan)
    assert figures.pruned is not None
    pruned = replace(
        figures.pruned,
        deleted_packs=len(leaving.due),
        deleted_bytes=leaving.due_bytes,
        waiting_packs=len(leaving.waiting),
        waiting_bytes=leaving.waiting_bytes,
        waiting_until=leaving.until,
        locks=LockFigures(done.locks.extended, done.locks.behind, done.locks.earliest) if done.locks else None,
        **_locked(leaving),
    )
    return MaintenanceFigures(done.plan.snapshots, *packs, pruned=pruned)


class _Locked(TypedDict):
    locked_packs: int
    locked_bytes: int
    locked_until: datetime | None


def _locked(leaving: Departure) -> _Locked:
    return _Locked(
        locked_packs=len(leaving.locked), locked_bytes=leaving.locked_bytes, locked_until=leaving.locked_until
    )


def checked_figures(repository: Repository, found: CheckResult) -> MaintenanceFigures:
    """Return what a check read and found, and the repository's size."""
    coverage = found.coverage
    checked = CheckFigures(
        blobs=found.blobs,
        packs_read=found.packs_read,
        bytes_read=found.bytes_read,
        damaged_packs=len(found.damaged_packs),
        affected_paths=found.affected.count,
        never_proved_packs=coverage.never,
        oldest_proof=coverage.oldest,
        overdue_packs=coverage.overdue_packs,
        overdue_bytes=coverage.overdue_bytes,
        within_percent=coverage.within_percent,
    )
    return MaintenanceFigures(found.snapshots, *_stored_packs(repository), checked=checked)


def _stored_packs(repository: Repository) -> tuple[int, int]:
    """Return how many packs the store holds, and their bytes."""
    sizes = [size for _, size in repository.store.list(Kind.PACK)]
    return len(sizes), sum(sizes)
