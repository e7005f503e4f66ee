"""Back up the platform: collect each part, publish a snapshot of it, tie the snapshots together as one job."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

from edurise_backup import __version__
from edurise_backup.catalog.heartbeat import JobReporter
from edurise_backup.catalog.records import JobKind
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import InputError, NotFoundError
from edurise_backup.model.jobs import BackupFilters, BackupJob, BackupType, JobId, JobStatus, PartResult, Usage
from edurise_backup.model.stores import PRIMARY
from edurise_backup.monitoring.logs import log_event
from edurise_backup.operations.audited import COMPLETE, record_backup
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.clusters import note_bases, record_in
from edurise_backup.operations.collection import Collected, Collector, check_paths, choose_sources
from edurise_backup.operations.configured import opened_repository, writing_as_set
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.jobs import run_job, storable, told_in_row
from edurise_backup.operations.leases import HeldLeases, holding
from edurise_backup.operations.object_rows import held_objects
from edurise_backup.operations.opening import locked
from edurise_backup.operations.people import acting
from edurise_backup.operations.places import refuse_other_repository, refuse_partial
from edurise_backup.operations.primary import accept_primary, told_of_primary
from edurise_backup.operations.records import keep_record
from edurise_backup.operations.sharding import ShardedJob, saving
from edurise_backup.operations.shared_sources import shared_source
from edurise_backup.operations.space import note_space
from edurise_backup.operations.stores import packs_of
from edurise_backup.ports import Progress, Workers
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Label, Saved, find_parent
from edurise_backup.sources.cluster.source import ClusterSource

_SHOWN_WARNINGS = 1000


def create_backup(
    type: BackupType | str = BackupType.FULL,  # noqa: A002  the mission's word
    *,
    settings: Settings | None = None,
    source: str | None = None,
    incremental: bool = True,
    tags: Sequence[str] = (),
    job_id: JobId | None = None,
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    workers: Workers | None = None,
) -> BackupJob:
    """Take a backup and return its finished job.

    `full` is a recovery set of database, files, configuration and metadata; the
    other types are one part. `source` limits a part to one configured source.
    `incremental` takes unchanged files from the last snapshot without reading
    them; a dump is always read whole, only what is stored of it is incremental.
    `job_id` names a row that `queue_backup` made; what it says of the source is
    done. `workers` share the sources that are configured so (`files[].shards`);
    without them this process backs up everything. Raises InputError (nothing was
    changed) for what cannot be done: before a job exists, or, for a queued job
    and a flow run, told in its row, too. Raises ConflictError while another
    backup of one of the sources is under way, and where this host lacks what
    other hosts of the catalog read.
    Raises BackupError after the job's row says failed or cancelled; what was
    published before stays whole.
    """
    settings = settings or load_settings()

    def prepare(errand: Errand) -> tuple[BackupJob, Repository]:
        kind = backup_type(type)
        chosen = choose_sources(settings, kind, source)
        job = _new_job(settings, kind, source, incremental, tags, job_id)
        with told_of_primary(settings):
            repository = opened_repository(settings, errand)
        check_paths(settings, chosen)
        return job, repository

    errand = Errand(settings, progress=progress, stop=stop)
    prepared = prepare(errand) if job_id is None and flow_run_id is None else None
    with open_catalog(settings) as catalog:
        if flow_run_id is not None:  # nobody watches it: what stops it before it starts must be told in a row, too
            if job_id is None:
                queued = _new_job(settings, backup_type(type), source, incremental, tags, None)
                catalog.jobs.create(queued)
                job_id = queued.id
            catalog.jobs.attach_flow_run(job_id, flow_run_id)
        with told_in_row(catalog.jobs, job_id):
            refuse_partial(catalog, settings, backup_type(type), source)
            errand.await_job(catalog, catalog.jobs, job_id)
            job, repository = prepared or prepare(errand)
            refuse_other_repository(catalog, settings, repository.config.id)
            accept_primary(settings, catalog, repository)
            names = [f"{part.value}/{name}" for part, name in choose_sources(settings, job.type, job.source or None)]
            with holding(catalog, names, job.id) as held:

                def work(reporter: JobReporter, started: BackupJob) -> BackupJob:
                    shared = None
                    if workers is not None:
                        kind = JobKind.BACKUP
                        shared = ShardedJob(workers, catalog, repository, kind, started.id, reporter, errand)
                    ended = _Backup(settings, catalog, repository, reporter, started, held, shared).run()
                    note_bases(catalog.wal, repository, [ended])  # first: a window is never without its base backup
                    return ended

                done = run_job(
                    catalog.jobs,
                    job,
                    work,
                    keep=partial(keep_record, repository),
                    flow_run_id=flow_run_id,
                    progress=progress,
                    stop=stop,
                    errand=errand,
                )
            note_space(catalog.sessions, settings, catalog.clock())
            catalog.stores.note_size(PRIMARY, sum(packs_of(repository)))
            record_backup(catalog, repository, acting(flow_run_id), COMPLETE, done)
            return done


def queue_backup(
    type: BackupType | str = BackupType.FULL,  # noqa: A002  the mission's word
    *,
    settings: Settings | None = None,
    source: str | None = None,
    incremental: bool = True,
    tags: Sequence[str] = (),
) -> JobId:
    """Write the row of a backup that a flow run will take; return its id."""
    settings = settings or load_settings()
    choose_sources(settings, backup_type(type), source)
    with open_catalog(settings) as catalog:
        job = _new_job(settings, backup_type(type), source, incremental, tags, None)
        catalog.jobs.create(job)
        return job.id


def get_backups(filters: BackupFilters | None = None, *, settings: Settings | None = None) -> list[BackupJob]:
    """Return backup jobs, newest first, that the filters choose; raises UnreachableError, InputError."""
    with open_catalog(settings or load_settings()) as catalog:
        return list(catalog.jobs.find(filters or BackupFilters()))


def find_backup(catalog: Catalog, word: UUID | str) -> BackupJob:
    """Return the backup that a person names: an id, its beginning, or `latest`.

    `latest` is the newest good full set that is there, or without one the newest good backup of any type; when the
    primary has lost them all, it is the newest that is whole in a copy.
    """
    if word == "latest":
        found = _newest_good(catalog, BackupType.FULL) or _newest_good(catalog, None) or _newest_copied(catalog)
        if found is None:
            raise NotFoundError("there is no good backup yet", hint="take one with `edurise-backup backup`")
        return found
    return catalog.jobs.get(word if isinstance(word, UUID) else catalog.jobs.resolve(word))


def _newest_good(catalog: Catalog, kind: BackupType | None) -> BackupJob | None:
    good = [
        job
        for status in JobStatus
        if status.good
        for job in catalog.jobs.find(BackupFilters(type=kind, status=status, restorable=True, limit=1))
    ]
    return max(good, key=lambda job: job.completed_at or datetime.min.replace(tzinfo=UTC), default=None)


def _newest_copied(catalog: Catalog) -> BackupJob | None:
    found = [catalog.jobs.get(backup) for backup in catalog.copies.whole_somewhere()]
    return max(found, key=lambda job: (job.type is BackupType.FULL, str(job.completed_at)), default=None)


def backup_type(word: BackupType | str) -> BackupType:
    """Return the type that a word names; raises InputError."""
    try:
        return BackupType(word)
    except ValueError as error:
        raise InputError(
            f"there is no backup type {word!r}", hint=f"choose {', '.join(kind.value for kind in BackupType)}"
        ) from error


def set_checksum(snapshot_ids: Sequence[str]) -> str:
    """Return a job's checksum: SHA-256 over its snapshot ids, sorted, one a line."""
    return hashlib.sha256("\n".join(sorted(snapshot_ids)).encode()).hexdigest()


def _new_job(
    settings: Settings,
    kind: BackupType,
    source: str | None,
    incremental: bool,
    tags: Sequence[str],
    job_id: JobId | None,
) -> BackupJob:
    if any("," in tag for tag in tags):
        raise InputError("a tag holds no comma", hint="give several tags separately")
    return BackupJob(
        id=job_id or JobId(uuid4()),
        type=kind,
        status=JobStatus.QUEUED,
        incremental=incremental,
        set_id=uuid4() if kind is BackupType.FULL else None,
        source=source or "",
        tags=tuple(tags),
        host=settings.host,
        product_version=__version__,
    )


class _Backup:
    """One running backup job."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        repository: Repository,
        progress: Progress,
        job: BackupJob,
        leases: HeldLeases,
        shared: ShardedJob | None,
    ) -> None:
        self._settings = settings
        self._repository = repository
        self._sharded = shared
        self._progress = progress
        self._job = job
        self._leases = leases
        self._collector = Collector(settings, catalog, progress)
        self._parts: list[PartResult] = []
        self._warnings: list[str] = []
        self._sent = 0

    def run(self) -> BackupJob:
        chosen = choose_sources(self._settings, self._job.type, self._job.source or None)
        everything = not self._job.incremental
        if self._sharded is not None and any(shared_source(self._settings, *one) for one in chosen):
            self._sharded.workers.check()
        with locked(self._repository) as lock:
            lock.tie(self._leases.confirm)
            for part, name in chosen:
                self._progress.phase(part.value if len(chosen) <= len(BackupType) else f"{part.value} {name}")
                with self._collector.open(part, name) as collected:
                    self._save(collected, lock, read_everything=everything or part is BackupType.DATABASE)
        return self._finished()

    def _save(self, collected: Collected, lock: Lock, *, read_everything: bool) -> None:
        label = Label(collected.paths, self._settings.host, self._tags(collected), collected.exclude)
        if collected.cluster is not None and not read_everything:
            reason = self._why_full(collected.cluster, label)
            read_everything = bool(reason)
            if reason:
                told = f"all files of {collected.name} are read: {reason}"
                log_event("cluster_read_whole", told, job_id=str(self._job.id), source=collected.name)
        save = saving(self._settings, self._sharded, collected, self._job.id)
        saved = save(
            self._repository,
            collected.source,
            label,
            lock,
            progress=self._progress,
            read_everything=read_everything,
            settings=writing_as_set(self._settings.repository, collected.part),
            now=self._settings.around.clock,
        )
        self._warnings += saved.archived.problems
        self._sent += saved.added.sent_bytes
        self._parts.append(_result(collected, saved))
        if collected.part is BackupType.FILES:
            self._count_files(collected, saved)

    def _why_full(self, cluster: ClusterSource, label: Label) -> str:
        """Return why a cluster's files are all read, although an earlier backup has some of them; or nothing."""
        before = find_parent(self._repository, label.paths, label.host)
        record = None if before is None else record_in(self._repository, before[1].tree, cluster.name)
        return "" if record is None else cluster.why_full(record)

    def _tags(self, collected: Collected) -> list[str]:
        tags = ["edurise", f"type={collected.part.value}", f"source={collected.name}", f"job={self._job.id}"]
        return [*tags, *([f"set={self._job.set_id}"] if self._job.set_id else []), *self._job.tags]

    def _count_files(self, collected: Collected, saved: Saved) -> None:
        """Note what the source holds, and warn of each row of `storage.objects` that has no object in it."""
        platform = self._collector.platform
        held = held_objects(self._repository, saved.snapshot.tree, self._settings, collected.name)
        platform.files[collected.name] = {"files": held.count, "bytes": held.bytes}
        self._warnings += held.differences(platform.objects.get(held.objects_of, ()))

    def _finished(self) -> BackupJob:
        ids = [part.snapshot_id for part in self._parts]
        warnings = [*self._warnings, *self._collector.warnings]
        if len(warnings) > _SHOWN_WARNINGS:
            warnings = [*warnings[:_SHOWN_WARNINGS], f"and {len(warnings) - _SHOWN_WARNINGS} more"]
        return replace(
            self._job,
            status=JobStatus.COMPLETED_WITH_WARNINGS if warnings else JobStatus.COMPLETED,
            size=sum(part.source_bytes for part in self._parts),
            location=f"{self._repository.store.address} {','.join(ids)}",
            checksum=set_checksum(ids),
            stored_bytes=sum(part.stored_bytes for part in self._parts),
            read_bytes=sum(part.read_bytes for part in self._parts),
            files=sum(part.files for part in self._parts),
            warnings=tuple(map(storable, warnings)),
            parts=tuple(self._parts),
            usage=Usage(sent_bytes=self._sent),
            new_bytes=sum(part.new_bytes or 0 for part in self._parts),
            compressed_bytes=sum(part.compressed_bytes or 0 for part in self._parts),
        )


def _result(collected: Collected, saved: Saved) -> PartResult:
    lsn, moment = _position(collected)
    return PartResult(
        part=collected.part,
        snapshot_id=saved.id,
        source=collected.name,
        source_bytes=saved.archived.stats.source_bytes,
        stored_bytes=saved.added.sent_bytes,
        read_bytes=saved.archived.stats.read_bytes,
        files=saved.archived.stats.files,
        lsn=lsn,
        snapshot_time=moment,
        new_bytes=saved.added.plain_bytes,
        compressed_bytes=saved.added.stored_bytes,
    )


def _position(collected: Collected) -> tuple[str | None, datetime | None]:
    """Return what instant a part shows: of a dump its snapshot's, of a cluster the one at which it is consistent."""
    if collected.cluster is not None and collected.cluster.record is not None:
        return collected.cluster.record.stop_lsn, collected.cluster.record.stop_time
    database = collected.database
    return (database.lsn, database.snapshot_time) if database else (None, None)
