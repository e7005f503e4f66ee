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
from edurise_backup.errors import BackupError, ConfigError, ConflictError, NotARepositoryError
from edurise_backup.model.location import directory_of
from edurise_backup.model.stores import PRIMARY
from edurise_backup.operations.catalogs import Catalog, catalog_is_there, open_catalog
from edurise_backup.operations.configured import opened_repository
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.jobs import storable
from edurise_backup.operations.stores import configured_stores, opened_store
from edurise_backup.repository.repository import Repository

LOOK_EVERY = timedelta(minutes=15)
"""The watch looks so often whether a directory still holds the repository."""
ASK_EVERY = timedelta(hours=6)
"""A bucket is asked less often: each time costs requests."""
AGAIN = timedelta(minutes=5)
ASK_AGAIN = timedelta(minutes=30)
"""While it is away a process looks again so often: of a directory, and of a bucket."""
_PATIENCE = 20.0
"""Seconds that a store may be ill while the watch looks."""
_PAGE = "docs/operations/copies.md, The primary is lost"


def opened_primary(settings: Settings, catalog: Catalog, errand: Errand | None = None) -> Repository:
    """Open the configured repository for a catalog that knows it.

    Raises what opening raises, and ConflictError for another repository than before.
    """
    with told_of_primary(settings, catalog):
        repository = opened_repository(settings, errand)
    accept_primary(settings, catalog, repository)
    return repository


def accept_primary(settings: Settings, catalog: Catalog, repository: Repository) -> None:
    """Note that the primary opened; raises ConflictError where another repository lies than before.

    Also one that was a copy of it: that it is the primary from now on is an admin's word (`adopt_store`).
    """
    catalog.stores.note_configured(configured_stores(settings))
    before = catalog.stores.get(PRIMARY).repository_id
    if before and before != repository.config.id:
        raise ConflictError(
            f"at {settings.repository.location} lies another repository than the one that backups went to",
            safe="nothing was done there, and the catalog still knows what was in the other one",
            hint=f"bring that one back to its place (a mount, a bucket); when this one is meant, a copy that takes its "
            f"place or a new one: `edurise-backup store adopt` ({_PAGE})",
        )
    catalog.stores.note_opened(PRIMARY, repository.config.id)


@contextmanager
def told_of_primary(settings: Settings, catalog: Catalog | None = None) -> Iterator[None]:
    """Have nobody led to make a new repository where one is known to have been.

    Without `catalog` the configured one is opened for that, when it is there.
    """
    try:
        yield
    except NotARepositoryError as error:
        with suppress(BackupError):  # the first error counts
            if catalog is not None or catalog_is_there(settings):
                with nullcontext(catalog) if catalog else open_catalog(settings) as opened:
                    assert opened is not None
                    _explain(opened, error)
        raise


def look_at_primary(settings: Settings, catalog: Catalog, now: datetime) -> None:
    """Open the primary when nobody did lately, and write down whether it is there and the same as before.

    Nothing is raised for what is wrong with it: it is in the register then.
    """
    location = settings.repository.location
    if not location or not settings.repository.password("repository"):
        return
    catalog.stores.note_configured(configured_stores(settings))
    if not _due(catalog, now, local=directory_of(location) is not None):
        return
    catalog.primary_looked_at = now
    errand = Errand(settings)
    try:
        limits = replace(errand.limits, silence=_PATIENCE)
        accept_primary(settings, catalog, opened_store(settings, configured_stores(settings)[0], limits))
    except ConfigError:
        return  # about this machine alone: no passphrase here
    except BackupError as error:
        catalog.stores.note_trouble(PRIMARY, storable(error.message), unreachable=True)
    finally:
        if (traffic := errand.traffic()).operations:
            catalog.store_use.add_traffic(uuid4(), "watch", now, traffic)


def _due(catalog: Catalog, now: datetime, *, local: bool) -> bool:
    """Whether it is time to look: when nobody has seen the primary lately, and this process did not just try."""
    row, own = catalog.stores.get(PRIMARY), catalog.primary_looked_at
    every, again = (LOOK_EVERY, AGAIN) if local else (ASK_EVERY, ASK_AGAIN)
    if row.trouble:
        return own is None or not timedelta(0) <= now - own < again
    return row.seen_at is None or not timedelta(0) <= now - row.seen_at < every


def _explain(catalog: Catalog, error: NotARepositoryError) -> None:
    if not catalog.stores.get(PRIMARY).repository_id:
        return
    copies = catalog.copies.serving()
    error.hint = (
        "bring it back to its place (a mount, a bucket); do not make a new one there. "
        + (f"`edurise-backup recover` works meanwhile, from {', '.join(copies)}; " if copies else "")
        + f"if it is lost for good: {_PAGE}"
    )
