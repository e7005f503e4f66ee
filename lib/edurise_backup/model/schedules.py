"""What is run again and again: a row of `backup_schedules`, and the runs that it leads one to expect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from edurise_backup.model.jobs import BackupType


class Work(StrEnum):
    """What a schedule runs: a backup of a type, or something that keeps backups good."""

    FULL = "full"
    DATABASE = "database"
    CLUSTER = "cluster"
    FILES = "files"
    CONFIGURATION = "configuration"
    METADATA = "metadata"
    VERIFY = "verify"
    """Verify the newest good backup that was not verified yet."""
    CHECK = "check"
    RETAIN = "retain"
    """Apply the retention of every schedule: forget what none of them keeps."""
    PRUNE = "prune"
    REPORT = "report"
    ANCHOR = "anchor"
    """Seal the head of the audit trail into the repository."""
    COPY = "copy"
    """Bring what is new into the copies."""

    @property
    def backup(self) -> BackupType | None:
        """The type of backup that it is, or None."""
        return BackupType(self.value) if self.value in list(BackupType) else None


@dataclass(frozen=True, slots=True)
class KeepRules:
    """How many periods to keep a backup of, beside the schedule's days; 0: the rule is off, -1: all."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Schedule:
    """A row of `backup_schedules`."""

    id: UUID
    name: str
    type: Work
    frequency: str
    """As a person wrote it: cron, an interval, or plain words."""
    retention: int
    """Days for which every backup of it is kept."""
    last_run: datetime | None = None
    next_run: datetime | None = None
    is_active: bool = True
    source: str = ""
    zone: str = "UTC"
    incremental: bool = True
    tags: tuple[str, ...] = ()
    options: Mapping[str, str | int | bool] = field(default_factory=dict)
    """Of what is run, by the names of its flow's parameters."""
    keep: KeepRules = KeepRules()
    jitter: timedelta = timedelta(0)
    grace: timedelta = timedelta(hours=1)
    """A run that begins later than this after its time is skipped, and counts as missed."""
    blackout: tuple[str, ...] = ()
    """Spans in which nothing is started, in the schedule's zone."""
    catch_up: bool = True
    """Whether the newest run that was missed is made up for, once."""
    paused_until: datetime | None = None
    """When a pause ends by itself; None: when somebody resumes it."""
    version: int = 1
    created_at: datetime | None = None
    updated_at: datetime | None = None
    prefect_schedule_id: UUID | None = None


class RunOutcome(StrEnum):
    """What became of an expected run."""

    KEPT = "kept"
    FAILED = "failed"
    MISSED = "missed"
    SKIPPED = "skipped"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class ExpectedRun:
    """A row of `expected_runs`: frozen before it was due."""

    schedule_id: UUID
    due_at: datetime
    name: str
    type: Work
    source: str
    grace_until: datetime
    frozen_at: datetime
    outcome: RunOutcome | None = None
    judged_at: datetime | None = None
    job_id: UUID | None = None
    begun_at: datetime | None = None
    """When a run took it up: it is taken up once."""
    flow_run_id: UUID | None = None
    made_up_at: datetime | None = None
    """Of a missed one: when a later run that ended well made up for it."""
    reason: str = ""
