"""Bring the catalog back from the repository alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from edurise_backup.catalog.export import import_rows, read_export
from edurise_backup.catalog.kept_rows import KeptRow
from edurise_backup.catalog.presence import readdress_parts
from edurise_backup.catalog.records import JobRecord
from edurise_backup.config import Settings, is_name, load_settings
from edurise_backup.errors import BackupError, DamageError, NotFoundError
from edurise_backup.model.content import nanoseconds
from edurise_backup.model.jobs import (
    BackupJob,
    BackupType,
    JobId,
    JobStatus,
    PartResult,
    RecoveryJob,
    Verdict,
    Verification,
)
from edurise_backup.model.maintenance import MaintenanceJob
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.operations.audit import note_lost, note_predecessors
from edurise_backup.operations.backups import set_checksum
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.clusters import note_bases
from edurise_backup.operations.collection import CATALOG_EXPORT
from edurise_backup.operations.configured import opened_repository
from edurise_backup.operations.copy_contents import follow_contents, read_contents
from edurise_backup.operations.copy_proofs import note_verdicts, proved_backup
from edurise_backup.operations.people import local_actor
from edurise_backup.operations.presence import look_for_backups
from edurise_backup.operations.protections import look_for_protections, vanished_sentence
from edurise_backup.operations.records import kept_records
from edurise_backup.operations.stores import find_copy, known_copies, opened_copy
from edurise_backup.recovery.streaming import SnapshotFiles
from edurise_backup.repository.forgetting import read_forgotten
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_series import is_wal

_NAMESPACE = UUID("6f1c9a6e-0d3b-4f5e-9f43-6a0b2c1d7e88")
"""Of the ids that jobs get which are known by their snapshot only; the same snapshot gives the same id."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild found."""

    written: int
    kept: int
    from_snapshots: int
    """Backups known by their snapshot alone: of stock restic, of `repo backup`, of a set that was cut short."""
    remarks: tuple[str, ...]


def rebuild_catalog(*, settings: Settings | None = None, store: str = "") -> Rebuilt:
    """Write every job that the repository knows into the catalog; rows that tell more are kept.

    What no job tells (schedules, people, the audit trail, jobs that failed)
    comes from the export in the newest metadata that can be read. Backups that
    were forgotten, and can be brought back, come with that note; rows of
    backups that are not in the repository are noted as missing.

    `store` names a copy to read, when the primary is lost: what is read there is
    then known to be in that copy, and nothing is said of the primary. A copy
    that has become the primary is read as it is: rows that name snapshots which
    these were copied from name these from then on.

    Raises NotFoundError for an unknown copy, UnreachableError, WrongPassphraseError, NotARepositoryError.
    """
    settings = settings or load_settings()
    if store:
        with open_catalog(settings) as catalog:
            repository = opened_copy(settings, catalog, find_copy(settings, catalog, store))
    else:
        repository = opened_repository(settings)
    snapshots = repository.snapshots()
    remarks: list[str] = []
    copied_from = {shot.original: key for key, shot in snapshots.items() if shot.original}
    there = snapshots.keys() | _waiting(repository, remarks) | {SnapshotId(name) for name in copied_from}
    records: list[JobRecord] = []
    of_copies: list[MaintenanceJob] = []
    for record in kept_records(repository):
        if isinstance(record, BackupError):
            remarks.append(record.message)
        elif isinstance(record, MaintenanceJob) and record.store:
            of_copies.append(record)
        elif isinstance(record, BackupJob) and not _whole(record, there):
            remarks.append(f"the backup {record.id} was forgotten: its snapshots are gone")
        else:
            records.append(record)
    exported, rows = newest_export(repository, snapshots, remarks)
    records += _only_there(exported, records, there)
    records += of_copies
    known = {part.snapshot_id for job in records if isinstance(job, BackupJob) for part in job.parts}
    alone = [
        _from_snapshot(repository, SnapshotId(shot.original) if store and shot.original else key, shot)
        for key, shot in snapshots.items()
        if key not in known and shot.original not in known and not is_wal(shot)
    ]
    if not store:
        records = [readdressed(record, copied_from, snapshots.keys()) for record in records]
    with open_catalog(settings) as catalog:
        new = not catalog.audit.newest(limit=1)
        result = import_rows(catalog.sessions, [*rows, *alone, *_with_verdicts(records)], now=catalog.clock())
        backups = [one for one in (*alone, *records) if isinstance(one, BackupJob)]
        if store:
            contents = read_contents(repository)
            follow_contents(catalog, store, contents, catalog.clock())
            note_bases(catalog.wal, repository, backups, ids=contents.ids)
        else:
            readdress_parts(catalog.sessions, copied_from, snapshots.keys())
            remarks += look_for_backups(catalog, repository).missing_sentences()
            note_bases(catalog.wal, repository, backups)
            remarks += _protections(catalog, repository)
        remarks += _follow_copies(settings, catalog, but=store, proofs=of_copies)
        if new and catalog.audit.newest(limit=1):
            note_lost(catalog, repository, local_actor())
        catalog.audit.add(local_actor(), "catalog.rebuild", repository.config.id, detail={"written": result.written})
        note_predecessors(catalog, repository, local_actor())
    return Rebuilt(result.written, result.kept, len(alone), (*remarks, *result.refused))


def _follow_copies(settings: Settings, catalog: Catalog, *, but: str, proofs: Sequence[MaintenanceJob]) -> list[str]:
    """Read what the copies list, and what was proved of them; return why one could not be read, a sentence each."""
    remarks = []
    for copy in known_copies(settings, catalog):
        try:
            repository = opened_copy(settings, catalog, copy)
            if copy.name != but:
                follow_contents(catalog, copy.name, read_contents(repository), catalog.clock())
            kept = [one for one in kept_records(repository) if isinstance(one, MaintenanceJob)]
            for job in [*kept, *proofs]:
                proved = proved_backup(job)
                if proved is not None and job.store == copy.name:
                    note_verdicts(catalog, job, {proved: job.verification_status})
        except BackupError as error:
            remarks.append(f"the copy {copy.name} was not read: {error.message}")
    return remarks


def readdressed(record: JobRecord, copied_from: Mapping[str, SnapshotId], listed: Set[SnapshotId]) -> JobRecord:
    """Return a backup whose snapshots are here under other ids, because this repository was a copy, with those ids."""
    if not isinstance(record, BackupJob) or not record.parts:
        return record
    parts = tuple(
        replace(part, snapshot_id=copied_from[part.snapshot_id])
        if part.snapshot_id not in listed and part.snapshot_id in copied_from
        else part
        for part in record.parts
    )
    return (
        record
        if parts == record.parts
        else replace(record, parts=parts, checksum=set_checksum([part.snapshot_id for part in parts]))
    )


def newest_export(
    repository: Repository, snapshots: Mapping[SnapshotId, Snapshot], remarks: list[str]
) -> tuple[list[JobRecord], list[KeptRow]]:
    """Return what the export of the catalog says that lies in the newest metadata; one that is damaged is remarked."""
    repository.load_index(strict=False)
    metadata = {key: one for key, one in snapshots.items() if one.tag("type") == BackupType.METADATA.value}
    for snapshot_id in sorted(metadata, key=lambda key: metadata[key].nanoseconds, reverse=True):
        try:
            text = SnapshotFiles(repository, metadata[snapshot_id].tree).read(CATALOG_EXPORT)
            found = list(read_export(text.splitlines()))
        except NotFoundError:
            continue
        except BackupError as error:
            remarks.append(f"the export of the catalog in {snapshot_id[:8]} is passed over: {error.message}")
            continue
        return (
            [record for record in found if not isinstance(record, KeptRow)],
            [record for record in found if isinstance(record, KeptRow)],
        )
    return [], []


def _protections(catalog: Catalog, repository: Repository) -> list[str]:
    """Bring pins and holds back into the catalog; return what is wrong with them, a sentence each."""
    try:
        return [vanished_sentence(row) for row in look_for_protections(catalog, repository)]
    except DamageError as error:
        return [error.message]


def by_snapshot_alone(job: BackupJob) -> bool:
    """Whether a backup came into the catalog because of its snapshot, with no job of ours behind it."""
    return len(job.parts) == 1 and job.id == uuid5(_NAMESPACE, job.parts[0].snapshot_id)


def _with_verdicts(records: Sequence[JobRecord]) -> Iterator[JobRecord]:
    """Yield the records, each backup with what its last verification found."""
    last: dict[UUID, tuple[datetime, Verdict]] = {}
    for record in records:
        if (
            isinstance(record, Verification)
            and record.completed_at
            and record.verification_status is not Verdict.PENDING
        ):
            found = (record.completed_at, record.verification_status)
            last[record.backup_id] = max(last.get(record.backup_id, found), found)
    for record in records:
        verdict = last.get(record.id)
        if isinstance(record, BackupJob) and verdict:
            yield replace(record, verified_at=verdict[0], verification_status=verdict[1])
        else:
            yield record


def _only_there(exported: Sequence[JobRecord], kept: Sequence[JobRecord], there: Set[SnapshotId]) -> list[JobRecord]:
    """Return the exported jobs that had ended, but not backups that have gone since, nor what is of such a one."""
    good = [
        record
        for record in exported
        if record.status.ended
        and (not isinstance(record, BackupJob) or not record.status.good or _whole(record, there))
    ]
    backups = {record.id for record in (*kept, *good) if isinstance(record, BackupJob)}
    return [
        record for record in good if not isinstance(record, Verification | RecoveryJob) or record.backup_id in backups
    ]


def _waiting(repository: Repository, remarks: list[str]) -> set[SnapshotId]:
    """Return the forgotten snapshots that can be brought back; what cannot be read is remarked."""
    try:
        return set(read_forgotten(repository.box))
    except DamageError as error:
        remarks.append(error.message)
        return set()


def _whole(job: BackupJob, snapshots: Set[SnapshotId]) -> bool:
    return all(part.snapshot_id in snapshots for part in job.parts)


def _from_snapshot(repository: Repository, snapshot_id: SnapshotId, snapshot: Snapshot) -> BackupJob:
    """Describe a snapshot that no kept job names."""
    started = _moment(snapshot.time)
    summary = snapshot.summary
    ours = snapshot.tag("job") is not None
    part = PartResult(
        part=_part(snapshot) if ours else BackupType.FILES,
        snapshot_id=snapshot_id,
        source=_source(snapshot),
        source_bytes=summary.total_bytes_processed if summary else 0,
        stored_bytes=summary.data_added_packed if summary else 0,
        read_bytes=0,
        files=summary.total_files_processed if summary else 0,
        new_bytes=summary.data_added if summary else None,
        compressed_bytes=summary.data_added_packed if summary else None,
    )
    return BackupJob(
        id=JobId(uuid5(_NAMESPACE, snapshot_id)),
        type=part.part,
        status=JobStatus.COMPLETED_WITH_WARNINGS if ours else JobStatus.COMPLETED,
        started_at=started,
        completed_at=_moment(summary.backup_end) if summary else started,
        size=part.source_bytes,
        location=f"{repository.store.address} {snapshot_id}",
        checksum=set_checksum([snapshot_id]),
        stored_bytes=part.stored_bytes,
        read_bytes=part.read_bytes,
        files=part.files,
        source=part.source,
        tags=tuple(snapshot.tags or ()),
        host=snapshot.hostname,
        warnings=("its job was cut short after this snapshot was published",) if ours else (),
        parts=(part,),
        created_at=started,
        product_version=snapshot.program_version,
        new_bytes=part.new_bytes,
        compressed_bytes=part.compressed_bytes,
    )


def _part(snapshot: Snapshot) -> BackupType:
    with suppress(ValueError):  # a later release may know more types
        return BackupType(snapshot.tag("type") or "")
    return BackupType.FILES


def _source(snapshot: Snapshot) -> str:
    """Return the source that the tag names; a tag is any client's text, and a source's name becomes a folder's."""
    source = snapshot.tag("source") or ""
    return source if is_name(source) else ""


def _moment(text: str) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds(text) // 1000)
