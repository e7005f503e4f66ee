"""What the catalog records of prunes, checks and forgetting: work on a repository as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from edurise_backup.model.jobs import JobId, JobStatus, Phase, Usage, Verdict


class MaintenanceKind(StrEnum):
    """What is done for a repository as a whole."""

    PRUNE = "prune"
    CHECK = "check"
    FORGET = "forget"
    COPY = "copy"
    """Bring what is new into a copy."""
    VERIFY = "verify"
    """Read a backup's bytes back from a copy; of the primary that is a verification."""
    STORE = "store"
    """Register a store, or probe it."""


@dataclass(frozen=True, slots=True)
class LockFigures:
    """What a prune did for the object locks of what lives on."""

    extended: int
    behind: int
    """Objects whose lock runs short, left for the next prune."""
    earliest: datetime | None
    """When the first lock ends, unless a prune extends it."""


@dataclass(frozen=True, slots=True)
class PruneFigures:
    """What a prune did, or (a dry run) would do; sizes in bytes."""

    forgotten_snapshots: int
    """Forgotten snapshots that still count as in use."""
    used_bytes: int
    repacked_bytes: int
    """Read and written again, to free the rest of their packs."""
    deleted_packs: int
    deleted_bytes: int
    waiting_packs: int
    """Packs out of the index whose grace lasts."""
    waiting_bytes: int
    waiting_until: datetime | None
    """When the last of them may be deleted."""
    refusal: str = ""
    """Of a dry run: why a prune would refuse."""
    locked_packs: int = 0
    """Packs whose grace is over and that an object lock holds: a later prune deletes them."""
    locked_bytes: int = 0
    locked_until: datetime | None = None
    """When the last of them is let go."""
    locks: LockFigures | None = None
    """None: the store locks nothing, or an earlier release pruned."""

    @property
    def freed_bytes(self) -> int:
        """What the store holds less once everything that waits has gone, too."""
        return self.deleted_bytes + self.waiting_bytes - self.repacked_bytes


@dataclass(frozen=True, slots=True)
class CheckFigures:
    """What a check read, and how fresh the proof of all bytes is; sizes in bytes."""

    blobs: int
    packs_read: int
    bytes_read: int
    damaged_packs: int
    affected_paths: int
    """Paths, counted in every snapshot, that cannot be restored as they were."""
    never_proved_packs: int
    oldest_proof: datetime | None
    """When the pack that has waited longest was proved; None when none ever was."""
    overdue_packs: int
    """Packs that were proved longer ago than 30 days, or never."""
    overdue_bytes: int
    within_percent: float
    """The share of all bytes proved within 30 days, cut to two places: 100 means every byte."""


@dataclass(frozen=True, slots=True)
class ForgetFigures:
    """Which backups were forgotten, or brought back."""

    backups: tuple[JobId, ...]
    until: datetime | None = None
    """Until when they can be brought back; None when they cannot."""


@dataclass(frozen=True, slots=True)
class CopyFigures:
    """What a copy brought; sizes in bytes."""

    backups: tuple[JobId, ...]
    """Those that are whole there now and were not before."""
    waiting: int
    """Backups that could not be brought whole: the warnings say why."""
    blobs: int
    plain_bytes: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class MaintenanceFigures:
    """What is known after a job on a repository; bytes are those of all its packs."""

    snapshots: int
    packs: int | None = None
    bytes: int | None = None
    pruned: PruneFigures | None = None
    checked: CheckFigures | None = None
    forgotten: ForgetFigures | None = None
    copied: CopyFigures | None = None


@dataclass(frozen=True, slots=True)
class MaintenanceJob:
    """A row of `maintenance_jobs`: a prune, check or forgetting of a repository."""

    id: JobId
    kind: MaintenanceKind
    status: JobStatus
    dry_run: bool = False
    store: str = ""
    """The copy that it worked on; empty: the primary."""
    asked: str = ""
    """With what options, as a person reads them."""
    verification_status: Verdict | None = None
    """Of a check: what it found."""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    figures: MaintenanceFigures | None = None
    findings: tuple[str, ...] = ()
    """What is wrong with the repository, a sentence each."""
    warnings: tuple[str, ...] = ()
    """What should be looked at, and is no damage."""
    remarks: tuple[str, ...] = ()
    """Harmless things, such as packs that no index knows."""
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
