"""What is wrong, as people are told of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Severity(StrEnum):
    """How soon somebody must look; in this order."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """A greater one is worse."""
        return list(Severity).index(self)


class AlarmKind(StrEnum):
    """Every kind of alarm that the product raises; later parts add theirs here."""

    NO_GOOD_BACKUP = "no_good_backup"
    JOB_FAILED = "job_failed"
    JOB_PARTIAL = "job_partial"
    JOB_DIED = "job_died"
    RUN_MISSED = "run_missed"
    RUN_LATE = "run_late"
    VERIFICATION_FAILED = "verification_failed"
    NOT_VERIFIED = "not_verified"
    STORE_FILLING = "store_filling"
    PRIMARY_LOST = "primary_lost"
    """The repository cannot be opened, or another one lies in its place."""
    CLOCK_OFF = "clock_off"
    LEASE_STOLEN = "lease_stolen"
    CATALOG_DISAGREES = "catalog_disagrees"
    SCHEDULE_DRIFT = "schedule_drift"
    RETENTION_DRIFT = "retention_drift"
    PROTECTION_GONE = "protection_gone"
    """The note of a pin or hold is gone from the repository, and nobody released it."""
    UNUSUAL_CHANGE = "unusual_change"
    AUDIT_BROKEN = "audit_broken"
    BREAK_GLASS = "break_glass"
    SERVICE_DOWN = "service_down"
    TARGET_UNREACHABLE = "target_unreachable"
    COPY_LATE = "copy_late"
    """A restore point waits for its copy for longer than it may."""
    COPY_FAILED = "copy_failed"
    COPY_DAMAGED = "copy_damaged"
    """A copy's own bytes did not pass, or restore points are gone from it."""
    COPY_UNREACHABLE = "copy_unreachable"
    WAL_NOT_RECEIVED = "wal_not_received"
    WAL_BEHIND = "wal_behind"
    WAL_SLOT = "wal_slot"
    """The server keeps much WAL for us, or is about to throw it away."""
    WAL_SPOOL = "wal_spool"
    WAL_GAP = "wal_gap"
    WAL_FOREIGN = "wal_foreign"
    """What came is of another log, or no whole segment."""
    LOCKS_RUN_OUT = "locks_run_out"
    """Object locks of what lives on end soon, and no prune extends them."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that is wrong; the same kind and subject is the same alarm for as long as it goes on."""

    kind: AlarmKind
    subject: str
    """What it is about: a source, a schedule, a job, a store."""
    severity: Severity
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """A row of `alarms`."""

    id: UUID
    kind: AlarmKind
    subject: str
    severity: Severity
    message: str
    remedy: str
    raised_at: datetime
    last_seen_at: datetime
    seen: int
    settled_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
