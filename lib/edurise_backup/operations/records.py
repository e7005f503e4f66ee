"""What the repository keeps of finished jobs, beside the snapshots: enough to rebuild the catalog.

Each finished job is a sealed object `edurise/jobs/KIND/ID`, written before its
row is: a catalog that is lost a moment later loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

from edurise_backup.catalog.records import JobKind, JobRecord, kind_of, record_from_json, record_to_json
from edurise_backup.errors import BackupError, ConflictError
from edurise_backup.model.jobs import BackupJob
from edurise_backup.repository.repository import Repository

_FOLDER = "jobs"


def keep_record(repository: Repository, job: JobRecord) -> None:
    """Store a finished job in the repository; the same job twice is stored once."""
    with suppress(ConflictError):
        repository.box.save_note(f"{_FOLDER}/{kind_of(job)}/{job.id}", record_to_json(job))


def keep_records(repository: Repository, jobs: Iterable[BackupJob]) -> None:
    """Store the records of backups that the repository does not keep yet: a copy, too, tells what it holds."""
    there = set(repository.box.notes(f"{_FOLDER}/{JobKind.BACKUP}"))
    for job in jobs:
        if f"{_FOLDER}/{JobKind.BACKUP}/{job.id}" not in there:
            keep_record(repository, job)


def kept_records(repository: Repository) -> Iterator[JobRecord | BackupError]:
    """Yield every job that the repository keeps, oldest first; in place of one that is not readable, the error."""
    records: list[JobRecord] = []
    for kind in JobKind:
        for name in sorted(repository.box.notes(f"{_FOLDER}/{kind}")):
            try:
                records.append(record_from_json(repository.box.load_note(name)))
            except BackupError as error:
                yield error
    order = list(JobKind)
    started = datetime.min.replace(tzinfo=UTC)
    yield from sorted(records, key=lambda job: (order.index(kind_of(job)), job.started_at or started))
