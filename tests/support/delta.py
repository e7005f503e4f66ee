"""Restores onto existing trees in short words, and a store that counts what is read of packs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from edurise_backup.model.snapshot import Snapshot
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import Buffer, Progress, Store
from edurise_backup.recovery.delta.plan import DeltaPlan
from edurise_backup.recovery.delta.restorer import Updated, apply_delta, plan_delta
from edurise_backup.recovery.planning import EVERYTHING, Selection, plan_restore
from edurise_backup.repository.repository import Repository


class CountingStore:
    """Passes calls on and counts the bytes of packs that were read while `counts` is set."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.counts = False
        self.fetched = 0

    @property
    def address(self) -> str:
        """The address of the store behind."""
        return self._store.address

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Pass on."""
        self._store.put(name, pieces)

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Pass on, and count."""
        content = self._store.get(name, offset=offset, length=length)
        if self.counts and name.startswith("data/"):
            self.fetched += len(content)
        return content

    def size(self, name: str) -> int:
        """Pass on."""
        return self._store.size(name)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Pass on."""
        return self._store.list(prefix)

    def delete(self, name: str) -> None:
        """Pass on."""
        self._store.delete(name)

    def file_of(self, name: str) -> str | None:
        """Nobody reads past this store."""
        return None

    def sweep(self, prefix: str) -> int:
        """Pass on."""
        return self._store.sweep(prefix)

    def now(self) -> datetime | None:
        """Pass on."""
        return self._store.now()


def plan_onto(
    repository: Repository, snapshot: Snapshot, target: Path, *, delete: bool = False, select: Selection = EVERYTHING
) -> DeltaPlan:
    """Say what a restore onto a target would do."""
    plan = plan_restore(repository, snapshot.tree, select=select, paths=snapshot.paths)
    return plan_delta(repository, plan, target, select=select, delete=delete, progress=SilentProgress(), workers=2)


def restore_onto(
    repository: Repository,
    snapshot: Snapshot,
    target: Path,
    *,
    delete: bool = False,
    select: Selection = EVERYTHING,
    counting: CountingStore | None = None,
    progress: Progress | None = None,
) -> Updated:
    """Restore onto a target; what is read to plan it is not counted."""
    plan = plan_onto(repository, snapshot, target, delete=delete, select=select)
    if counting is not None:
        counting.counts = True
    try:
        return apply_delta(repository, plan, progress=progress or SilentProgress(), workers=2)
    finally:
        if counting is not None:
            counting.counts = False
