"""Fill the catalog's map of a log from the repository: what it does not know is read there, once."""

from __future__ import annotations

from dataclasses import dataclass

from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.wal import WalFileKind, parse_wal_name
from edurise_backup.model.wal_status import branch_of
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.configured import opened_repository
from edurise_backup.operations.opening import readable
from edurise_backup.operations.point_in_time.windows import cluster_names
from edurise_backup.operations.servers import cluster_address
from edurise_backup.operations.wal.mapping import LogMap
from edurise_backup.operations.wal.names import sample_names
from edurise_backup.ports import Progress
from edurise_backup.repository.wal_archive import WalArchive, open_archive

_TOGETHER = 8
"""Segments that are told to the catalog at a time: a run that was ended goes on there."""


@dataclass(frozen=True, slots=True)
class Remapped:
    """What was read of one cluster's log."""

    source: str
    read: int
    known: int
    unreadable: tuple[str, ...]


def map_logs(
    source: str = "", *, settings: Settings | None = None, progress: Progress | None = None
) -> tuple[Remapped, ...]:
    """Read every segment in the repository that the catalog does not know; may be ended and run again.

    Raises NotFoundError, and what opening the repository raises.
    """
    settings, progress = settings or load_settings(), progress or SilentProgress()
    done = []
    with open_catalog(settings) as catalog:
        repository = opened_repository(settings)
        with readable(repository):
            for name in cluster_names(settings, source):
                archive = open_archive(repository, name, host=settings.host)
                if archive is None:
                    raise NotFoundError(f"the repository has no log of {name}", hint="`edurise-backup wal receive`")
                done.append(_map_log(settings, catalog, archive, name, progress))
    return tuple(done)


def _map_log(settings: Settings, catalog: Catalog, archive: WalArchive, name: str, progress: Progress) -> Remapped:
    log_map = LogMap(catalog.wal, name, archive.system, archive.size)
    sample_names(cluster_address(next(one for one in settings.clusters if one.name == name)), log_map)
    files = [file for one, _ in archive.names() if (file := parse_wal_name(one, archive.size)) is not None]
    now = settings.around.clock()
    histories = [
        branch_of(file.timeline, archive.read(file.name)) for file in files if file.kind is WalFileKind.HISTORY
    ]
    catalog.wal.branched(name, archive.system, [row for row in histories if row], now)
    segments = [file for file in files if file.segment and file.kind in (WalFileKind.SEGMENT, WalFileKind.PARTIAL)]
    wanted = [file for file in segments if file.segment and not log_map.knows(file.segment)]
    progress.phase(f"read the log of {name}", bytes_total=len(wanted) * archive.size)
    unreadable: list[str] = []
    arrivals = []
    for file in wanted:
        progress.raise_if_cancelled()
        assert file.segment is not None
        try:
            content = archive.read(file.name)
        except DamageError as error:
            unreadable.append(f"{file.name}: {error.message}")
            continue
        arrival = log_map.read(file.segment, content, partial=file.kind is WalFileKind.PARTIAL, now=now)
        arrivals += [arrival] if arrival else []
        if len(arrivals) >= _TOGETHER:
            catalog.wal.arrived(arrivals)
            arrivals = []
        progress.advance(bytes_done=archive.size, files_done=1)
    catalog.wal.arrived(arrivals)
    return Remapped(name, len(wanted) - len(unreadable), len(segments) - len(wanted), tuple(unreadable))
