"""Stores in buckets of real servers: a new bucket for each test, waits that take no time."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

from edurise_backup.model.location import S3Access, parse_s3
from edurise_backup.s3.parts import PartSizes
from edurise_backup.s3.perseverance import Patience, Timing
from edurise_backup.stores.s3 import S3Settings, S3Store
from tests.support.s3_servers import S3Server

SMALL_PARTS = PartSizes(whole=1 << 20, part=5 << 20)


@dataclass(slots=True)
class QuickClock:
    """A clock that only waits move: a minute of them passes at once."""

    seconds: float = 0.0
    alarms: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    """What happens once so many seconds have passed."""
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        """Return the time."""
        return self.seconds

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        with self._guard:
            self.seconds += seconds
            due = [act for moment, act in self.alarms if moment < self.seconds]
            self.alarms = [(moment, act) for moment, act in self.alarms if moment >= self.seconds]
        for act in due:
            act()

    @property
    def timing(self) -> Timing:
        """What a store is given."""
        return Timing(self.now, self.pause, lambda: 1.0)


def new_bucket(server: S3Server) -> str:
    """Make a bucket and return its name."""
    name = f"tests-{secrets.token_hex(6)}"
    server.client().create_bucket(Bucket=name)
    return name


def access_to(server: S3Server, folder: Path, *, answer_seconds: float = 60) -> S3Access:
    """Return an access whose keys lie in files; other processes may read the same files meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"access": server.access_key, "secret": server.secret_key}
    for name, key in files.items():
        new = folder / f"{name}.key.{secrets.token_hex(6)}"
        new.write_text(f"{key}\n")
        new.replace(folder / f"{name}.key")
    return S3Access(
        access_key_file=str(folder / "access.key"),
        secret_key_file=str(folder / "secret.key"),
        allow_plaintext=True,
        answer_seconds=answer_seconds,
    )


def store_at(
    server: S3Server,
    bucket: str,
    folder: Path,
    *,
    prefix: str = "some/folder",
    sizes: PartSizes | None = None,
    patience: Patience | None = None,
    clock: QuickClock | None = None,
    answer_seconds: float = 60,
    page: int = 1000,
    trusted: bool | None = None,
) -> S3Store:
    """Return a store in the bucket; its waits take no time."""
    settings = S3Settings(
        patience=patience or Patience(),
        sizes=sizes or PartSizes(),
        timing=(clock or QuickClock()).timing,
        page=page,
        trusted=trusted,
    )
    place = parse_s3(server.location(bucket, prefix))
    return S3Store(place, access_to(server, folder, answer_seconds=answer_seconds), settings)


class BucketObjects(MutableMapping[str, bytes]):
    """The objects of a store below a folder of a bucket, as they lie there: looked at and changed behind its back."""

    def __init__(self, server: S3Server, bucket: str, folder: Path, objects: Mapping[str, bytes]) -> None:
        self._client = server.client()
        self._bucket = bucket
        self._prefix = f"disk-{secrets.token_hex(6)}/"
        self.store = store_at(server, bucket, folder, prefix=self._prefix.rstrip("/"))
        self.update(objects)

    def __getitem__(self, name: str) -> bytes:
        try:
            return bytes(self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"].read())
        except self._client.exceptions.NoSuchKey:
            raise KeyError(name) from None

    def __setitem__(self, name: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=bytes(content))

    def __delitem__(self, name: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name)

    def __iter__(self) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        names = [found["Key"].removeprefix(self._prefix) for page in pages for found in page.get("Contents", [])]
        return iter(names)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __ior__(self, more: Mapping[str, bytes]) -> BucketObjects:
        self.update(more)
        return self


def remove_bucket(server: S3Server, bucket: str) -> None:
    """Remove the bucket with all that is in it."""
    client = server.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            client.delete_object(Bucket=bucket, Key=found["Key"])
    client.delete_bucket(Bucket=bucket)
