"""PostgreSQL clusters of several versions for tests of physical backups."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from edurise_backup.model.cluster import ClusterRecord, folder_of
from edurise_backup.model.database import Secret
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.clusters import record_in
from edurise_backup.operations.snapshots import Chosen, tree_of
from edurise_backup.postgres.connection import connect
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.tools import find_server
from edurise_backup.recovery.planning import plan_restore
from edurise_backup.recovery.restorer import restore
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Saved, find_parent
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.sources.cluster.source import ClusterSource, open_local, open_remote
from tests.support.engine import back_up_source

NEWEST = 18
MAJORS = (15, pytest.param(16, marks=pytest.mark.nightly), NEWEST)
"""As parameters: 15 is Debian's, 16 and 18 are embedded; what lies between two that pass is tried at night."""
QUICK = {"fsync": "off"}
SOURCE = "main"


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """Yield a folder that the server's user can reach by its name, too, whoever runs the tests."""
    folder = Path(tempfile.mkdtemp(prefix="edurise-clusters-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def given_to_server(folder: Path, server: Server) -> Path:
    """Make a folder that belongs to the server's user."""
    folder.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        owner = server.data_directory.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
    return folder


@contextmanager
def running(folder: Path, major: int = 18, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Yield a server of a version; its superuser is `postgres`."""
    server = Server(
        folder,
        binaries=find_server(major=major),
        password=Secret(f"canary-{secrets.token_hex(12)}"),
        settings=QUICK | dict(settings or {}),
    )
    with server:
        yield server


def opened(server: Server, method: str, *, fast: bool = True, cut: int = 64 * 1024) -> ClusterSource:
    """Return the cluster as a source."""
    progress = SilentProgress()
    if method == "local":
        place = str(server.data_directory)
        return open_local(  # type: ignore[return-value]
            server.address, name=SOURCE, data_directory=place, progress=progress, cut=cut, fast=fast
        )
    return open_remote(server.address, name=SOURCE, progress=progress, cut=cut, fast=fast)  # type: ignore[return-value]


def back_up_cluster(repository: Repository, server: Server, method: str = "local") -> tuple[Saved, ClusterRecord]:
    """Take a base backup as the product does; return it and its record."""
    with opened(server, method) as source:  # type: ignore[attr-defined]
        before = find_parent(repository, [folder_of(SOURCE)], "tests")
        record = None if before is None else record_in(repository, before[1].tree, SOURCE)
        everything = record is not None and bool(source.why_full(record))
        saved = back_up_source(
            repository, source, [folder_of(SOURCE)], settings=WriterSettings(), everything=everything
        )
    assert source.record is not None
    return saved, source.record


def data_tree(repository: Repository, saved: Saved, below: str = "data") -> str:
    """Return the tree of a base backup's data directory."""
    return tree_of(repository, Chosen(saved.id, saved.snapshot, f"{folder_of(SOURCE)}/{below}"))


def restore_data(repository: Repository, saved: Saved, target: Path, below: str = "data") -> None:
    """Restore the bare files, as stock restic would."""
    restore(
        repository, plan_restore(repository, data_tree(repository, saved, below)), target, progress=SilentProgress()
    )
    if os.geteuid() == 0:
        status = (target / "PG_VERSION").stat() if below == "data" else next(target.iterdir()).stat()
        os.chown(target, status.st_uid, status.st_gid)
    target.chmod(0o700)


def ask(server: Server, query: str, database: str = "postgres") -> list[tuple[object, ...]]:
    """Return the rows of a query."""
    with connect(server.address, database=database, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


@contextmanager
def started_on(folder: Path, major: int) -> Iterator[Server]:
    """Yield a server on a data directory that was recovered; everybody is trusted on its socket."""
    rules = folder / "pg_hba.conf"
    rules.write_text("local all all trust\n")
    server = Server(folder, binaries=find_server(major=major), password=Secret("unasked"), settings=QUICK)
    with server:
        yield server
