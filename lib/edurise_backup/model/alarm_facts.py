"""What the rules of `alarm_rules` look at: one frozen picture of the catalog, the store and the clocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from edurise_backup.model.wal_status import WalStatus
from edurise_backup.model.workers import Worker

FULL = ("full", "")
"""What stands for the whole set among parts and their sources."""


@dataclass(frozen=True, slots=True)
class Aims:
    """What is measured against."""

    good_backup: timedelta = timedelta(hours=26)
    verified: timedelta = timedelta(days=7)
    free: timedelta = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class LastGood:
    """The good backups of one source that are still there; moments are what they show, not when they ended."""

    part: str
    source: str
    first_at: datetime
    newest_at: datetime
    verified_at: datetime | None
    """The moment of the newest one that passed a verification."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The newest job of a series that ended well, or that ended badly."""

    kind: str
    """backup, verification, recovery or maintenance."""
    type: str
    """Of a backup its type, of maintenance its kind; else as `kind`."""
    source: str
    id: UUID
    status: str
    ended_at: datetime
    good: bool
    died: bool
    """Whether somebody else found it dead."""
    warnings: int
    error: str
    hint: str

    @property
    def series(self) -> str:
        """What it is one of many of, as people name it."""
        name = f"{self.kind} {self.type}" if self.kind in ("backup", "maintenance") else self.kind
        return f"{name}/{self.source}" if self.source else name


@dataclass(frozen=True, slots=True)
class FailedProof:
    """A backup, a repository or a recovery that was looked at and found damaged."""

    subject: str
    at: datetime
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes at a moment."""

    moment: datetime
    bytes: int


@dataclass(frozen=True, slots=True)
class Change:
    """What one good backup of a source brought; bytes."""

    backup_id: UUID
    moment: datetime
    source_bytes: int
    stored_bytes: int
    read_bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class Sign:
    """When a service last said that it works."""

    service: str
    host: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Store:
    """The repository's place, as far as it can be seen without opening it."""

    address: str
    free_bytes: int | None
    """None when it cannot be seen."""
    sizes: tuple[Size, ...] = ()
    """Oldest first: what its packs took; or, before anybody measured that, what backups have added."""


@dataclass(frozen=True, slots=True)
class PrimaryFacts:
    """Why the primary could not be opened the last time."""

    location: str
    since: datetime
    trouble: str
    copies: tuple[str, ...] = ()
    """Those that hold restore points."""


@dataclass(frozen=True, slots=True)
class CopyFacts:
    """How one copy stands, as the catalog knows it."""

    name: str
    objective: timedelta
    """A restore point may wait so long for its copy."""
    lags: tuple[tuple[str, str, timedelta], ...] = ()
    """(part, source, how long it has been behind); a source that it has everything of is none."""
    unreachable_since: datetime | None = None
    trouble: str = ""
    failed: Ended | None = None
    """The newest run into it, when that failed and no schedule tells of it."""
    whole: int = 0
    """Restore points that it has whole."""
    bytes: int | None = None
    """What its packs took when it was last seen."""
    damaged: int = 0
    """Restore points whose bytes there did not pass, or that are gone from it."""
    finding: str = ""
    """What the last look at its bytes found first, when it did not pass."""


@dataclass(frozen=True, slots=True)
class Locks:
    """The object locks of a store that is configured to have some."""

    store: str
    days: int
    earliest: datetime | None
    """When the first lock of what lives on ends, as the last good prune has left it; None: none has looked yet."""
    since: datetime | None
    """When the first of its objects may have been written."""


@dataclass(frozen=True, slots=True)
class WalFacts:
    """How one cluster's log stands; `broken_at`: the newest window ends there although the log goes on."""

    source: str
    status: WalStatus | None
    broken_at: int | None = None
    window_end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the rules look at, of one moment."""

    now: datetime
    aims: Aims = Aims()
    expected: tuple[tuple[str, str], ...] = ()
    """(part, source) of all that is configured; `FULL` stands for the set."""
    last_good: tuple[LastGood, ...] = ()
    ended: tuple[Ended, ...] = ()
    failed_proofs: tuple[FailedProof, ...] = ()
    missing: tuple[UUID, ...] = ()
    """Good backups that the repository lacks and nobody has forgotten."""
    store: Store | None = None
    clock_offset: timedelta | None = None
    """How far this host's clock is ahead of the catalog server's, beyond what the question itself took."""
    workers: tuple[Worker, ...] = ()
    workers_at: datetime | None = None
    """By the catalog server's clock, as the workers' signs are."""
    newest_moment: datetime | None = None
    """The latest moment that a job's row tells of."""
    changes: Mapping[tuple[str, str], tuple[Change, ...]] = field(default_factory=dict)
    """By (part, source), oldest first."""
    signs: tuple[Sign, ...] = ()
    primary: PrimaryFacts | None = None
    """None when it opened."""
    copies: tuple[CopyFacts, ...] = ()
    locks: tuple[Locks, ...] = ()
    wal: tuple[WalFacts, ...] = ()
    """Of each configured cluster whose log is to be received."""
