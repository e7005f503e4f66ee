"""Bring what is new into a copy, the newest whole set first; what is there already is not read again.

The copy's repository is the truth: the catalog's rows follow from what it lists.
A run that was cut short leaves whole snapshots; the next one goes on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import msgspec

from edurise_backup.catalog.leases import COPIES
from edurise_backup.catalog.policies import good_backups
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import DamageError, InputError, NotFoundError
from edurise_backup.model.jobs import BackupJob, BackupType, JobId, JobStatus
from edurise_backup.model.maintenance import CopyFigures, MaintenanceFigures, MaintenanceJob, MaintenanceKind
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.model.stores import PRIMARY, BackupCopy, CopyState, KnownStore
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.configured import writing_as_set
from edurise_backup.operations.copy_contents import CopyContents, follow_contents, read_contents, standing
from edurise_backup.operations.copy_holds import mirror_protections
from edurise_backup.operations.copy_jobs import begin_row, run_on_copy
from edurise_backup.operations.copy_logs import merge_copied_logs
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.jobs import storable, told_in_row
from edurise_backup.operations.leases import HeldLeases, holding
from edurise_backup.operations.opening import locked, readable
from edurise_backup.operations.presence import look_for_backups
from edurise_backup.operations.primary import opened_primary
from edurise_backup.operations.records import keep_records
from edurise_backup.operations.stores import find_copy, known_copies, note_opened, packs_of
from edurise_backup.ports import Progress
from edurise_backup.repository.copying import Copied, copy_snapshots
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_series import newest_logs

_log = logging.getLogger(__name__)
_SHOWN = 1000


def copy_backups(
    store: str,
    *,
    settings: Settings | None = None,
    job_id: JobId | None = None,
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> MaintenanceJob:
    """Copy every restore point that the copy `store` lacks, and return the finished job.

    What cannot be read whole from the primary is a warning; the others are
    copied. Raises NotFoundError for an unknown copy, ConflictError while another
    run copies there, and BackupError when the work could not be done: what has
    arrived is whole, and is not sent again by the next run.
    """
    settings = settings or load_settings()
    job = MaintenanceJob(
        job_id or JobId(uuid4()), MaintenanceKind.COPY, JobStatus.QUEUED, store=store, asked="what is new"
    )
    with open_catalog(settings) as catalog:
        queued = begin_row(catalog, job, job_id, flow_run_id)
        with told_in_row(catalog.maintenance, queued):
            known = find_copy(settings, catalog, store)
            with holding(catalog, [f"{COPIES}{store}"], job.id) as held:
                errand = Errand(settings, progress=progress, stop=stop)
                source = opened_primary(settings, catalog, errand)  # what is wrong with it is no trouble of the copy
                return run_on_copy(
                    settings,
                    catalog,
                    job,
                    lambda repository, reporter, started: _CopyRun(
                        settings, catalog, known, source, repository, reporter, held
                    ).run(started),
                    flow_run_id=flow_run_id,
                    progress=progress,
                    stop=stop,
                    queued=queued,
                    errand=errand,
                )


def queue_copy(store: str, *, settings: Settings | None = None) -> JobId:
    """Write the row of a copy that a flow run will do; return its id. Raises NotFoundError."""
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        find_copy(settings, catalog, store)
        job = MaintenanceJob(JobId(uuid4()), MaintenanceKind.COPY, JobStatus.QUEUED, store=store, asked="what is new")
        catalog.maintenance.create(job)
        return job.id


def copy_names(*, settings: Settings | None = None, store: str = "") -> tuple[str, ...]:
    """Return the names of all copies, or the one that is named; raises NotFoundError, and InputError without any."""
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        if store:
            return (find_copy(settings, catalog, store).name,)
        names = tuple(copy.name for copy in known_copies(settings, catalog))
    if not names:
        raise InputError(
            "there is no copy",
            safe="nothing was done",
            hint="name one in [[copy]] of the configuration, or `edurise-backup store register`",
        )
    return names


def in_order(backups: Sequence[BackupJob]) -> list[BackupJob]:
    """Return backups as they are copied: the newest complete set, then the others from the newest on; pure."""
    newest = sorted(backups, key=lambda job: (job.completed_at is not None, job.completed_at, job.id), reverse=True)
    whole = next((job for job in newest if job.type is BackupType.FULL), None)
    return ([whole] if whole else []) + [job for job in newest if job is not whole]


class _CopyRun:
    """One run into one copy."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        store: KnownStore,
        source: Repository,
        destination: Repository,
        progress: Progress,
        held: HeldLeases,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._settings = settings
        self._primary = KnownStore(PRIMARY, settings.repository)
        self._source = source
        self._destination = destination
        self._progress = progress
        self._held = held
        self._writing = writing_as_set(store.settings)
        self._there = CopyContents()
        self._problems: list[str] = []
        self._copied: list[JobId] = []
        self._blobs = self._plain = self._stored = 0

    def run(self, job: MaintenanceJob) -> MaintenanceJob:
        self._refuse_same()
        self._progress.phase("compare")
        look_for_backups(self._catalog, self._source)
        with readable(self._source), locked(self._destination) as lock:
            lock.tie(self._held.confirm)
            self._there = read_contents(self._destination)
            self._problems += self._there.problems
            rows = follow_contents(self._catalog, self._store.name, self._there, self._catalog.clock())
            self._tell_gone(rows)
            wanted = in_order(self._wanted(rows))
            for backup in wanted:
                self._progress.raise_if_cancelled()
                self._copy(backup, rows, lock)
            keep_records(self._destination, self._whole())
            mirror_protections(self._catalog, self._destination, self._there)
            self._copy_logs(lock)  # last: it goes on behind the base backups that are there by now
            note_opened(self._settings, self._catalog, self._primary, self._source)
        return self._finished(job, waiting=len(wanted) - len(self._copied))

    def _refuse_same(self) -> None:
        if self._source.config.id == self._destination.config.id:
            raise InputError(
                f"the copy {self._store.name} is the primary repository itself",
                safe="nothing was copied",
                hint="give the copy a place and a repository of its own",
            )

    def _tell_gone(self, rows: Mapping[UUID, BackupCopy]) -> None:
        gone = [str(row.backup_id)[:8] for row in rows.values() if row.state is CopyState.GONE]
        if gone:
            self._problems.append(
                f"{len(gone)} restore points were in the copy and are gone, and nobody has forgotten them: "
                f"{', '.join(gone[:5])}; those that the primary has are copied again"
            )

    def _wanted(self, rows: Mapping[UUID, BackupCopy]) -> list[BackupJob]:
        settled = {key for key, row in rows.items() if row.state in (CopyState.WHOLE, CopyState.FORGOTTEN)}
        return [job for job in self._good() if job.restorable and job.parts and job.id not in settled]

    def _good(self) -> Sequence[BackupJob]:
        return good_backups(self._catalog.sessions)

    def _copy(self, backup: BackupJob, rows: Mapping[UUID, BackupCopy], lock: Lock) -> None:
        """Bring the snapshots of one backup that are not there; its row is written when they are."""
        named = f"{backup.type.value} {str(backup.id)[:8]}"
        try:
            needed = {
                SnapshotId(part.snapshot_id): self._source.load_snapshot(SnapshotId(part.snapshot_id))
                for part in backup.parts
                if part.snapshot_id not in self._there.ids
            }
        except (NotFoundError, DamageError) as error:
            self._problems.append(f"backup {named} was not copied: {error.message}")
            return
        done = self._bring(needed, named, lock)
        self._count(f"backup {str(backup.id)[:8]}", done)
        row = standing(self._store.name, backup, self._there, rows.get(backup.id), self._catalog.clock())
        if row is None:
            return
        self._catalog.copies.put([replace(row, bytes=done.stored_bytes + (row.bytes or 0))])
        if row.state is CopyState.WHOLE:
            self._copied.append(backup.id)

    def _copy_logs(self, lock: Lock) -> None:
        """Bring the log of each cluster as it is now; what only the copy needs of the older one stays."""
        logs = newest_logs(self._source.readable_snapshots())
        self._source.learn_index()  # it was loaded when the run began, and the log has gone on
        for source, (name, snapshot) in logs.items():
            self._progress.raise_if_cancelled()
            if name not in self._there.ids:
                self._count(f"the log of {source}", self._bring({name: snapshot}, f"the log of {source}", lock))
        may_delete = not self._store.settings.append_only
        try:
            refused = merge_copied_logs(
                self._destination, self._there, lock, now=self._catalog.clock, may_delete=may_delete
            )
        except DamageError as error:
            self._problems.append(f"the logs in the copy were not merged: {error.message}")
            return
        for refusal in refused:  # a credential that may only add: `retain` takes away what was superseded
            _log.info("superseded snapshots of logs stay in %s for now: %s", self._store.name, refusal.message)

    def _bring(self, needed: Mapping[SnapshotId, Snapshot], named: str, lock: Lock) -> Copied:
        done = copy_snapshots(
            self._source,
            self._destination,
            needed,
            lock,
            progress=_OnePhase(self._progress, f"copy {named}"),
            settings=self._writing,
            there=self._there.snapshots,
        )
        for item in (*done.snapshots, *done.skipped):
            original = needed[item.source]
            copied = msgspec.structs.replace(original, parent=None, original=original.original or item.source)
            self._there.add(item.copy, copied)
            self._there.ids[item.source] = item.copy
        return done

    def _count(self, named: str, done: Copied) -> None:
        self._blobs += done.blobs
        self._plain += done.plain_bytes
        self._stored += done.stored_bytes
        told = [f"{named}: {problem}" for problem in done.problems]
        self._problems += [problem for problem in told if problem not in self._problems]

    def _whole(self) -> list[BackupJob]:
        return [job for job in self._good() if job.parts and all(self._there.of_backup(job))]

    def _finished(self, job: MaintenanceJob, *, waiting: int) -> MaintenanceJob:
        sizes = packs_of(self._destination)
        copied = CopyFigures(tuple(self._copied), waiting, self._blobs, self._plain, self._stored)
        return replace(
            job,
            status=JobStatus.COMPLETED_WITH_WARNINGS if self._problems else JobStatus.COMPLETED,
            figures=MaintenanceFigures(len(self._there.snapshots), len(sizes), sum(sizes), copied=copied),
            warnings=tuple(map(storable, self._problems[:_SHOWN])),
            usage=replace(job.usage, sent_bytes=self._stored),
        )


class _OnePhase:
    """Shows the copy of one backup as one phase, however many steps it has."""

    def __init__(self, whole: Progress, name: str) -> None:
        self._whole = whole
        self._name = name

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        if bytes_total is not None:
            self._whole.phase(self._name, bytes_total=bytes_total)

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        self._whole.advance(bytes_done=bytes_done, files_done=files_done)

    def raise_if_cancelled(self) -> None:
        self._whole.raise_if_cancelled()
