"""The primary is the repository that it was: noted when it opens, told when it does not, never taken for another one.

Backups that go on in another repository, made where the lost one was, would look
healthy and hold nothing of what was there before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

from edurise_backup.config import Settings
from edurise_backup.errors import (
    BackupError,
    ConflictError,
    DamageError,
    NotARepositoryError,
    TransientError,
    UnreachableError,
    WrongPassphraseError,
)
from edurise_backup.model.location import directory_of
from edurise_backup.model.stores import PRIMARY, CopyState
from edurise_backup.operations.catalogs import Catalog, catalog_is_there, open_catalog
from edurise_backup.operations.configured import opened_repository
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.jobs import storable
from edurise_backup.operations.stores import configured_stores, opened_store
from edurise_backup.repository.repository import Repository

_LOST = (NotARepositoryError, UnreachableError, TransientError, DamageError, WrongPassphraseError)
"""What says that the repository is not there any more, or not as it was."""
LOOK_EVERY = timedelta(minutes=15)
"""The watch looks so often whether a directory still holds the repository."""
ASK_EVERY = timedelta(hours=6)
"""A bucket is asked less often: each time costs requests."""
_PATIENCE = 20.0
"""Seconds that a store may be ill while the watch looks."""
_PAGE = "docs/operations/copies.md, The primary is lost"


def opened_primary(settings: Settings, catalog: Catalog, errand: Errand | None = None) -> Repository:
    """Open the configured repository for a catalog that knows it.

    Raises what opening raises, told in the register, and ConflictError for another repository than before.
    """
    with told_of_primary(settings, catalog):
        repository = opened_repository(settings, errand)
    accept_primary(settings, catalog, repository)
    return repository


def accept_primary(settings: Settings, catalog: Catalog, repository: Repository) -> None:
    """Note that the primary opened; raises ConflictError where another repository lies than before.

    One that was a copy may take its place: it has the same restore points.
    """
    catalog.stores.note_configured(configured_stores(settings))
    known = {row.name: row.repository_id for row in catalog.stores.all()}
    if known[PRIMARY] and repository.config.id not in known.values():
        trouble = ConflictError(
            f"at {settings.repository.location} lies another repository than the one that backups went to",
            safe="nothing was done there, and the catalog still knows what was in the other one",
            hint=f"bring that one back to its place (a mount, a bucket), or go on from a copy ({_PAGE}); when a new "
            "one is meant: `edurise-backup store adopt`",
        )
        catalog.stores.note_trouble(PRIMARY, trouble.message, unreachable=True)
        raise trouble
    catalog.stores.note_opened(PRIMARY, repository.config.id)


def note_primary_size(catalog: Catalog, repository: Repository, measured: int | None = None) -> None:
    """Note how large the repository is after a job: as that has measured it, else as its index says."""
    if measured is not None or len(repository.index):
        size = sum(size for _, size in repository.index.sizes()) if measured is None else measured
        catalog.stores.note_size(PRIMARY, size)


@contextmanager
def told_of_primary(settings: Settings, catalog: Catalog | None = None) -> Iterator[None]:
    """Have a failure to open the primary told in the register, with what to do where it is known to have existed.

    Without `catalog` the configured one is opened for that, when it is there.
    """
    try:
        yield
    except _LOST as error:
        with suppress(BackupError):  # the first error counts
            if catalog is not None or catalog_is_there(settings):
                with nullcontext(catalog) if catalog else open_catalog(settings) as opened:
                    assert opened is not None
                    _tell(settings, opened, error)
        raise


def look_at_primary(settings: Settings, catalog: Catalog, now: datetime) -> None:
    """Open the primary when nobody did lately, and write down whether it is there and the same as before.

    Nothing is raised for what is wrong with it: it is in the register then.
    """
    location = settings.repository.location
    if not location or not settings.repository.password("repository"):
        return
    catalog.stores.note_configured(configured_stores(settings))
    row = catalog.stores.get(PRIMARY)
    every = LOOK_EVERY if directory_of(location) is not None else ASK_EVERY
    if row.seen_at is not None and not row.trouble and timedelta(0) <= now - row.seen_at < every:
        return
    errand = Errand(settings)
    try:
        with told_of_primary(settings, catalog):
            limits = replace(errand.limits, silence=_PATIENCE)
            repository = opened_store(settings, configured_stores(settings)[0], limits)
        accept_primary(settings, catalog, repository)
    except BackupError:  # what is about this machine alone (no passphrase here) is no trouble of the store
        pass
    finally:
        if (traffic := errand.traffic()).operations:
            catalog.store_use.add_traffic(uuid4(), "watch", now, traffic)


def _tell(settings: Settings, catalog: Catalog, error: BackupError) -> None:
    catalog.stores.note_configured(configured_stores(settings))
    catalog.stores.note_trouble(PRIMARY, storable(error.message), unreachable=True)
    if not catalog.stores.get(PRIMARY).repository_id or not isinstance(error, NotARepositoryError):
        return
    copies = sorted({row.store for row in catalog.copies.all() if row.state is CopyState.WHOLE})
    error.hint = (
        "bring it back to its place (a mount, a bucket); do not make a new one there. "
        + (f"`edurise-backup recover` works meanwhile, from {', '.join(copies)}; " if copies else "")
        + f"if it is lost for good: {_PAGE}"
    )
