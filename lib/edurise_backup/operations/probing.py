"""Probe the bucket of a repository, refuse one that would lose its objects, and keep what was found beside them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from edurise_backup.errors import DamageError, InputError
from edurise_backup.model.location import S3Access, is_s3
from edurise_backup.model.probe import Probe
from edurise_backup.operations.opening import Limits, open_bucket
from edurise_backup.ports import Clock, utc_now
from edurise_backup.repository.repository import Repository

_FOLDER = "probes"


def probe_location(
    location: str,
    *,
    access: S3Access | None = None,
    clock: Clock = utc_now,
    refuse: bool = True,
    stop: Callable[[], None] | None = None,
    limits: Limits | None = None,
) -> Probe:
    """Say what the bucket's server does; raises InputError for a directory, and (`refuse`) an unfit bucket."""
    if not is_s3(location):
        raise InputError(
            "only a bucket can be probed", safe="nothing was done", hint="use --repository s3:https://HOST/BUCKET"
        )
    from edurise_backup.stores.s3_probe import probe_bucket

    if limits is None and stop is not None:
        limits = Limits(0, 0, stop)
    found = probe_bucket(open_bucket(location, limits, access=access), clock)
    if refuse and found.dangers:
        raise InputError(
            f"{found.address} would lose a repository's objects: {'; '.join(found.dangers)}",
            safe="no repository was made",
            hint="change the bucket's lifecycle rules, or use a folder or bucket without them",
        )
    return found


def keep_probe(repository: Repository, probe: Probe) -> None:
    """Store what was found, sealed, as `edurise/probes/TIME`."""
    repository.box.save_note(f"{_FOLDER}/{probe.at:%Y%m%dT%H%M%S%fZ}", msgspec.json.encode(probe))


def last_probe(repository: Repository) -> Probe | None:
    """Return what was found last, or None; raises DamageError for a record that is not readable."""
    name = max(repository.box.notes(_FOLDER), default=None)
    if name is None:
        return None
    try:
        return msgspec.json.decode(repository.box.load_note(name), type=Probe)
    except msgspec.DecodeError as error:
        raise DamageError(f"{name} holds no probe's record", hint="`edurise-backup repo probe` writes one") from error
