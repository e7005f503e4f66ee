"""Object locks that end although what they hold lives on: one pure rule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from edurise_backup.model.alarm_facts import Facts
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.words import span

LEAST_LEFT = 4
"""Prunes extend a lock when less than half of its time is left: with less than this part of it they have not come."""


def locks_run_out(facts: Facts) -> Iterator[Alarm]:
    """No prune has extended the locks of a store for so long that the first ones end soon, or have ended."""
    for locks in facts.locks:
        length = timedelta(days=locks.days)
        ends = locks.earliest or (locks.since and locks.since + length)
        if ends is None or ends - facts.now > length / LEAST_LEFT:
            continue
        over = ends <= facts.now
        when = f"{'ended' if over else 'end'} on {ends:%Y-%m-%d %H:%M} UTC"
        rest = "" if over else f", in {span(ends - facts.now)}"
        yield Alarm(
            AlarmKind.LOCKS_RUN_OUT,
            f"locks of {locks.store}",
            Severity.CRITICAL if over else Severity.WARNING,
            f"the first object locks of what lives on in {locks.store} {when}{rest}, and no prune has extended them: "
            "whoever has a credential that deletes could delete backups then",
            f"prune {locks.store} (`edurise-backup prune`, of a copy `edurise-backup prune --copy NAME`), and see "
            f"that its schedule runs more often than every {max(1, locks.days // 2)} days: "
            "docs/operations/object-storage.md, Object lock",
        )
