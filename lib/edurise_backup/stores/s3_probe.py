"""Find out what a bucket's server really does: servers take headers that they then ignore.

Everything is tried on objects of the probe's own, below `edurise/probe/`, which are removed again.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

import msgspec

from edurise_backup.errors import BackupError, NotFoundError, TransientError
from edurise_backup.model.probe import Finding, Probe, judge_lifecycle, remarks_on
from edurise_backup.ports import Clock
from edurise_backup.s3.refusals import MANGLED
from edurise_backup.s3.wire import Answer
from edurise_backup.stores.s3 import S3Store

_LOCK = timedelta(seconds=30)


def probe_bucket(store: S3Store, clock: Clock) -> Probe:
    """Try everything; raises what stands in the way of any write (credential, bucket, network)."""
    trial = _Trial(store)
    store.put(trial.name("first"), [b"first"])
    try:
        return trial.outcome(clock)
    finally:
        trial.clean()


class _Trial:
    """One probe."""

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._folder = f"edurise/probe/{secrets.token_hex(8)}"
        self._written: list[str] = []

    def name(self, word: str) -> str:
        """Return the name of an object of this probe, which will be removed."""
        name = f"{self._folder}/{word}"
        self._written.append(name)
        return name

    def outcome(self, clock: Clock) -> Probe:
        """Try one thing after the other; the first object's metadata before anything replaces it."""
        rules, lifecycle = self._rules()
        dangers, remarks = judge_lifecycle(rules, self._store.wire.place.prefix)
        skew = self._skew(clock())
        found = Probe(
            address=self._store.address,
            at=clock(),
            metadata=self._metadata(),
            ranges=_found(self._store.get(f"{self._folder}/first", offset=1, length=2) == b"ir"),
            listed_at_once=_found((f"{self._folder}/first", 5) in set(self._store.list(self._folder))),
            conditional_create=self._conditional(),
            md5=self._refused("md5", ContentMD5=_digest(hashlib.md5(b"other", usedforsecurity=False).digest())),
            sha256=self._refused("sha256", ChecksumSHA256=_digest(hashlib.sha256(b"other").digest())),
            deletes=self._deletes(),
            versioning=self._versioning(),
            object_lock=self._lock(clock()),
            clock_skew_seconds=None if skew is None else round(skew.total_seconds(), 1),
            lifecycle=lifecycle,
            dangers=tuple(dangers),
        )
        return msgspec.structs.replace(found, remarks=(*remarks, *remarks_on(found, rules)))

    def clean(self) -> None:
        """Remove what was written, as far as this credential may."""
        for name in self._written:
            with suppress(BackupError):
                self._store.delete(name)

    def _ask(self, operation: str, *, name: str = "", **parameters: object) -> Answer:
        return self._store.persevere(lambda: self._store.wire.ask(operation, name=name, **parameters))

    def _conditional(self) -> Finding:
        name = f"{self._folder}/first"
        try:
            self._ask("PutObject", name=name, Body=b"first", IfNoneMatch="*")
        except TransientError:
            return Finding.UNKNOWN
        except BackupError:  # it exists already; or the header is not known, which replaces nothing either
            return _found(self._honoured())
        return Finding.NO

    def _honoured(self) -> bool:
        """Whether the refusal was about the object, not about the header: a new name must pass."""
        try:
            self._ask("PutObject", name=self.name("new"), Body=b"new", IfNoneMatch="*")
        except BackupError:
            return False
        return True

    def _refused(self, word: str, **digest: object) -> Finding:
        """Whether bytes are refused that are not those of the digest."""
        name = self.name(word)

        def send() -> Finding:
            try:
                self._store.wire.ask("PutObject", name=name, Body=b"these", **digest)
            except TransientError as error:
                if MANGLED not in error.message:
                    raise
                return Finding.YES
            return Finding.NO

        try:
            return self._store.persevere(send)
        except BackupError:  # the server is ill, or it does not know the header, or refuses it in words of its own
            return Finding.UNKNOWN

    def _metadata(self) -> Finding:
        found = self._ask("HeadObject", name=f"{self._folder}/first").get("Metadata", {})
        return _found(any(str(key).lower() == "edurise-put" for key in found))

    def _deletes(self) -> Finding:
        name = self.name("gone")
        self._store.put(name, [b"gone"])
        try:
            self._store.delete(name)
            self._store.size(name)
        except NotFoundError:
            return Finding.YES
        except BackupError:
            return Finding.NO
        return Finding.NO

    def _versioning(self) -> str:
        said = self._told(lambda: self._ask("GetBucketVersioning"))
        if said is None:
            return "unknown"
        return str(said.get("Status") or "off").lower()

    def _lock(self, now: datetime) -> str:
        said = self._told(lambda: self._ask("GetObjectLockConfiguration"))
        enabled = (said or {}).get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"
        if not enabled and self._versioning() != "enabled":
            return "unknown" if said is None else "off"
        if not self._removes("free"):
            return "unknown"  # a credential that may delete no version at all tells nothing about locks
        locked = self._removes("locked", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=now + _LOCK)
        if locked is None:  # it refuses to lock
            return "unknown" if enabled else "off"
        return "not enforced" if locked else "enforced"

    def _removes(self, word: str, **retention: object) -> bool | None:
        """Whether a version of an object with this retention can be removed; None when it cannot be written."""
        name = self.name(word)
        digest = _digest(hashlib.md5(b"version", usedforsecurity=False).digest())
        try:
            written = self._ask("PutObject", name=name, Body=b"version", ContentMD5=digest, **retention)
        except BackupError:
            return None
        try:
            self._ask("DeleteObject", name=name, VersionId=str(written.get("VersionId", "")))
        except BackupError:
            return False
        return True

    def _rules(self) -> tuple[list[dict[str, object]], str]:
        said = self._told(lambda: self._ask("GetBucketLifecycleConfiguration"))
        if said is None:
            return [], "unknown"
        return list(said.get("Rules", [])), "read"

    def _told(self, ask: Callable[[], Answer]) -> Answer | None:
        """Return what the server says; nothing at all is an empty answer, a refusal None."""
        try:
            return ask()
        except NotFoundError:
            return {}
        except BackupError:
            return None

    def _skew(self, now: datetime) -> timedelta | None:
        theirs = self._store.now()
        return None if theirs is None else theirs - now


def _found(shown: bool) -> Finding:
    return Finding.YES if shown else Finding.NO


def _digest(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
