"""A cluster as a source: read from its data directory, or asked for over the replication protocol."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Protocol

from edurise_backup.model.cluster import ClusterRecord
from edurise_backup.ports import Progress, Source
from edurise_backup.postgres.cluster_facts import read_cluster
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.sources.cluster.local_source import LocalCluster
from edurise_backup.sources.cluster.streamed_source import StreamedCluster


class ClusterSource(Source, Protocol):
    """What both ways have in common."""

    name: str
    record: ClusterRecord | None
    """What the copy says of itself; there when all has been read."""

    def why_full(self, before: ClusterRecord) -> str:
        """Return why no file may be taken unread from the backup that `before` describes, or nothing."""


def where_files_are(address: Address) -> str | None:
    """Return the data directory of a server when this process can read it; raises UnreachableError, SourceError."""
    if not address.on_this_host:
        return None
    with closing(connect(address, autocommit=True)) as connection:
        facts = read_cluster(connection)
        place = facts.data_directory
        if place is not None and place.startswith("/proc/self/"):  # a server of ours knows it as a descriptor only
            place = str(Path(f"/proc/{connection.info.backend_pid}/cwd").readlink())
    return place if place is not None and os.access(f"{place}/global/pg_control", os.R_OK) else None


def open_local(
    address: Address, *, name: str, data_directory: str, progress: Progress, cut: int, fast: bool
) -> AbstractContextManager[ClusterSource]:
    """Return a cluster whose files this machine can read."""
    return LocalCluster(address, name=name, data_directory=data_directory, progress=progress, cut=cut, fast=fast)


def open_remote(
    address: Address, *, name: str, progress: Progress, cut: int, fast: bool
) -> AbstractContextManager[ClusterSource]:
    """Return a cluster whose server sends its files."""
    return StreamedCluster(address, name=name, progress=progress, cut=cut, fast=fast)
