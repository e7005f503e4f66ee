"""A server that enforces object locks: moto, in this process. For the semantics of locks and versions alone.

It checks no signatures and keeps everything in memory; the real servers of `s3_servers` accept locks and do not
enforce them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edurise_backup.model.location import parse_s3
from edurise_backup.model.object_lock import ObjectLock
from edurise_backup.ports import Clock, utc_now
from edurise_backup.s3.parts import PartSizes
from edurise_backup.stores.s3 import S3Settings, S3Store
from flows.processes import LOOPBACK
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import QuickClock, access_to


@pytest.fixture(scope="session")
def locking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Give a running server that enforces locks."""
    from moto.server import ThreadedMotoServer  # takes a second, which most tests need not pay

    server = ThreadedMotoServer(LOOPBACK, 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield S3Server("moto", port, "tests", "a-canary-of-tests", tmp_path_factory.mktemp("moto"))
    server.stop()


def locking_bucket(server: S3Server) -> str:
    """Make a bucket that keeps versions and locks."""
    name = f"tests-{secrets.token_hex(6)}"
    server.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


def locked_store(
    server: S3Server,
    bucket: str,
    folder: Path,
    lock: ObjectLock,
    *,
    clock: Clock = utc_now,
    sizes: PartSizes | None = None,
) -> S3Store:
    """Return a store that locks what it writes; its waits take no time."""
    settings = S3Settings(timing=QuickClock().timing, clock=clock, sizes=sizes or PartSizes())
    place = parse_s3(server.location(bucket, "some/folder"))
    return S3Store(place, replace(access_to(server, folder), lock=lock), settings)
