"""What keeps a backup whatever a policy says: a pin (somebody wants it), a legal hold (nobody may drop it)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from edurise_backup.errors import InputError

LONGEST_REASON = 500


class ProtectionKind(StrEnum):
    """How strongly a backup is kept: a pin goes when an admin says so, a hold when two people do."""

    PIN = "pin"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Protection:
    """A pin or a hold, as it lies in the repository; it names the snapshots that must stay."""

    id: UUID
    kind: ProtectionKind
    backup_id: UUID
    """The backup that a person named."""
    snapshots: tuple[str, ...]
    reason: str
    who: str
    since: datetime
    until: datetime | None = None
    """Of a hold: when it ends by itself; None: when it is released."""

    def active(self, now: datetime) -> bool:
        """Whether it is in force."""
        return self.until is None or self.until > now

    @property
    def words(self) -> str:
        """Say in a few words why the backup stays."""
        until = f", until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else ""
        verb = "is held" if self.kind is ProtectionKind.HOLD else "is pinned"
        return f"{verb} by {self.who}{until}: {self.reason}"

    @property
    def remedy(self) -> str:
        """Return the command that ends it."""
        verb = "hold release" if self.kind is ProtectionKind.HOLD else "pin remove"
        return f"edurise-backup {verb} {str(self.id)[:8]}"


def protected_snapshots(protections: Iterable[Protection], now: datetime) -> dict[str, Protection]:
    """Return the snapshots that must stay, each with what says so; a hold before a pin."""
    found: dict[str, Protection] = {}
    ordered = sorted(protections, key=lambda one: (one.kind is ProtectionKind.HOLD, one.since, one.id))
    for one in ordered:  # what is stronger is written last
        if one.active(now):
            found.update(dict.fromkeys(one.snapshots, one))
    return found


def checked_reason(text: str) -> str:
    """Return a reason as it is kept, on one line; raises InputError for none, or one that nobody reads."""
    reason = " ".join(text.split())
    if not reason:
        raise InputError(
            "no reason is given", safe="nothing was changed", hint="say why the backup must stay: --reason TEXT"
        )
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise InputError(
            f"a reason is printable text of at most {LONGEST_REASON} characters",
            safe="nothing was changed",
            hint="write a shorter one, and refer to a document",
        )
    return reason
