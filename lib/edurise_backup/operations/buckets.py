"""Open the buckets that the configuration names: as sources, or as places to restore into."""

from __future__ import annotations

from edurise_backup.config import Settings, s3_access
from edurise_backup.config.places import bucket_place
from edurise_backup.errors import NotFoundError
from edurise_backup.model.settings import BucketSettings
from edurise_backup.model.snapshot import Snapshot
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import Progress
from edurise_backup.recovery.into_bucket import BucketTarget, Existing
from edurise_backup.s3.wire import Wire
from edurise_backup.sources.bucket import FOLDER, BucketOptions, BucketSource


def open_bucket_source(source: BucketSettings, progress: Progress) -> BucketSource:
    """Return the source; nothing is asked yet. Raises InputError for plain http that nobody allowed."""
    options = BucketOptions(exclude=source.exclude, versions=source.versions)
    return BucketSource(source.name, bucket_wire(source), options, progress=progress)


def bucket_wire(source: BucketSettings) -> Wire:
    """Return what asks the bucket's server."""
    return Wire(bucket_place(source), s3_access(source))


def bucket_target(settings: Settings, name: str, existing: Existing) -> BucketTarget:
    """Return the place that the configuration gives a bucket now, to be restored into; raises NotFoundError."""
    source = next((source for source in settings.buckets if source.name == name), None)
    if source is None:
        raise NotFoundError(
            f"no bucket is named {name!r}",
            safe="nothing was changed",
            hint="name it in [[bucket]] with the place that it goes to, or have it restored as files",
        )
    return BucketTarget(bucket_wire(source), existing)


def is_of_bucket(snapshot: Snapshot) -> bool:
    """Whether the snapshot is of a bucket."""
    return any(path.startswith(f"{FOLDER}/") for path in snapshot.paths)


def look_at_bucket(source: BucketSettings) -> None:
    """Ask the bucket once; raises what stands in the way of listing it, with what to do."""
    open_bucket_source(source, SilentProgress()).look()
