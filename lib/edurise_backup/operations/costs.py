"""What stores are asked for and cost, from the catalog alone: no store is asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from edurise_backup.catalog.jobs import BackupJobs
from edurise_backup.catalog.maintenance import MaintenanceJobs
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.catalog.store_use import KindTraffic, StoreUse, together
from edurise_backup.catalog.stores import StoreRow, Stores
from edurise_backup.catalog.verifications import Verifications
from edurise_backup.config import Settings, load_settings
from edurise_backup.model.jobs import BackupFilters, BackupJob, BackupType
from edurise_backup.model.maintenance import LockFigures, MaintenanceKind
from edurise_backup.model.prices import Demand, Month, Price, demand_of, estimate_month, month_begin, price_of
from edurise_backup.model.probe import Probe
from edurise_backup.model.store_settings import StoreSettings
from edurise_backup.model.stores import PRIMARY, KnownStore
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.stores import known_copies

_PACK = 16 << 20


@dataclass(frozen=True, slots=True)
class RecoveryCost:
    """What bringing back the newest full backup asks for."""

    backup: BackupJob
    demand: Demand
    measured: bool
    """By a verification of it, which reads as much; else no more than this, were nothing compressed."""
    price: Price | None


@dataclass(frozen=True, slots=True)
class StoreCosts:
    """One store, of one moment; bytes are those of all its packs."""

    store: str
    location: str
    as_of: datetime
    stored_bytes: int | None
    this_month: tuple[KindTraffic, ...]
    """What was asked since the month began (UTC), by kind of job."""
    month: Month
    recovery: RecoveryCost | None
    probe: Probe | None
    lock: str
    """`off`, or mode and days, as it is set."""
    locks: LockFigures | None
    """What the last prune did for the locks."""
    locked_until: datetime | None
    """Until when the last of the packs is held that a prune wanted to delete."""


def store_costs(*, settings: Settings | None = None) -> StoreCosts:
    """Return what the configured store is asked for and costs; raises UnreachableError."""
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        return read_costs(catalog.sessions, settings, catalog.clock())


def read_costs(sessions: Sessions, settings: Settings, now: datetime) -> StoreCosts:
    """Read them by sessions that somebody has opened."""
    use, maintenance, repository = StoreUse(sessions), MaintenanceJobs(sessions), settings.repository
    kinds = use.traffic_since(month_begin(now))
    stored = next((row.bytes for row in Stores(sessions).all() if row.name == PRIMARY), None)
    if stored is None and (sizes := maintenance.sizes(limit=1)):  # by an earlier release
        stored = sizes[-1].bytes
    pruned = maintenance.last(MaintenanceKind.PRUNE, good=True)
    figures = pruned.figures.pruned if pruned and pruned.figures else None
    return StoreCosts(
        store=PRIMARY,
        location=repository.location,
        as_of=now,
        stored_bytes=stored,
        this_month=kinds,
        month=estimate_month(repository.prices, demand_of(together(kinds)), stored=stored or 0, now=now),
        recovery=_recovery(sessions, use, settings),
        probe=use.last_probe(),
        lock=_lock_text(repository),
        locks=figures.locks if figures else None,
        locked_until=figures.locked_until if figures else None,
    )


def copy_costs(*, settings: Settings | None = None) -> tuple[StoreCosts, ...]:
    """Return the same of each copy, by its own prices; raises UnreachableError."""
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        return read_copy_costs(catalog, settings, catalog.clock())


def read_copy_costs(catalog: Catalog, settings: Settings, now: datetime) -> tuple[StoreCosts, ...]:
    """Read them from a catalog that is open. What a recovery asks for is told of the primary alone."""
    rows = {row.name: row for row in catalog.stores.all()}
    return tuple(_of_copy(catalog, copy, rows.get(copy.name), now) for copy in known_copies(settings, catalog))


def _of_copy(catalog: Catalog, copy: KnownStore, row: StoreRow | None, now: datetime) -> StoreCosts:
    kinds = catalog.store_use.traffic_since(month_begin(now), store=copy.name)
    stored = row.bytes if row else None
    return StoreCosts(
        store=copy.name,
        location=copy.settings.location,
        as_of=now,
        stored_bytes=stored,
        this_month=kinds,
        month=estimate_month(copy.settings.prices, demand_of(together(kinds)), stored=stored or 0, now=now),
        recovery=None,
        probe=catalog.store_use.last_probe(store=copy.name),
        lock=_lock_text(copy.settings),
        locks=None,
        locked_until=None,
    )


def _lock_text(store: StoreSettings) -> str:
    return "off" if store.lock_mode == "off" else f"{store.lock_mode}, {store.lock_days} days"


def _recovery(sessions: Sessions, use: StoreUse, settings: Settings) -> RecoveryCost | None:
    found = BackupJobs(sessions).find(BackupFilters(type=BackupType.FULL, restorable=True, limit=1))
    if not found:
        return None
    backup = found[0]
    demand, measured = Demand(reads=(backup.size or 0) // _PACK + 1, received=backup.size or 0), False
    for verification in Verifications(sessions).newest(limit=20):
        if verification.backup_id == backup.id and verification.status.good:
            traffic = use.traffic_of(verification.id)
            if traffic.operations:
                demand, measured = demand_of(traffic), True
                break
    return RecoveryCost(backup, demand, measured, price_of(settings.repository.prices, demand))
