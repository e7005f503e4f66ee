"""What the configured store is used for and can do: its newest probe in the catalog, and who may delete there."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from edurise_backup.config import Settings, s3_access
from edurise_backup.errors import BackupError, ForbiddenError
from edurise_backup.model.location import is_s3
from edurise_backup.model.probe import Probe
from edurise_backup.model.store_settings import StoreSettings
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.opening import Limits
from edurise_backup.operations.probing import keep_probe, probe_location
from edurise_backup.ports import Progress
from edurise_backup.repository.repository import Repository

_log = logging.getLogger(__name__)
PROBE_EVERY = timedelta(days=7)
"""A check finds out anew what the server does when it was last found out longer ago."""


def refuse_append_only(store: StoreSettings, what: str) -> None:
    """Raise ForbiddenError where this host's credential is not meant to delete."""
    if store.append_only:
        raise ForbiddenError(
            f"{what} deletes, and this host's credential may not (repository.append_only)",
            safe="nothing was changed",
            hint="run it on the host that has the pruner's credential: docs/operations/object-storage.md, Two roles",
        )


def probe_again(
    catalog: Catalog, settings: Settings, repository: Repository, progress: Progress, limits: Limits
) -> Probe | None:
    """Find out what the bucket's server does, when nobody did lately; what keeps it from that fails no job."""
    location, now = settings.repository.location, catalog.clock()
    if not is_s3(location):
        return None
    try:
        last = catalog.store_use.last_probe()
        if last is not None and last.address == repository.store.address and _fresh(last, now):
            return last
        progress.phase("probe")
        found = probe_location(location, access=s3_access(settings.repository), refuse=False, limits=limits)
        keep_probe(repository, found)
        catalog.store_use.add_probe(found)
    except BackupError as error:
        _log.warning("the store could not be probed: %s", error)
        progress.raise_if_cancelled()
        return None
    return found


def _fresh(last: Probe, now: datetime) -> bool:
    return now - last.at < PROBE_EVERY
