"""Note how much room the store's disk has left, so that pages and alarms can tell when it will be full."""

from __future__ import annotations

import logging
import shutil
from datetime import datetime

from edurise_backup.catalog.sessions import Sessions
from edurise_backup.catalog.space import StoreSpace
from edurise_backup.config import Settings
from edurise_backup.errors import BackupError
from edurise_backup.model.location import SCHEME
from edurise_backup.model.space import SpaceReading

_log = logging.getLogger(__name__)


def space_location(settings: Settings) -> str:
    """Return the name under which the readings of the configured store are kept."""
    return settings.repository.location.removeprefix("local:")


def note_space(sessions: Sessions, settings: Settings, now: datetime) -> SpaceReading | None:
    """Record the room of a local store's disk; None when the store has none that can be read.

    It goes along with a job that has done its work: what keeps it from being
    recorded is logged, and is no reason to fail that job.
    """
    location = space_location(settings)
    if not location or SCHEME.match(location):
        return None  # an object store has no end
    try:
        found = shutil.disk_usage(location)
        reading = SpaceReading(now, found.total, min(found.free, found.total))
        StoreSpace(sessions).add(location, reading)
    except (OSError, BackupError) as error:
        _log.warning("the room of %s could not be recorded: %s", location, error)
        return None
    return reading
