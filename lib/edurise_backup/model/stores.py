"""The stores of one platform: the primary, and the copies of its backups elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from edurise_backup.model.jobs import Verdict
from edurise_backup.model.settings import CopySettings, RepositorySettings

PRIMARY = "primary"
"""The name of the configured repository among the stores."""


class Origin(StrEnum):
    """Who named a store."""

    CONFIGURATION = "configuration"
    REGISTER = "register"
    """An admin, while the product ran."""


class CopyState(StrEnum):
    """How a restore point stands in a copy; one that has no row there was never copied."""

    WHOLE = "whole"
    PARTIAL = "partial"
    """Some of its snapshots are there: the next run brings the others."""
    FORGOTTEN = "forgotten"
    """The copy's retention let it go: it is not brought again."""
    GONE = "gone"
    """It was whole there, and at least a part is neither listed nor forgotten now."""


@dataclass(frozen=True, slots=True)
class KnownStore:
    """A store, and how its repository is opened."""

    name: str
    settings: RepositorySettings
    origin: Origin = Origin.CONFIGURATION

    @property
    def primary(self) -> bool:
        """Whether backups are written here first."""
        return self.name == PRIMARY

    @property
    def lag(self) -> timedelta:
        """How long a restore point may wait for its copy here."""
        hours = self.settings.lag_hours if isinstance(self.settings, CopySettings) else 0
        return timedelta(hours=hours)


@dataclass(frozen=True, slots=True)
class BackupCopy:
    """A row of `backup_copies`: one restore point in one copy."""

    store: str
    backup_id: UUID
    state: CopyState
    snapshots: tuple[str, ...] = ()
    """Its snapshots' ids there, in the order of the backup's parts; empty where one is not there."""
    bytes: int | None = None
    """What it added there; None: it was found there, and nobody knows."""
    copied_at: datetime | None = None
    verified_at: datetime | None = None
    outcome: Verdict | None = None
    """What the last look at its bytes there has found."""


@dataclass(frozen=True, slots=True)
class SourceLag:
    """How far a copy is behind one source."""

    store: str
    part: str
    source: str
    newest_at: datetime
    """The newest restore point that the primary has."""
    copied_at: datetime | None
    """The newest one that is whole in the copy."""
    behind_since: datetime | None
    """When the oldest one ended that the copy should have beyond that; None: it has them all."""

    def lag(self, now: datetime) -> timedelta:
        """How long the copy has been behind; 0: not at all."""
        return max(timedelta(0), now - self.behind_since) if self.behind_since else timedelta(0)
