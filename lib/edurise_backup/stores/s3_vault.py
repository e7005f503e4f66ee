"""What a bucket that keeps versions and locks can do beyond a store.

A plain DELETE in such a bucket destroys nothing: it puts a delete marker on
top. So space comes back only where a *version* is deleted, and what a stranger
has deleted or replaced is there below.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime

from edurise_backup.errors import BackupError, NotFoundError, TransientError, UnreachableError
from edurise_backup.model.object_lock import ObjectLock, Version
from edurise_backup.ports import Clock
from edurise_backup.s3.listing import pages_below
from edurise_backup.s3.perseverance import Perseverance
from edurise_backup.s3.wire import Answer, Wire, look


class S3Vault:
    """Locks, versions and markers of one bucket's folder; satisfies `ports.Vault`."""

    def __init__(self, wire: Wire, perseverance: Perseverance, lock: ObjectLock, clock: Clock, *, page: int) -> None:
        self.lock = lock
        self._wire = wire
        self._perseverance = perseverance
        self._clock = clock
        self._page = page

    def retention(self, name: str) -> Mapping[str, object]:
        """Return what a request that creates the object says of its lock."""
        if not self.lock.covers(name):
            return {}
        return {
            "ObjectLockMode": self.lock.mode.value.upper(),
            "ObjectLockRetainUntilDate": self.lock.until(self._clock()),
        }

    def hide(self, name: str) -> None:
        """Delete the object: for good where it is not locked and the credential may, else below a marker."""
        found = self._found(name)
        if found is None:
            return
        if not _locked(found, self._clock()):
            try:
                self._delete(name, found)
            except UnreachableError:  # who may not delete versions may still say that it is deleted
                pass
            else:
                return
        self._ask("DeleteObject", name)

    def remove(self, name: str) -> datetime | None:
        """Delete the object for good; one that is locked stays, and until when is returned."""
        found = self._found(name)
        if found is None:
            return None
        until = _locked(found, self._clock())
        if until is None:
            self._delete(name, found)
        return until

    def extend(self, name: str, until: datetime) -> bool:
        """Have the object locked until then, or longer; False when it is not there any more."""
        retention = {"Mode": self.lock.mode.value.upper(), "RetainUntilDate": until}
        try:
            self._ask("PutObjectRetention", name, Retention=retention, ChecksumAlgorithm="SHA256")
        except NotFoundError as error:
            if error.hint:  # the bucket is not there
                raise
            return False
        except BackupError:  # a lock is never shortened: one that lasts longer is what was asked for
            found = self._found(name)
            held = _locked(found, self._clock()) if found is not None else None
            if held is None or held < until:
                raise
        return True

    def created(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Yield (name, when it was written by the server's clock) of every object below the folder."""
        for page in pages_below(self._wire, self._perseverance, prefix, self._page):
            for found in page.get("Contents", []):
                yield self._name(found), found["LastModified"]

    def versions(self, prefix: str) -> Iterator[Version]:
        """Yield what begins with `prefix`, by name: of each page the versions, newest first, then its markers."""
        marker: dict[str, str] = {}
        while True:
            page = self._perseverance.run(lambda marker=marker: self._versions(prefix, marker))  # type: ignore[misc]
            found = [self._version(one, marker=False) for one in page.get("Versions", [])]
            found += [self._version(one, marker=True) for one in page.get("DeleteMarkers", [])]
            yield from sorted(found, key=lambda one: one.name)  # times are too coarse to tell what came first
            if not page.get("IsTruncated"):
                return
            following = {
                name: str(page[f"Next{name}"]) for name in ("KeyMarker", "VersionIdMarker") if page.get(f"Next{name}")
            }
            if not following or following == marker:
                raise TransientError(
                    f"the listing of versions of {self._wire.place.address}/{prefix} is not whole",
                    safe="nothing was done with it",
                    hint="run the same command again",
                )
            marker = following

    def read(self, version: Version) -> bytes:
        """Return the bytes of one version."""
        return bytes(self._ask("GetObject", version.name, VersionId=version.id)["Body"])

    def drop(self, version: Version) -> None:
        """Remove one version, or one marker: then what lies below it counts again."""
        self._ask("DeleteObject", version.name, VersionId=version.id)

    def put_on_top(self, name: str, content: bytes) -> None:
        """Make these bytes the newest version of an object that a stranger has replaced."""
        digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        self._ask("PutObject", name, Body=content, ContentMD5=digest, **self.retention(name))

    def _versions(self, prefix: str, marker: Mapping[str, str]) -> Answer:
        return self._wire.ask("ListObjectVersions", Prefix=self._wire.place.key(prefix), MaxKeys=self._page, **marker)

    def _version(self, one: Mapping[str, object], *, marker: bool) -> Version:
        modified, size = one["LastModified"], one.get("Size", 0)
        assert isinstance(modified, datetime)
        assert isinstance(size, int)
        return Version(self._name(one), str(one["VersionId"]), modified, one.get("IsLatest") is True, marker, size)

    def _name(self, one: Mapping[str, object]) -> str:
        return str(one["Key"])[len(self._wire.place.key("")) :]

    def _found(self, name: str) -> Answer | None:
        try:
            return self._perseverance.run(lambda: look(self._wire, name))
        except NotFoundError as error:
            if error.hint:
                raise
            return None

    def _delete(self, name: str, found: Answer) -> None:
        version = found.get("VersionId")
        self._ask("DeleteObject", name, **({"VersionId": str(version)} if version else {}))

    def _ask(self, operation: str, name: str, **parameters: object) -> Answer:
        return self._perseverance.run(lambda: self._wire.ask(operation, name=name, **parameters))


def _locked(found: Answer, now: datetime) -> datetime | None:
    until = found.get("ObjectLockRetainUntilDate")
    return until if isinstance(until, datetime) and until > now else None
