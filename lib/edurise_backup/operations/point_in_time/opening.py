"""Open the store that a recovery to a moment reads: the primary, else the nearest copy, which has the log, too."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, CancelledError, NotFoundError
from edurise_backup.model.stores import KnownStore
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.configured import opened_repository
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.stores import known_stores, nearest_first, opened_store
from edurise_backup.operations.supply import STEP_IN_SECONDS
from edurise_backup.repository.repository import Repository


@dataclass(frozen=True, slots=True)
class Serving:
    """The store that was opened, and why it was taken, a sentence each."""

    store: str
    repository: Repository
    notes: tuple[str, ...] = ()


def open_nearest(settings: Settings, catalog: Catalog, errand: Errand, *, only: str = "") -> Serving:
    """Open the first store that opens, or `only` that one; raises NotFoundError, and why the last one does not open."""
    stores = known_stores(settings, catalog)
    primary = [store for store in stores if store.primary]
    ordered = [*primary, *nearest_first([store for store in stores if not store.primary])]
    chosen = [store for store in ordered if only in ("", store.name)]
    if only and not chosen:
        raise NotFoundError(
            f"no store is named {only!r}",
            safe="nothing was changed",
            hint=f"there are {', '.join(store.name for store in stores)}",
        )
    notes: list[str] = []
    for store in chosen[:-1]:
        try:
            return _serving(store, _opened(settings, store, errand, STEP_IN_SECONDS), notes)
        except CancelledError:
            raise
        except BackupError as error:
            notes.append(f"{store.name} was passed over: {error.message}")
    if not chosen:
        return Serving("", opened_repository(settings, errand))  # raises that none is configured
    return _serving(chosen[-1], _opened(settings, chosen[-1], errand, None), notes)


def _opened(settings: Settings, store: KnownStore, errand: Errand, silence: float | None) -> Repository:
    if store.primary and silence is None:
        return opened_repository(settings, errand)
    return opened_store(settings, store, replace(errand.limits_of(store.name, store.settings), silence=silence))


def _serving(store: KnownStore, repository: Repository, notes: list[str]) -> Serving:
    serves = [f"{store.name} serves: {store.settings.location}"] if notes else []
    return Serving(store.name, repository, (*notes, *serves))
