"""Say what restoring a snapshot into a bucket takes, and where it goes."""

from __future__ import annotations

from collections.abc import Sequence

from edurise_backup.config import s3_access
from edurise_backup.errors import InputError
from edurise_backup.model.location import parse_s3
from edurise_backup.operations.buckets import is_of_bucket
from edurise_backup.operations.restoring import plan_files
from edurise_backup.operations.snapshots import Chosen
from edurise_backup.recovery.into_bucket import (
    BucketPlan,
    BucketTarget,
    Existing,
    Sent,
    plan_objects,
    restore_into_bucket,
)
from edurise_backup.repository.repository import Repository
from edurise_backup.s3.wire import Wire

__all__ = ["Existing", "Sent", "plan_into_bucket", "restore_into_bucket", "target_at"]


def plan_into_bucket(
    repository: Repository, chosen: Chosen, *, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> BucketPlan:
    """Return the objects that the chosen files are; the index must be loaded. Raises InputError, NotFoundError."""
    if chosen.folder.strip("/") and is_of_bucket(chosen.snapshot):
        raise InputError(
            "a folder of a bucket's snapshot has no keys of its own",
            safe="nothing was sent",
            hint=f"name the snapshot alone, and choose: --include {chosen.folder}",
        )
    return plan_objects(plan_files(repository, chosen, include=include, exclude=exclude))


def target_at(location: str, existing: Existing, repository: Repository) -> BucketTarget:
    """Return the place `s3:…`, reached as the environment says; raises InputError, also for the repository's own."""
    place = parse_s3(location)
    own = f"{repository.store.address}/"
    if f"{place.address}/".startswith(own) or own.startswith(f"{place.address}/"):
        raise InputError(
            f"{place.address} is where the repository {repository.store.address} lies",
            safe="nothing was sent",
            hint="choose another bucket or folder",
        )
    return BucketTarget(Wire(place, s3_access()), existing)
