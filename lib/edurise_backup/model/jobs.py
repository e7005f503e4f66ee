"""What the catalog records: backup, verification and recovery jobs, and how they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

JobId = NewType("JobId", UUID)


class BackupType(StrEnum):
    """What a backup holds; `full` is a recovery set of everything that is configured.

    `database` is a dump of each database of a server, `cluster` a server's whole data directory.
    """

    FULL = "full"
    DATABASE = "database"
    CLUSTER = "cluster"
    FILES = "files"
    CONFIGURATION = "configuration"
    METADATA = "metadata"

    @property
    def parts(self) -> tuple[BackupType, ...]:
        """The parts to collect, in the order in which they must be read (files after the database)."""
        return tuple(kind for kind in BackupType if kind is not self) if self is BackupType.FULL else (self,)


class JobStatus(StrEnum):
    """Where a job stands; only the two `completed` ones count toward an objective."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    COMPLETED_WITH_WARNINGS = "completed_with_warnings"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)

    @property
    def good(self) -> bool:
        """Whether the job did what it was asked."""
        return self in (JobStatus.COMPLETED, JobStatus.COMPLETED_WITH_WARNINGS)


class Verdict(StrEnum):
    """What a proof found: of a verification, or of what was restored."""

    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Phase:
    """One step of a job."""

    name: str
    started_at: datetime
    completed_at: datetime | None = None
    bytes_done: int = 0
    bytes_total: int | None = None
    files_done: int = 0


@dataclass(frozen=True, slots=True)
class PartResult:
    """One snapshot of a backup."""

    part: BackupType
    snapshot_id: str
    source: str
    source_bytes: int
    stored_bytes: int
    """Bytes that this snapshot added to the repository."""
    read_bytes: int
    files: int
    lsn: str | None = None
    snapshot_time: datetime | None = None
    """The instant that the part shows: of a database, the time of its exported snapshot."""
    new_bytes: int | None = None
    """Of `source_bytes`, what the repository did not hold yet, before compression; None: not recorded."""
    compressed_bytes: int | None = None
    """What became of `new_bytes` by compression and sealing; `stored_bytes` counts pack headers, too."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a job cost."""

    cpu_seconds: float = 0.0
    peak_memory: int = 0
    """Bytes: the largest resident set of the process that ran the job."""
    sent_bytes: int = 0
    """Bytes handed to the store."""


@dataclass(frozen=True, slots=True)
class BackupJob:
    """A row of `backup_jobs`; sizes in bytes, times aware UTC."""

    id: JobId
    type: BackupType
    status: JobStatus
    started_at: datetime | None = None
    completed_at: datetime | None = None
    size: int | None = None
    """Bytes of the source."""
    location: str | None = None
    """The store's address and the snapshot ids."""
    checksum: str | None = None
    """SHA-256 over the set's snapshot ids."""
    stored_bytes: int | None = None
    read_bytes: int | None = None
    files: int | None = None
    incremental: bool = False
    set_id: UUID | None = None
    source: str = ""
    tags: tuple[str, ...] = ()
    host: str = ""
    pid: int | None = None
    flow_run_id: UUID | None = None
    heartbeat_at: datetime | None = None
    phase: str | None = None
    progress: float | None = None
    """0 to 1, of the phase that runs."""
    error: str | None = None
    hint: str | None = None
    warnings: tuple[str, ...] = ()
    parts: tuple[PartResult, ...] = ()
    phases: tuple[Phase, ...] = ()
    usage: Usage = field(default_factory=Usage)
    verified_at: datetime | None = None
    verification_status: Verdict | None = None
    created_at: datetime | None = None
    product_version: str = ""
    forgotten_at: datetime | None = None
    """When it was forgotten as a whole; None while it is not."""
    forgotten_until: datetime | None = None
    """Until when it can be brought back."""
    missing_since: datetime | None = None
    """When it was first noticed that a snapshot of it is gone and nobody has forgotten it."""
    new_bytes: int | None = None
    """The sum of its parts', as `stored_bytes`; None: not recorded. So is the next."""
    compressed_bytes: int | None = None

    @property
    def restorable(self) -> bool:
        """Whether it ended well and its snapshots are there, as far as the catalog knows."""
        return self.status.good and self.forgotten_at is None and self.missing_since is None


@dataclass(frozen=True, slots=True)
class Verification:
    """A row of `verification_jobs`: a backup's structure and bytes, read back and proved."""

    id: JobId
    backup_id: JobId
    status: JobStatus
    verification_status: Verdict = Verdict.PENDING
    started_at: datetime | None = None
    completed_at: datetime | None = None
    bytes_read: int = 0
    blobs: int = 0
    findings: tuple[str, ...] = ()
    flow_run_id: UUID | None = None
    host: str = ""
    pid: int | None = None
    heartbeat_at: datetime | None = None
    phase: str | None = None
    progress: float | None = None
    error: str | None = None
    hint: str | None = None
    phases: tuple[Phase, ...] = ()
    usage: Usage = field(default_factory=Usage)


class BucketsTo(StrEnum):
    """Where what was backed up from buckets goes."""

    FILES = "files"
    """Below the directory, as files."""
    EMPTY = "empty"
    """Back to where the configuration says that they are now, which must be empty."""
    ADD = "add"
    """Back there, although something is there: it stays as it is, and what is equal is not sent again."""


@dataclass(frozen=True, slots=True)
class RecoveryTarget:
    """Where a recovery goes: a fresh directory and, for databases, a server and a suffix for their new names."""

    directory: str
    """What is not a database goes to DIRECTORY/PART/SOURCE, each file below it under its own absolute path."""
    database_source: str | None = None
    """The name of the configured database source whose server receives the databases; None: the one backed up."""
    database_suffix: str = "_restored"
    """Appended to each database's name; empty brings them back under their own names (they must not exist)."""
    parts: tuple[BackupType, ...] = ()
    """The parts to bring back; empty: everything that the backup holds."""
    store: str = ""
    """The one store to take the bytes from; empty: the nearest that has them whole."""
    buckets: BucketsTo = BucketsTo.FILES
    """Where buckets go; nothing in one is ever replaced or deleted."""
    source: str = ""
    """Of a recovery to a moment: the cluster."""
    moment: str = ""
    """Of a recovery to a moment: which, as `model.recovery_target` writes it."""


@dataclass(frozen=True, slots=True)
class RecoveryJob:
    """A row of `recovery_jobs`."""

    id: JobId
    backup_id: JobId
    type: BackupType
    status: JobStatus
    target_time: datetime | None = None
    """The moment that was asked for; for a whole set, the set's own."""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    verification_status: Verdict = Verdict.PENDING
    target: RecoveryTarget | None = None
    restored_bytes: int | None = None
    findings: tuple[str, ...] = ()
    """What the proof found: empty when everything is equal."""
    checks: tuple[str, ...] = ()
    """What the proof compared, a sentence each, with counts."""
    flow_run_id: UUID | None = None
    host: str = ""
    pid: int | None = None
    heartbeat_at: datetime | None = None
    phase: str | None = None
    progress: float | None = None
    error: str | None = None
    hint: str | None = None
    warnings: tuple[str, ...] = ()
    phases: tuple[Phase, ...] = ()
    usage: Usage = field(default_factory=Usage)
    stores: tuple[str, ...] = ()
    """The stores that the bytes came from, the one that was chosen first; none: not recorded."""
    store_notes: tuple[str, ...] = ()
    """Why each of them was taken, and others were not, a sentence each."""


@dataclass(frozen=True, slots=True)
class BackupFilters:
    """Which backups to list; None means any."""

    type: BackupType | None = None
    status: JobStatus | None = None
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    verified: bool | None = None
    tag: str | None = None
    set_id: UUID | None = None
    restorable: bool | None = None
    limit: int = 100
    offset: int = 0


@dataclass(frozen=True, slots=True)
class TypeStats:
    """Figures of one type of backup."""

    type: BackupType
    completed: int
    warned: int
    failed: int
    last_good_id: JobId | None
    last_good_at: datetime | None
    last_good_age: timedelta | None
    median_duration: timedelta | None


@dataclass(frozen=True, slots=True)
class BackupStats:
    """The platform's backups in figures, from the catalog alone; bytes."""

    as_of: datetime
    types: tuple[TypeStats, ...]
    running: int
    source_bytes: int
    """Original bytes of all good backups, added up."""
    stored_bytes: int
    """What those backups added to the repository."""
    verified: int
    unverified: int
    recoveries_passed: int
    recoveries_failed: int

    @property
    def dedup_ratio(self) -> float | None:
        """Original bytes for each stored byte, or None without data."""
        return self.source_bytes / self.stored_bytes if self.stored_bytes else None
