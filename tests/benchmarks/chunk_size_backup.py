"""Make one backup with given chunk sizes, in a process of its own, and say what it cost: `chunk_sizes` runs this.

It does what `operations.engine.backup_paths` and `save_snapshot` do, which let
no chunk sizes through. What it costs is counted from the moment when the source is
opened and the index loaded until the snapshot is published; opening the
repository (0.3 s of scrypt) is not in it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edurise_backup.model.database import Secret
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.pipeline.archiver import Archived
from edurise_backup.pipeline.chunker import ChunkSizes
from edurise_backup.ports import Source
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.tools import find_tools
from edurise_backup.repository.keys import ScryptCost
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Label, save_snapshot
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.sources.database import DatabaseSource
from edurise_backup.sources.files import FilesSource
from edurise_backup.stores.local import LocalStore
from tests.benchmarks.measuring import answer_with, asked, cpu_seconds, peak

PASSPHRASE = "benchmark"
_QUICK = ScryptCost(n=1 << 10, r=8, p=1)


class Database(msgspec.Struct):
    """A server of the benchmark's own, and the database in it."""

    host: str
    port: int
    name: str
    password: str


class Backup(msgspec.Struct):
    """What is backed up (a directory, or a database) to which repository; `average` in bytes."""

    repository: str
    average: int
    path: str = ""
    exclude: list[str] = []
    database: Database | None = None


class Cost(msgspec.Struct):
    """What one backup cost, and what the repository holds afterwards; sizes in bytes."""

    wall: float
    cpu: float
    """Of this process and those that it started (for small files, pg_dump), not of the database's server."""
    peak: int
    """Of this process."""
    source: int
    """What the snapshot holds."""
    added: int
    """What the packs of the store hold more than before."""
    stored: int
    """What they hold."""
    new_blobs: int
    blobs: int
    """What the index lists."""
    index: int
    """Bytes of the index files."""


def main() -> None:
    """Make the backup, and the repository when it is not there."""
    backup = asked(Backup)
    store = LocalStore(Path(backup.repository))
    if Path(backup.repository, "config").exists():
        repository = Repository.open(store, PASSPHRASE)
    else:
        repository, _ = Repository.create(store, PASSPHRASE, cost=_QUICK)
    before = _bytes_of(repository, Kind.PACK)
    wall, cpu = time.monotonic(), cpu_seconds()
    archived, new_blobs = _back_up(repository, backup)
    wall, cpu = time.monotonic() - wall, cpu_seconds() - cpu
    answer_with(
        Cost(
            wall=wall,
            cpu=cpu,
            peak=peak(),
            source=archived.stats.source_bytes,
            added=_bytes_of(repository, Kind.PACK) - before,
            stored=_bytes_of(repository, Kind.PACK),
            new_blobs=new_blobs,
            blobs=len(repository.index),
            index=_bytes_of(repository, Kind.INDEX),
        )
    )


def _back_up(repository: Repository, backup: Backup) -> tuple[Archived, int]:
    """Publish a snapshot; return what was archived, and how many blobs were new."""
    sizes = ChunkSizes(backup.average // 4, backup.average, backup.average * 4)
    with _opened(backup) as (source, paths), repository.lock(at_once=True) as lock:
        repository.load_index(strict=False)
        saved = save_snapshot(
            repository,
            source,
            Label(paths, host="benchmark"),
            lock,
            progress=SilentProgress(),
            settings=WriterSettings(sizes=sizes),
        )
    if saved.archived.problems:
        raise SystemExit("\n".join(saved.archived.problems[:10]))
    return saved.archived, saved.added.data_blobs + saved.added.tree_blobs


@contextmanager
def _opened(backup: Backup) -> Iterator[tuple[Source, list[str]]]:
    """Give the source, and its paths."""
    if backup.database is None:
        files = FilesSource([backup.path], exclude=backup.exclude)
        files.scan_ahead()
        yield files, files.paths
        return
    wanted = backup.database
    address = Address(wanted.host, wanted.port, password=Secret(wanted.password))
    with connect(address) as connection:
        tools = find_tools(connection.info.server_version // 10000)
    with DatabaseSource(address, name=wanted.name, tools=tools, databases=[wanted.name]) as database:
        yield database, [database.folder]


def _bytes_of(repository: Repository, kind: Kind) -> int:
    return sum(size for _, size in repository.store.list(kind))


if __name__ == "__main__":
    main()
