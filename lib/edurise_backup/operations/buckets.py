"""Open the buckets that the configuration names: as sources, or as places to restore into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edurise_backup.config import Settings, s3_access
from edurise_backup.config.places import bucket_place
from edurise_backup.errors import InputError, NotFoundError
from edurise_backup.model.location import is_s3, parse_s3
from edurise_backup.model.settings import BucketSettings
from edurise_backup.model.snapshot import Snapshot
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import Progress
from edurise_backup.s3.wire import Wire
from edurise_backup.sources.bucket import FOLDER, BucketOptions, BucketSource
from edurise_backup.sources.patterns import matcher

if TYPE_CHECKING:
    from edurise_backup.recovery.into_bucket import BucketTarget, Existing


def open_bucket_source(source: BucketSettings, progress: Progress) -> BucketSource:
    """Return the source; nothing is asked yet. Raises InputError for plain http that nobody allowed."""
    options = BucketOptions(exclude=source.exclude, versions=source.versions)
    return BucketSource(source.name, bucket_wire(source), options, progress=progress)


def bucket_wire(source: BucketSettings) -> Wire:
    """Return what asks the bucket's server."""
    return Wire(bucket_place(source), s3_access(source))


def refuse_repository(settings: Settings, source: BucketSettings) -> None:
    """Raise InputError when a repository lies in the source, or the source in it: a backup would back itself up."""
    for location in (settings.repository.location, *(copy.location for copy in settings.copies)):
        refuse_within(location, source)


def refuse_within(location: str, source: BucketSettings) -> None:
    """Raise InputError when the repository at a location lies in the source, or the source in it."""
    if not is_s3(location):
        return
    own, place = parse_s3(location), bucket_place(source)
    if (own.endpoint, own.bucket) != (place.endpoint, place.bucket):
        return
    inside, top = own.key(""), place.key("")
    if top.startswith(inside):
        raise InputError(
            f"{place.address} lies in the repository {own.address}",
            safe="nothing was backed up or changed",
            hint="keep the repository in a bucket of its own",
        )
    way = own.prefix[len(top) :].split("/")
    excluded = matcher(source.exclude)
    if inside.startswith(top) and not any(excluded("/" + "/".join(way[:count])) for count in range(1, len(way) + 1)):
        raise InputError(
            f"{place.address} contains the repository {own.address}: a backup would back itself up",
            safe="nothing was backed up or changed",
            hint=f'keep it in a bucket of its own, or exclude it: exclude = ["/{"/".join(way)}"]',
        )


def bucket_target(settings: Settings, name: str, existing: Existing) -> BucketTarget:
    """Return the place that the configuration gives a bucket now, to be restored into; raises NotFoundError."""
    source = next((source for source in settings.buckets if source.name == name), None)
    if source is None:
        raise NotFoundError(
            f"no bucket is named {name!r}",
            safe="nothing was changed",
            hint="name it in [[bucket]] with the place that it goes to, or have it restored as files",
        )
    refuse_repository(settings, source)
    from edurise_backup.recovery.into_bucket import BucketTarget  # backups do not wait for it

    return BucketTarget(bucket_wire(source), existing)


def is_of_bucket(snapshot: Snapshot) -> bool:
    """Whether the snapshot is of a bucket."""
    return any(path.startswith(f"{FOLDER}/") for path in snapshot.paths)


def look_at_bucket(source: BucketSettings) -> None:
    """Ask the bucket once; raises what stands in the way of listing it, with what to do."""
    open_bucket_source(source, SilentProgress()).look()
