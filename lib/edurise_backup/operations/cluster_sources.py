"""The configured clusters as sources of base backups."""

from __future__ import annotations

from contextlib import AbstractContextManager

from edurise_backup.errors import ConfigError
from edurise_backup.model.settings import ClusterSettings
from edurise_backup.operations.servers import cluster_address
from edurise_backup.ports import Progress
from edurise_backup.sources.cluster.source import ClusterSource, open_local, open_remote, where_files_are


def open_cluster(source: ClusterSettings, progress: Progress) -> AbstractContextManager[ClusterSource]:
    """Return the cluster as a source, read in the quickest way there is; raises ConfigError, UnreachableError."""
    address = cluster_address(source)
    directory = source.data_directory or where_files_are(address)
    fast = source.checkpoint == "fast"
    if source.method == "protocol" or (source.method == "auto" and directory is None):
        return open_remote(address, name=source.name, progress=progress, cut=source.cut_kib * 1024, fast=fast)
    if directory is None:
        raise ConfigError(
            f"the data directory of {source.name} cannot be read on this machine",
            safe="nothing was read or changed",
            hint="run this on the server's machine as root or as the server's user, grant the role "
            'pg_read_all_settings, or choose method = "protocol"',
        )
    return open_local(
        address, name=source.name, data_directory=directory, progress=progress, cut=source.cut_kib * 1024, fast=fast
    )
