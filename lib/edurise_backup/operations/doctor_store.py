"""What `doctor` says of a bucket: it tries to delete what must not be deletable, and expects to be refused.

Everything is tried on objects of its own, below `edurise/probe/`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

from edurise_backup.config import Settings, s3_access
from edurise_backup.errors import BackupError, UnreachableError
from edurise_backup.model.location import is_s3
from edurise_backup.model.object_lock import ObjectLock
from edurise_backup.operations.findings import Finding, Level
from edurise_backup.operations.opening import open_bucket
from edurise_backup.repository.layout import CONFIG, NOTES
from edurise_backup.s3.wire import look
from edurise_backup.stores.s3 import S3Store

_FOLDER = f"{NOTES}/probe"
_HELD = timedelta(minutes=1)
_OLD = timedelta(minutes=10)
_PAGE = "docs/operations/object-storage.md"
_MD5 = base64.b64encode(hashlib.md5(b"doctor", usedforsecurity=False).digest()).decode()


def store_findings(settings: Settings) -> Iterator[Finding]:
    """Say whether whoever breaks in here could destroy the backups; raises what the store raises."""
    location = settings.repository.location
    if not is_s3(location):
        return
    bucket = open_bucket(location, access=s3_access(settings.repository))
    if bucket.vault.lock:
        yield from _held(bucket, bucket.vault.lock, settings)
    if settings.repository.append_only:
        yield from _may_not_delete(bucket)
    elif not bucket.vault.lock:
        yield Finding(
            Level.WARNING,
            "object lock",
            "whoever breaks into this machine can delete its backups in the bucket",
            f"lock objects (repository.lock_mode), or use a credential that may not delete: {_PAGE}",
        )


def _held(bucket: S3Store, lock: ObjectLock, settings: Settings) -> Iterator[Finding]:
    now = settings.around.clock()
    name = f"{_FOLDER}/doctor-locked"
    retention = {"ObjectLockMode": lock.mode.value.upper(), "ObjectLockRetainUntilDate": now + _HELD}
    try:
        written = _ask(bucket, "PutObject", name, Body=b"doctor", ContentMD5=_MD5, **retention)
    except UnreachableError:
        raise
    except BackupError as error:
        told = f"the bucket takes no locked objects: {error.message}"
        yield Finding(Level.FAULT, "object lock", told, f"make a bucket with object lock: {_PAGE}")
        return
    if _deleted(bucket, name, str(written.get("VersionId", ""))):
        told = "an object was deleted although it is locked: the server takes locks and does not keep them"
        yield Finding(Level.FAULT, "object lock", told, f"use a service that enforces object lock: {_PAGE}")
        return
    yield Finding(Level.FINE, "object lock", f"an object locked in the mode {lock.mode.value} could not be deleted")
    _tidy(bucket, settings)
    head = bucket.persevere(lambda: look(bucket.wire, CONFIG))
    until = head.get("ObjectLockRetainUntilDate")
    if until is None or until <= now:
        told = "the repository's config is not locked (or this credential may not see it)"
        yield Finding(Level.WARNING, "object lock", told, "prune: it extends the locks of everything that lives on")
    else:
        yield Finding(Level.FINE, "object lock", f"the repository's config is locked until {until:%Y-%m-%d %H:%M} UTC")


def _may_not_delete(bucket: S3Store) -> Iterator[Finding]:
    name = f"{_FOLDER}/doctor"
    _ask(bucket, "PutObject", name, Body=b"doctor", ContentMD5=_MD5)
    if _deleted(bucket, name):
        told = "this host's credential may delete outside of locks/, and the configuration says that it may not"
        yield Finding(Level.FAULT, "credential", told, f"give it the writer's policy: {_PAGE}, Two roles")
    else:
        yield Finding(Level.FINE, "credential", "it may not delete outside of locks/")


def _deleted(bucket: S3Store, name: str, version: str = "") -> bool:
    """Whether the object could be deleted, asked behind the store's back."""
    try:
        _ask(bucket, "DeleteObject", name, **({"VersionId": version} if version else {}))
    except UnreachableError:
        return False
    return True


def _tidy(bucket: S3Store, settings: Settings) -> None:
    """Remove what earlier trials had to leave, because it was locked."""
    limit = settings.around.clock() - _OLD
    with suppress(BackupError):
        for version in list(bucket.vault.versions(f"{_FOLDER}/")):
            if version.modified < limit:
                bucket.vault.drop(version)


def _ask(bucket: S3Store, operation: str, name: str, **parameters: object) -> dict[str, object]:
    return dict(bucket.persevere(lambda: bucket.wire.ask(operation, name=name, **parameters)))
