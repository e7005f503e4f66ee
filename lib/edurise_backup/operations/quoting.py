"""What a recovery will ask of the store, and what that costs, before it is begun: only trees and indexes are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from edurise_backup.config import Settings, load_settings
from edurise_backup.model.jobs import BackupType, JobId, PartResult
from edurise_backup.model.prices import Demand, Price, demand_of, price_of
from edurise_backup.operations.backups import find_backup
from edurise_backup.operations.catalogs import open_catalog
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.recoveries import refuse_unrecoverable
from edurise_backup.operations.stores import find_store
from edurise_backup.operations.supply import Supply
from edurise_backup.operations.supplying import open_supply
from edurise_backup.ports import Progress
from edurise_backup.recovery.planning import RestorePlan, WantedBlob, plan_restore
from edurise_backup.repository.runs import runs


@dataclass(frozen=True, slots=True)
class PartQuote:
    """What one part asks for; sizes in bytes."""

    part: BackupType
    source: str
    restored_bytes: int
    requests: int
    fetched_bytes: int


@dataclass(frozen=True, slots=True)
class RecoveryQuote:
    """What a recovery asks for, of the store that has the backup."""

    backup_id: JobId
    name: str
    """Of the store that serves."""
    store: str
    """Its address."""
    parts: tuple[PartQuote, ...]
    demand: Demand
    """All of it, with opening the repository and reading its trees."""
    price: Price | None
    """None without prices, and for a directory, which costs nothing."""
    notes: tuple[str, ...] = ()
    """Why it is that store, a sentence each."""

    @property
    def restored_bytes(self) -> int:
        """What will be on the disks afterwards."""
        return sum(part.restored_bytes for part in self.parts)


def quote_recovery(
    backup_id: UUID | str,
    parts: Iterable[BackupType] = (),
    *,
    settings: Settings | None = None,
    store: str = "",
    progress: Progress | None = None,
) -> RecoveryQuote:
    """Return what bringing back a backup, or some parts of it, will cost; raises what a recovery does before it begins.

    The store is chosen as a recovery chooses it: the nearest that has the backup
    whole, or `store` alone. Files are fetched as a recovery fetches them:
    neighbours in one request. A dump is read a blob at a time.
    """
    settings, chosen = settings or load_settings(), frozenset(parts)
    with open_catalog(settings) as catalog:
        backup = find_backup(catalog, backup_id)
        refuse_unrecoverable(catalog, backup)
        wanted = [part for part in backup.parts if not chosen or part.part in chosen]
        errand = Errand(settings, progress=progress)
        supply = open_supply(settings, catalog, backup, wanted, errand, only=store)
        with supply.held():
            quotes = tuple(_quote(supply, part) for part in wanted)
        name = supply.stores[0]
        served = find_store(settings, catalog, name)
    demand = demand_of(errand.traffic(name))
    bucket = demand != Demand()
    if bucket:
        demand += Demand(
            reads=sum(quote.requests for quote in quotes), received=sum(quote.fetched_bytes for quote in quotes)
        )
    price = price_of(served.settings.prices, demand) if bucket else None
    return RecoveryQuote(backup.id, name, supply.repository.store.address, quotes, demand, price, supply.tell())


def _quote(supply: Supply, part: PartResult) -> PartQuote:
    plan = plan_restore(supply.repository, supply.tree_of(part))
    requests, fetched = _blobs(plan) if part.part is BackupType.DATABASE else _ranges(plan)
    return PartQuote(part.part, part.source, plan.bytes, requests, fetched)


def _blobs(plan: RestorePlan) -> tuple[int, int]:
    wanted = [(len(blob.pieces), blob.place.length) for blobs in plan.packs.values() for blob in blobs]
    return sum(times for times, _ in wanted), sum(times * length for times, length in wanted)


def _ranges(plan: RestorePlan) -> tuple[int, int]:
    found = [_length(run) for blobs in plan.packs.values() for run in runs(blobs)]
    return len(found), sum(found)


def _length(run: list[WantedBlob]) -> int:
    return run[-1].place.offset + run[-1].place.length - run[0].place.offset
