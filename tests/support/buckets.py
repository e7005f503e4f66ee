"""Buckets as sources: filled with objects of every kind, described in full, backed up."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from edurise_backup.model.location import parse_s3
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import Progress
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Label, Saved, save_snapshot
from edurise_backup.s3.perseverance import Patience
from edurise_backup.s3.wire import Wire
from edurise_backup.sources.bucket import READERS, BucketOptions, BucketSource
from tests.support.engine import AT_ONCE
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import QuickClock, access_to

PLAIN_KEYS = (
    "a-1",
    "a.txt",
    "a/b",
    "a/c/d",
    "a0",
    "A/x",
    "é/ü",
    "x y+z%41&c",
    "essays/essay 1.txt",
    "deep/" + "l" * 200,
)
HOSTILE_KEYS = (
    *("a", "a/", "a//b", "/lead", "./dot", "../up", "d/../e", "d/./e", "trail/", "sp ", "q?x#y", "<&>'\""),
    *("ctl\x01\x1f\n\t", "del\x7f", "%=plain", "%+a/b", "%#x", "b%@c", "100%", "a\\b", "\u2028sep", "emoji😀"),
    *("b" * 300, "b" * 300 + "/x", "c" * 1000, "ü" * 130, "ctl\x01/below/it", "-rf", "a/%+b", "a/b/c", "~", "\u0301"),
)
"""Keys that are no good file names, or meet when they are written as paths."""
HEADERS = {
    "ContentType": "text/x-essay; charset=utf-8",
    "CacheControl": "max-age=3600",
    "ContentDisposition": 'attachment; filename="e.txt"',
    "ContentEncoding": "gzip",
    "ContentLanguage": "de",
}
META = {"owner": "pupil 7", "two-words": "a value, with: signs"}
_TOLD = (*HEADERS, "Metadata", "ContentLength")


def key_and_bytes(key: str) -> bytes:
    """Return bytes that no other key has."""
    return hashlib.sha256(key.encode()).digest() * 3


def fill(server: S3Server, bucket: str, keys: Iterable[str]) -> None:
    """Put an object under each key, some with every header that is kept, some with none; one empty, one large."""
    client = server.client()
    for number, key in enumerate(keys):
        more: dict[str, Any] = {**HEADERS, "Metadata": META} if number % 2 == 0 else {}
        client.put_object(Bucket=bucket, Key=key, Body=key_and_bytes(key), **more)
    client.put_object(Bucket=bucket, Key="empty", Body=b"", ContentType="text/nothing")
    client.put_object(Bucket=bucket, Key="large/film", Body=large(), ContentType="video/mp4")


def large() -> bytes:
    """Return more bytes than one range has, and not a multiple of one."""
    return random.Random(1).randbytes((17 << 20) + 13)


@dataclass(frozen=True, slots=True)
class Object:
    """Everything of an object that a restore must bring back."""

    digest: str
    told: Mapping[str, object]


def described(server: S3Server, bucket: str, prefix: str = "") -> dict[str, Object]:
    """Read every object below the prefix, and every header that a person can give it."""
    client = server.client()
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for one in page.get("Contents", []):
            answer = client.get_object(Bucket=bucket, Key=one["Key"])
            told = {name: answer.get(name) for name in _TOLD}
            told["Metadata"] = {name.lower(): value for name, value in answer["Metadata"].items()}
            digest = hashlib.sha256(answer["Body"].read()).hexdigest()
            found[one["Key"].removeprefix(prefix)] = Object(digest, told)
    return found


@dataclass(slots=True)
class Saving:
    """Backs a bucket up, again and again; waits take no time."""

    server: S3Server
    bucket: str
    folder: Path
    prefix: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    patience: Patience = field(default_factory=Patience)
    source: BucketSource | None = None
    """The one that was backed up last."""

    def save(
        self,
        repository: Repository,
        *,
        progress: Progress | None = None,
        settled: timedelta = timedelta(0),
        **more: Any,
    ) -> Saved:
        """Publish a snapshot."""
        self.source = self.open(progress=progress, settled=settled, **more)
        with repository.lock(settle=AT_ONCE) as lock:
            repository.load_index()
            return save_snapshot(
                repository,
                self.source,
                Label([self.source.path], host="tests"),
                lock,
                progress=progress or SilentProgress(),
                readers=READERS,
            )

    def open(self, *, progress: Progress | None = None, settled: timedelta = timedelta(0), **more: Any) -> BucketSource:
        """Return the source."""
        place = parse_s3(self.server.location(self.bucket, self.prefix))
        options = BucketOptions(
            settled=settled, patience=self.patience, timing=QuickClock().timing, **{**self.options, **more}
        )
        wire = Wire(place, access_to(self.server, self.folder))
        return BucketSource("uploads", wire, options, progress=progress or SilentProgress())

    def requests(self, *operations: str) -> int:
        """Return how often the last backup asked for these operations; for none: for anything."""
        assert self.source is not None
        traffic = self.source.traffic()
        return traffic.requests(*operations) if operations else traffic.total.requests
