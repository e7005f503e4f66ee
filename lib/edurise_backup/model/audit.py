"""The audit trail's rows, and the chain of hashes that binds them: pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

NOTHING = "0" * 64
"""What stands for the hash before the first row."""


class Outcome(StrEnum):
    """What became of what somebody wanted."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """Which rows of the trail to show; what is empty chooses nothing out."""

    actor: str = ""
    """A part of the name, in whatever case; so is `subject`."""
    action: str = ""
    """How the action begins: `user`, `approval.use`."""
    subject: str = ""
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A row of `audit_log`."""

    seq: int
    at: datetime
    actor: str
    via: str
    action: str
    """What was done, as `THING.VERB`: `schedule.add`, `user.sign_in`, `key.remove`."""
    subject: str
    outcome: Outcome
    detail: str
    """A JSON object."""
    previous: str
    hash: str

    @property
    def expected_hash(self) -> str:
        """The hash that this row must have."""
        return chained_hash(self.previous, self.seq, self.at, self.words)

    @property
    def words(self) -> tuple[str, ...]:
        """What the row says, in the order in which it is hashed."""
        return (self.actor, self.via, self.action, self.subject, self.outcome.value, self.detail)


def chained_hash(previous: str, seq: int, at: datetime, words: tuple[str, ...]) -> str:
    """Return SHA-256, in hex, over a row: as a JSON array, so that no two rows read the same."""
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    text = json.dumps([previous, seq, moment, *words], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def detail_text(detail: Mapping[str, object]) -> str:
    """Return details as they are kept: sorted, and the same bytes for the same facts."""
    return json.dumps(detail, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
