"""What is wrong with the copies: late, failed, damaged, out of reach; one pure rule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from edurise_backup.model.alarm_facts import CopyFacts, Facts
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.words import shown, span, subject_of

LATE_TIMES = 2
"""A lag beyond its objective by this factor is critical."""


def copies_in_trouble(facts: Facts) -> Iterator[Alarm]:
    """A copy is behind for longer than it may be, failed, did not pass its proof, or cannot be reached."""
    for copy in facts.copies:
        yield from _late(copy)
        yield from _failed(copy)
        yield from _damaged(copy)
        yield from _unreachable(copy, facts.now)


def _late(copy: CopyFacts) -> Iterator[Alarm]:
    worst = max(copy.lags, key=lambda lag: lag[2], default=None)
    if worst is None or worst[2] <= copy.objective:
        return
    part, source, lag = worst
    yield Alarm(
        AlarmKind.COPY_LATE,
        f"copy {copy.name}",
        Severity.CRITICAL if lag > LATE_TIMES * copy.objective else Severity.WARNING,
        f"a restore point of {subject_of(part, source)} waits for its copy in {copy.name} for {span(lag)}, "
        f"{span(copy.objective)} are allowed",
        f"copy now: `edurise-backup copy run {copy.name}`; schedule it: `edurise-backup schedule add`",
    )


def _failed(copy: CopyFacts) -> Iterator[Alarm]:
    if copy.failed is not None:
        yield Alarm(
            AlarmKind.COPY_FAILED,
            f"copy {copy.name}",
            Severity.WARNING,
            f"the last run into the copy {copy.name} ({str(copy.failed.id)[:8]}) failed: "
            f"{shown(copy.failed.error) or 'no reason was written'}",
            shown(copy.failed.hint) or f"run it again: `edurise-backup copy run {copy.name}`",
        )


def _damaged(copy: CopyFacts) -> Iterator[Alarm]:
    if copy.damaged or copy.finding:
        told = f": {shown(copy.finding)}" if copy.finding else ""
        yield Alarm(
            AlarmKind.COPY_DAMAGED,
            f"copy {copy.name}",
            Severity.CRITICAL,
            f"the copy {copy.name} did not pass its own proof, {copy.damaged} restore points are damaged "
            f"or gone there{told}",
            f"the primary is not affected by this: see docs/operations/copies.md, A copy is damaged; then "
            f"`edurise-backup check --copy {copy.name} --read-data`",
        )


def _unreachable(copy: CopyFacts, now: datetime) -> Iterator[Alarm]:
    if copy.unreachable_since is not None:
        yield Alarm(
            AlarmKind.COPY_UNREACHABLE,
            f"copy {copy.name}",
            Severity.WARNING,
            f"the copy {copy.name} cannot be opened for {span(now - copy.unreachable_since)}: {shown(copy.trouble)}",
            f"`edurise-backup store probe {copy.name}` tries again and says what is wrong",
        )
