"""What the dashboard reads of alarms, and what a person may do about them. The role is checked by the operation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import streamlit as st

from dashboard import queries
from dashboard.people import current_actor
from edurise_backup.catalog.signs import read_signs
from edurise_backup.model.alarm_rules import SILENCE
from edurise_backup.model.alarms import AlarmRow, Severity
from edurise_backup.operations import alarms as operation
from edurise_backup.operations import telling
from edurise_backup.operations.telling import TargetState
from edurise_backup.operations.watching import SERVICE

HISTORY = 200


@dataclass(frozen=True, slots=True)
class AlarmState:
    """What the page of alarms shows, of one moment."""

    as_of: datetime
    open: tuple[AlarmRow, ...]
    """The worst first, those that somebody looks after last."""
    history: tuple[AlarmRow, ...]
    """The newest of all, settled ones too."""
    targets: tuple[TargetState, ...]
    """Without their URLs: this process does not read them."""
    watched_at: datetime | None
    """When the watch last said that it works; None: never."""

    @property
    def watch_is_silent(self) -> bool:
        """Whether the watch worked once and has stopped."""
        return self.watched_at is not None and self.as_of - self.watched_at > SILENCE

    @property
    def urgent(self) -> tuple[AlarmRow, ...]:
        """Critical ones that nobody looks after."""
        return tuple(row for row in self.open if row.severity is Severity.CRITICAL and row.acknowledged_at is None)


@st.cache_data(ttl=timedelta(seconds=2), show_spinner=False)
def alarms() -> AlarmState:
    """Return alarms, targets and the watch's last sign; raises UnreachableError or TransientError."""
    catalog = queries.catalog()
    signs = [sign.at for sign in read_signs(catalog.sessions) if sign.service == SERVICE]
    return AlarmState(
        as_of=datetime.now(UTC),
        open=tuple(
            sorted(catalog.alarms.open(), key=lambda row: (row.acknowledged_at is not None, -row.severity.rank))
        ),
        history=catalog.alarms.newest(limit=HISTORY),
        targets=telling.targets(queries.settings(), catalog, environment=None),
        watched_at=max(signs, default=None),
    )


def acknowledge(alarm_id: UUID) -> None:
    """Note that the person at this page looks after an alarm; raises ForbiddenError, NotFoundError, ConflictError."""
    operation.acknowledge(queries.catalog(), current_actor(), alarm_id)
    alarms.clear()


def send_test(target: str) -> UUID:
    """Have the watch send a test message to a target; raises ForbiddenError, NotFoundError."""
    queued = telling.queue_test(queries.settings(), queries.catalog(), current_actor(), target, datetime.now(UTC))
    alarms.clear()
    return queued
