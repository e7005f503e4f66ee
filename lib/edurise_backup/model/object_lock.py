"""Object lock: which objects of a repository a bucket keeps from being deleted, and for how long.

Locked is what no prune needs to remove soon. Locks of the repository, and most
notes below `edurise/`, come and go, so they never are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from edurise_backup.errors import InputError

LONGEST_DAYS = 36_500
_COVERED = ("keys/", "snapshots/", "index/", "data/", "edurise/audit/", "edurise/removed/")
_WORDS = "write governance:30 or compliance:30 (days), or off"


class LockMode(StrEnum):
    """How firmly a server holds a locked object."""

    OFF = "off"
    GOVERNANCE = "governance"
    """Who has a special permission may remove it."""
    COMPLIANCE = "compliance"
    """Nobody may, the account's owner neither."""


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """How objects are locked when they are created; whoever prunes extends it."""

    mode: LockMode = LockMode.OFF
    period: timedelta = timedelta(0)

    def __bool__(self) -> bool:
        return self.mode is not LockMode.OFF

    def covers(self, name: str) -> bool:
        """Whether an object of this name is locked."""
        return bool(self) and (name == "config" or name.startswith(_COVERED))

    def until(self, now: datetime) -> datetime:
        """Return until when what is locked now stays so; whole seconds, as servers keep them."""
        return (now + self.period).replace(microsecond=0)

    def short(self, until: datetime, now: datetime) -> bool:
        """Whether a lock is to be extended: less than half of its time is left."""
        return until - now < self.period / 2


NO_LOCK = ObjectLock()


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object in a bucket that keeps them."""

    name: str
    id: str
    modified: datetime
    newest: bool
    marker: bool = False
    """It holds nothing: it says that the object was deleted."""
    size: int = 0


def make_lock(mode: str, days: int) -> ObjectLock:
    """Return the lock that settings say; raises InputError for a mode without days."""
    try:
        chosen = LockMode(mode)
    except ValueError as error:
        raise InputError(f"there is no lock mode {mode!r}", safe="nothing was done", hint=_WORDS) from error
    if chosen is LockMode.OFF:
        return NO_LOCK
    if not 1 <= days <= LONGEST_DAYS:
        raise InputError(
            f"objects are to be locked ({mode}) for {days} days",
            safe="nothing was done",
            hint=f"set lock_days to 1 to {LONGEST_DAYS}",
        )
    return ObjectLock(chosen, timedelta(days=days))


def parse_lock(text: str) -> ObjectLock:
    """Return the lock that `governance:30` means; empty and `off` mean none. Raises InputError."""
    if text in ("", "off"):
        return NO_LOCK
    found = re.fullmatch(r"(governance|compliance):([0-9]{1,5})", text)
    if found is None:
        raise InputError(f"{text!r} is no object lock", safe="nothing was done", hint=_WORDS)
    return make_lock(found[1], int(found[2]))
