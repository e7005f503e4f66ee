"""Which moments of a cluster can be brought back: by the catalog, or by the repository alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import DamageError, InputError, NotFoundError
from edurise_backup.model.alarm_facts import WalFacts
from edurise_backup.model.jobs import BackupType
from edurise_backup.model.recovery_window import RecoveryWindow, Stretch, find_windows
from edurise_backup.model.settings import ClusterSettings
from edurise_backup.model.snapshot import Snapshot
from edurise_backup.model.wal import Lsn, Segment, WalFileKind, parse_wal_name
from edurise_backup.model.wal_status import BaseBackup, TimelineRow, WalStatus, branch_of
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.clusters import base_of, record_in
from edurise_backup.operations.configured import opened_repository
from edurise_backup.operations.opening import readable
from edurise_backup.operations.stores import find_store, opened_store
from edurise_backup.postgres.wal.reader import SegmentReader
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_archive import WalArchive, open_archive


@dataclass(frozen=True, slots=True)
class ClusterWindows:
    """What can be brought back of one cluster."""

    source: str
    windows: tuple[RecoveryWindow, ...]
    status: WalStatus | None
    """How the reception of its log stands; None: its log is not received."""

    @property
    def newest(self) -> RecoveryWindow | None:
        """The window that reaches the latest moment of the newest timeline."""
        return max(self.windows, key=lambda one: (one.timeline, one.end_at), default=None)


def recovery_windows(source: str = "", *, settings: Settings | None = None) -> tuple[ClusterWindows, ...]:
    """Return the recovery windows of each configured cluster, or of one; raises NotFoundError, UnreachableError."""
    settings = settings or load_settings()
    names = cluster_names(settings, source)
    with open_catalog(settings) as catalog:
        return tuple(windows_of(catalog, name) for name in names)


def windows_by_repository(
    source: str = "", *, store: str = "", settings: Settings | None = None
) -> tuple[ClusterWindows, ...]:
    """Return the same by the repository alone, or by the copy `store`; raises what opening it raises, DamageError."""
    settings = settings or load_settings()
    if store:
        with open_catalog(settings) as catalog:
            repository = opened_store(settings, find_store(settings, catalog, store))
    else:
        repository = opened_repository(settings)
    with readable(repository):
        return tuple(
            ClusterWindows(name, windows_in(repository, name, host=settings.host), None)
            for name in cluster_names(settings, source)
        )


def cluster_names(settings: Settings, source: str = "") -> list[str]:
    """Return the configured clusters' names, or the one that is named; raises NotFoundError."""
    names = [cluster.name for cluster in settings.clusters]
    if source and source not in names:
        raise NotFoundError(
            f"no cluster is named {source!r}", hint=f"configured are {', '.join(names) or 'none ([[cluster]])'}"
        )
    return [source] if source else names


def only_cluster(settings: Settings, source: str) -> ClusterSettings:
    """Return the cluster that is meant; raises NotFoundError, InputError when there are several."""
    names = cluster_names(settings, source)
    if len(names) != 1:
        raise InputError(
            f"{len(names)} clusters are configured",
            safe="nothing was done",
            hint=f"name one of {', '.join(names)}" if names else "configure one: [[cluster]]",
        )
    return next(one for one in settings.clusters if one.name == names[0])


def windows_of(catalog: Catalog, source: str) -> ClusterWindows:
    """Return the windows of one cluster, as the catalog knows them."""
    bases = catalog.wal.bases(source)
    found: list[RecoveryWindow] = []
    for system, size in sorted({(base.system_identifier, base.segment_size) for base in bases}):
        stretches = catalog.wal.stretches(source, system)
        own = [base for base in bases if base.system_identifier == system]
        found += find_windows(own, stretches, catalog.wal.timelines(source, system), size)
    status = next((one for one in catalog.wal.statuses() if one.source == source), None)
    return ClusterWindows(source, tuple(found), status)


def wal_facts(settings: Settings, catalog: Catalog) -> tuple[WalFacts, ...]:
    """Return how the log of each cluster stands that is configured to be received, for rules and metrics."""
    found = []
    for cluster in settings.clusters:
        if cluster.wal.method != "off":
            windows = windows_of(catalog, cluster.name)
            newest = windows.newest
            broken, end = (newest.broken_at, newest.end_at) if newest else (None, None)
            found.append(WalFacts(cluster.name, windows.status, broken, end))
    return tuple(found)


def windows_in(repository: Repository, source: str, *, host: str) -> tuple[RecoveryWindow, ...]:
    """Return the windows that a repository alone shows; the index must be loaded. Raises DamageError.

    Commit times are read from the last segment of each run only: they say where a window ends.
    """
    bases = bases_in(repository, source)
    archive = open_archive(repository, source, host=host)
    if archive is None or not bases:
        return find_windows(bases, (), (), bases[0].segment_size) if bases else ()
    own = [base for base in bases if base.system_identifier == archive.system]
    stretches, rows = stretches_in(archive)
    windows = find_windows(own, stretches, rows, archive.size)
    ends = {window.end_lsn for window in windows}
    known = [_with_commits(archive, one) if one.end_lsn in ends else one for one in stretches]
    return find_windows(own, known, rows, archive.size)


def bases_in(repository: Repository, source: str) -> list[BaseBackup]:
    """Return the base backups of a cluster that a repository has, oldest first."""
    found = []
    for snapshot_id, snapshot in repository.readable_snapshots().items():
        if is_base_of(snapshot, source):
            record = record_in(repository, snapshot.tree, source)
            found += [base_of(record, snapshot_id)] if record else []
    return sorted(found, key=lambda base: (base.stop_at, base.stop_lsn))


def is_base_of(snapshot: Snapshot, source: str) -> bool:
    """Whether a snapshot is a base backup of a cluster."""
    return snapshot.tag("type") == BackupType.CLUSTER.value and snapshot.tag("source") == source


def stretches_in(archive: WalArchive) -> tuple[list[Stretch], list[TimelineRow]]:
    """Return the segments that an archive has, and where its timelines left their parents; segments are not read."""
    stretches, rows = [], []
    for name, _ in archive.names():
        file = parse_wal_name(name, archive.size)
        if file is None:
            continue
        if file.kind is WalFileKind.HISTORY:
            row = branch_of(file.timeline, archive.read(name))
            rows += [row] if row else []
        elif file.segment is not None and file.kind in (WalFileKind.SEGMENT, WalFileKind.PARTIAL):
            whole = file.kind is WalFileKind.SEGMENT
            stretches.append(Stretch(file.segment.timeline, file.segment.number, file.segment.end(archive.size), whole))
    return stretches, rows


def _with_commits(archive: WalArchive, one: Stretch) -> Stretch:
    """Return what a segment holds by its own records; one that cannot be read ends where it begins."""
    segment = Segment(one.timeline, one.number)
    name = segment.name(archive.size) + ("" if one.complete else ".partial")
    reader = SegmentReader(size=archive.size, system_identifier=int(archive.system))
    try:
        facts = reader.read(segment, archive.read(name), partial=not one.complete)
    except DamageError:
        return replace(one, end_lsn=segment.start(archive.size))
    return replace(one, end_lsn=Lsn(facts.end_lsn), first_commit_at=facts.earliest, last_commit_at=facts.latest)
