"""What could stop a cluster from coming back to a moment tomorrow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, ConfigError
from edurise_backup.model.settings import ClusterSettings
from edurise_backup.operations.catalogs import catalog_is_there, open_catalog
from edurise_backup.operations.findings import Finding, Level
from edurise_backup.operations.point_in_time.windows import ClusterWindows, windows_of
from edurise_backup.operations.servers import cluster_address
from edurise_backup.postgres.cluster_facts import ClusterFacts, read_cluster, refuse_impossible
from edurise_backup.postgres.connection import connect
from edurise_backup.postgres.replication import ReplicationSession
from edurise_backup.postgres.tools import find_program, find_server
from edurise_backup.sources.cluster.source import where_files_are

_PAGE = "docs/operations/point-in-time.md"


def examine_clusters(settings: Settings) -> Iterator[Finding]:
    """Look at each cluster that is this host's: server, rights, programs, window."""
    with open_catalog(settings) if settings.clusters and catalog_is_there(settings) else nullcontext() as catalog:
        for cluster in settings.clusters:
            if cluster.host not in ("", settings.host):
                continue  # that host's doctor looks at it
            try:
                yield from _server(cluster)
                if catalog is not None:
                    yield from _window(windows_of(catalog, cluster.name), cluster)
            except BackupError as error:  # of one cluster: the others are looked at, too
                yield Finding(Level.FAULT, cluster.name, error.message, error.hint)


def _server(cluster: ClusterSettings) -> Iterator[Finding]:
    address = cluster_address(cluster)
    with closing(connect(address, autocommit=True)) as connection:
        facts = read_cluster(connection)
    refuse_impossible(facts, cluster.name)
    with ReplicationSession(address) as session:
        session.identify()
    directory = cluster.data_directory or where_files_are(address)
    local = cluster.method != "protocol" and directory is not None
    how = f"its files are read at {directory}" if local else "it sends its files"
    yield Finding(Level.FINE, cluster.name, f"{address} answers and lets {address.user} replicate; {how}")
    if not facts.data_checksums:
        said = "its pages have no checksums: damage on its disk is not seen, and comes into the backups"
        yield Finding(Level.WARNING, cluster.name, said, "stop it and run pg_checksums --enable")
    yield from _programs(cluster, facts)


def _programs(cluster: ClusterSettings, facts: ClusterFacts) -> Iterator[Finding]:
    bindir = Path(cluster.bindir) if cluster.bindir else None
    if cluster.wal.method == "stream":
        find_program("pg_receivewal", facts.major, bindir=bindir)
    try:
        found = find_server(bindir=bindir, major=facts.major)
    except (ConfigError, BackupError) as error:
        said = f"it could not be recovered on this machine: {error.message}"
        yield Finding(Level.WARNING, cluster.name, said, f"install postgresql-{facts.major}, or set its bindir")
    else:
        yield Finding(Level.FINE, cluster.name, f"PostgreSQL {found.version} is here to recover it")


def _window(found: ClusterWindows, cluster: ClusterSettings) -> Iterator[Finding]:
    newest = found.newest
    if newest is None:
        remedy = f"`edurise-backup backup cluster --source {cluster.name}`; schedule it"
        yield Finding(Level.FAULT, cluster.name, "no moment of it can be brought back: no base backup", remedy)
        return
    span = f"{newest.begin_at:%Y-%m-%d %H:%M} to {newest.end_at:%Y-%m-%d %H:%M:%S} UTC"
    yield Finding(
        Level.FINE, cluster.name, f"every moment from {span} can be brought back (timeline {newest.timeline})"
    )
    if cluster.wal.method != "off" and found.status is None:
        yield Finding(Level.FAULT, cluster.name, "its log is not received", f"`edurise-backup wal receive` ({_PAGE})")
    elif found.status is not None and found.status.trouble:
        yield Finding(Level.WARNING, cluster.name, found.status.trouble, found.status.hint)
