"""How a store's location is written: a directory, or a bucket as stock restic writes it."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from edurise_backup.errors import InputError
from edurise_backup.model.object_lock import NO_LOCK, ObjectLock

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
"""How a location begins that is no directory, as stock restic writes them; `local:` before it makes it one."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}\Z")
_AMAZON = re.compile(r"s3[.-](?:dualstack\.)?(?:([a-z0-9-]+)\.)?amazonaws\.com(?:\.cn)?\Z")
_FORM = "write s3:https://HOST/BUCKET/PREFIX"


@dataclass(frozen=True, slots=True)
class S3Place:
    """A folder of a bucket."""

    endpoint: str
    """`https://HOST[:PORT]`; of a source also with a path behind it."""
    bucket: str
    prefix: str = ""
    """Without a slash at either end."""
    table: str = "repository"
    """The table of the configuration that says how it is reached, for hints."""

    @property
    def address(self) -> str:
        """The place as a person writes it."""
        return "/".join(filter(None, (f"s3:{self.endpoint}", self.bucket, self.prefix)))

    @property
    def plaintext(self) -> bool:
        """Whether everything goes over the network unsealed, the names of objects and who asks for them, too."""
        return self.endpoint.startswith("http://")

    @property
    def amazon(self) -> bool:
        """Whether this is Amazon's own service, which keeps what its manual says."""
        return _AMAZON.match(urlsplit(self.endpoint).hostname or "") is not None

    @property
    def region(self) -> str:
        """The region that the host's name tells; empty when it tells none."""
        found = _AMAZON.match(urlsplit(self.endpoint).hostname or "")
        return (found[1] or "") if found else ""

    def key(self, name: str) -> str:
        """Return the key of an object of the store."""
        return f"{self.prefix}/{name}" if self.prefix else name


@dataclass(frozen=True, slots=True)
class S3Access:
    """How a bucket is reached and written to; without files or profile, boto3 looks where it always does."""

    access_key_file: str = ""
    secret_key_file: str = ""
    profile: str = ""
    region: str = ""
    ca_file: str = ""
    allow_plaintext: bool = False
    connect_seconds: float = 10
    answer_seconds: float = 60
    """So long may the server be silent."""
    lock: ObjectLock = NO_LOCK
    """How objects are locked when they are created."""


def directory_of(location: str) -> Path | None:
    """Return the directory that a location, or a store's address, names; None for one of another kind of store."""
    path = location.removeprefix("local:")
    return None if path == location and SCHEME.match(path) else Path(path)


def place_apart(endpoint: str, bucket: str, prefix: str = "") -> S3Place:
    """Return the place of a bucket whose server's address may have a path; raises InputError as `parse_s3` does."""
    found = re.match(r"(https?://[^/?#]+)(/[^?#]*)?\Z", endpoint)
    if found is None:
        raise InputError("the endpoint is no address", safe="nothing was done", hint="write https://HOST[:PORT]/PATH")
    place = parse_s3(f"s3:{found[1]}/{bucket}/{prefix}")
    if place.bucket != bucket:
        raise InputError(f"{bucket!r} is no bucket's name", safe="nothing was done", hint="name the bucket alone")
    return replace(place, endpoint=place.endpoint + (found[2] or "").rstrip("/"))


def is_s3(location: str) -> bool:
    """Whether the location names a bucket."""
    return location.startswith("s3:")


def parse_s3(location: str) -> S3Place:
    """Return the place that `s3:…` names; raises InputError, which repeats nothing that could be a secret."""
    text = location.removeprefix("s3:")
    if not re.match(r"https?://", text):
        text = "https://" + text.removeprefix("//")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None:
        raise InputError("the location names no server", safe="nothing was done", hint=_FORM)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise InputError(
            "the location holds a user, a password or a query",
            safe="nothing was done",
            hint=f"{_FORM}; the credential comes from the environment, a profile, or files",
        )
    bucket, _, prefix = parts.path.lstrip("/").partition("/")
    if not _BUCKET.match(bucket):
        raise InputError(f"the location names no bucket: {bucket!r}", safe="nothing was done", hint=_FORM)
    prefix = posixpath.normpath(prefix).strip("/") if prefix.strip("/") else ""
    if ".." in prefix.split("/") or not prefix.isprintable():
        raise InputError("the folder in the bucket is not one", safe="nothing was done", hint=_FORM)
    shown = f"[{host}]" if ":" in host else host
    return S3Place(f"{parts.scheme}://{shown}{f':{port}' if port else ''}", bucket, "" if prefix == "." else prefix)
