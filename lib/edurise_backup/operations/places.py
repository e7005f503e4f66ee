"""Which host does what, where several work for one catalog: what is refused here, and where a run is sent.

A worker says which sources its host can read (`operations.workers`). From that
follows where a run goes, and that a backup of everything is not taken where a
part of it is missing. Without workers nothing of this applies.
"""

from __future__ import annotations

from edurise_backup.catalog.workers import Seen, read_workers
from edurise_backup.config import Settings
from edurise_backup.errors import ConflictError, NotFoundError
from edurise_backup.model.jobs import BackupType
from edurise_backup.model.location import directory_of
from edurise_backup.model.workers import ANYWHERE, lacking, place_of
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.collection import choose_sources, host_of


def readable_sources(settings: Settings) -> tuple[str, ...]:
    """Return what this host may read, as PART/NAME; nothing without a source."""
    if not (settings.databases or settings.files or settings.buckets or settings.configuration):
        return ()
    chosen = choose_sources(settings, BackupType.FULL, None)
    return tuple(
        f"{part.value}/{name}" for part, name in chosen if host_of(settings, part, name) in ("", settings.host)
    )


def refuse_other_repository(catalog: Catalog, settings: Settings, repository: str) -> None:
    """Raise ConflictError when the hosts that share the catalog open another repository than this one (its id)."""
    for worker in read_workers(catalog.sessions).workers:
        if worker.repository != repository and worker.host != settings.host:
            where = settings.repository.location
            remedy = "name the same repository on every host"
            if directory_of(where) is not None:
                remedy = (
                    "a directory of one machine is no place for several: put the repository into a bucket, or on a "
                    "file system that every host mounts"
                )
            raise ConflictError(
                f"the repository at {where} is not the one that the worker on {worker.host} opens "
                f"(its id begins with {repository[:8]}, theirs with {worker.repository[:8]})",
                safe="nothing was backed up or changed",
                hint=f"{remedy}; a host that is gone for good: `edurise-backup worker remove {worker.host}`",
            )


def refuse_partial(catalog: Catalog, settings: Settings, kind: BackupType, source: str | None) -> None:
    """Raise ConflictError for a backup that this host cannot take, or would take without what other hosts read."""
    workers = read_workers(catalog.sessions).workers
    try:
        chosen = choose_sources(settings, kind, source)
    except NotFoundError as error:
        wanted = {f"{part.value}/{source}" for part in kind.parts}
        there = [worker.host for worker in workers if wanted & set(worker.sources)]
        if there:
            error.hint = f"{', '.join(there)} can read it, this is {settings.host}: start it there"
        raise
    for part, name in chosen:
        if (host := host_of(settings, part, name)) not in ("", settings.host):
            raise ConflictError(
                f"{part.value}/{name} can be read on {host} alone, and this is {settings.host}",
                safe="nothing was backed up or changed",
                hint=f"start it on {host}, or by a schedule or from the dashboard, which send it there; "
                "or change its `host` in the configuration",
            )
    if source is not None:
        return
    others = [worker for worker in workers if worker.host != settings.host]
    missing = lacking(others, readable_sources(settings), [part.value for part in kind.parts])
    if missing:
        named = ", ".join(f"{name} (on {host})" for name, host in missing.items())
        raise ConflictError(
            f"the host {settings.host} lacks sources that others read: {named}; "
            f"a backup of the type {kind.value} from here would silently be without them",
            safe="nothing was backed up or changed",
            hint="take it on a host that lists them all, or back up each source by itself (--source); "
            "a host that is gone for good: `edurise-backup worker remove HOST`",
        )


class Places:
    """Where runs go, as the workers were at one moment."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    @classmethod
    def of(cls, catalog: Catalog) -> Places:
        """Read the workers."""
        return cls(read_workers(catalog.sessions))

    def backup(self, kind: BackupType, source: str | None) -> str:
        """Return the host that a backup goes to; `ANYWHERE` when any will do, or none can: the job then says why."""
        needed = self._needed(kind, source)
        return place_of(self._seen.workers, needed, self._seen.now) or ANYWHERE

    def refuse(self, kind: BackupType, source: str | None) -> None:
        """Raise ConflictError for a backup that no host could take, because none reads all of it."""
        needed = self._needed(kind, source)
        if self._seen.workers and place_of(self._seen.workers, needed, self._seen.now) is None:
            hosts = ", ".join(
                f"{worker.host} lacks {', '.join(sorted(needed - set(worker.sources)))}"
                for worker in self._seen.workers
            )
            raise ConflictError(
                f"no host reads everything that a backup of the type {kind.value} holds: {hosts}",
                safe="nothing was changed",
                hint="make a schedule for each source: --type files --source NAME, and so on; a host that is gone for "
                "good: `edurise-backup worker remove HOST`",
            )

    def _needed(self, kind: BackupType, source: str | None) -> frozenset[str]:
        """Return what a backup reads, as PART/NAME: of everything, whatever any host reads."""
        parts = [part.value for part in kind.parts]
        found = set[str]()
        for name in {name for worker in self._seen.workers for name in worker.sources}:
            part, _, own = name.partition("/")
            if part in parts and source in (None, "", own):
                found.add(name)
        return frozenset(found)
