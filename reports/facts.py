"""What controls are judged on: counts over one period, of one moment of the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from edurise_backup.model.jobs import BackupType
from reports.periods import Period


@dataclass(frozen=True, slots=True)
class Durations:
    """How long jobs took, against their objective."""

    within: int
    of: int
    """Jobs that ended well, and those that still run past the objective."""
    longest: float | None = None
    """Seconds; so are the next two. None without a job."""
    p50: float | None = None
    p95: float | None = None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How jobs ended that began in the period."""

    good: int = 0
    """With or without warnings."""
    warned: int = 0
    failed: int = 0
    cancelled: int = 0
    open: int = 0

    @property
    def ended(self) -> int:
        """Those that count: what a person stopped proves nothing."""
        return self.good + self.failed


@dataclass(frozen=True, slots=True)
class Proofs:
    """What verifications, recoveries or checks found."""

    passed: int = 0
    failed: int = 0
    """What was looked at is not as it should be."""
    undone: int = 0
    """It could not be looked at: the job failed before it had a verdict."""

    @property
    def of(self) -> int:
        """All that count."""
        return self.passed + self.failed + self.undone


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """How one source was protected in the period."""

    part: BackupType
    name: str
    """Empty: nothing of this kind is configured."""
    backups: int
    """Good ones that began in the period."""
    newest: datetime | None
    """When the newest of them began that can be restored, before the period's end."""
    newest_verified: datetime | None
    """The same, of those that passed a verification."""
    seconds: int
    """Of the period, since the source's first good backup."""
    seconds_covered: int
    """Those in which the newest good backup was no older than the objective."""


@dataclass(frozen=True, slots=True)
class ExpectedFacts:
    """What became of the runs that schedules led one to expect."""

    kept: int = 0
    failed: int = 0
    missed: int = 0
    overdue: int = 0
    """Their grace is over, and nobody has judged them: they count as missed."""
    pending: int = 0
    skipped: int = 0
    withdrawn: int = 0
    consecutive: int = 0
    """Runs that were not kept right after one of the same schedule that was not kept either."""

    @property
    def of(self) -> int:
        """All that count."""
        return self.kept + self.failed + self.missed + self.overdue


@dataclass(frozen=True, slots=True)
class RetentionFacts:
    """Whether backups stayed for as long as their schedule promises."""

    kept: int = 0
    of: int = 0
    """Good backups of a schedule that were taken, forgotten or missed in the period."""
    forgotten: int = 0
    unknown: int = 0
    """Forgotten ones of which no schedule is known, so that nobody can tell how long they had to stay."""
    present: int = 0
    """Good backups, taken at any time, that nobody forgot and that are there."""
    missing: int = 0
    """Those that are gone and that nobody forgot."""


@dataclass(frozen=True, slots=True)
class CopyFacts:
    """Whether backups have a copy that a loss of the primary, its place or its passphrase does not take along."""

    of: int = 0
    """Good backups that began in the period and are there."""
    copied: int = 0
    """Those that are whole in a copy."""
    apart: int = 0
    """Those that are whole in one with a passphrase and a place of its own."""
    proved: int = 0
    """Those whose bytes in such a copy were read back and passed."""
    damaged: int = 0
    """Those whose bytes in a copy did not pass."""


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """Bytes of the good backups of one type in the period."""

    type: BackupType
    backups: int
    original: int
    new: int | None
    """What the repository did not hold yet; None when a backup does not tell. So is the next."""
    compressed: int | None
    stored: int


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a chart: jobs that began in a part of the period."""

    start: datetime
    good: int = 0
    warned: int = 0
    """Of the good ones."""
    failed: int = 0
    p95: float | None = None
    """Seconds, of the good ones."""
    stored: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the controls and charts of a report rest on."""

    period: Period
    until: datetime
    source: str
    full: Durations
    incremental: Durations
    verification: Durations
    recovery: Durations
    backups: Outcomes
    verified: int
    """Of the good backups of the period, those that passed a verification."""
    verifications: Proofs
    recoveries: Proofs
    checks: Proofs
    sources: tuple[SourceFacts, ...]
    expected: ExpectedFacts
    retention: RetentionFacts
    storage: tuple[StorageFacts, ...]
    bins: tuple[Bin, ...]
    repository_bytes: tuple[tuple[datetime, int], ...]
    """The repository's size after prunes and checks."""
    copies: CopyFacts = CopyFacts()
