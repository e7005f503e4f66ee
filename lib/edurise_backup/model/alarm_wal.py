"""A cluster's log that does not come, or has a hole: pure rules. Each is an RPO that is being lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from edurise_backup.model.alarm_facts import Facts, WalFacts
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.wal import format_lsn
from edurise_backup.model.wal_status import WalState, WalStatus
from edurise_backup.model.words import shown, span

SILENCE = timedelta(minutes=2)
"""A reception that has said nothing for so long is away."""
BEHIND = timedelta(minutes=2)
BEHIND_CRITICAL = timedelta(minutes=15)
"""So much would be lost."""
HELD = 1 << 30
HELD_CRITICAL = 8 << 30
"""WAL that the server keeps only because it was not received fills its disk: bytes."""
_SAFE_LEFT = 1 << 30
_RECEIVE = "start it: `edurise-backup wal receive` (docs/operations/point-in-time.md)"


def log_not_received(facts: Facts) -> Iterator[Alarm]:
    """Nobody receives the log of a configured cluster."""
    for one in facts.wal:
        status = one.status
        if status is None:
            said = "was never received"
        elif status.state is WalState.STOPPED:
            said = f"is not received since {status.seen_at:%Y-%m-%d %H:%M} UTC: its reception was stopped"
        elif facts.now - status.seen_at > SILENCE:
            said = f"is not received: nothing was heard of its reception for {span(facts.now - status.seen_at)}"
        else:
            continue
        yield Alarm(
            AlarmKind.WAL_NOT_RECEIVED,
            one.source,
            Severity.CRITICAL,
            f"the log of {one.source} {said}: only the ends of base backups can be brought back",
            _RECEIVE + ', or set [cluster.wal] method = "off"',
        )


def log_behind(facts: Facts) -> Iterator[Alarm]:
    """What the server wrote is not in the repository for too long."""
    for one, status in _received(facts):
        exposure = status.exposure(facts.now)
        allowed = max(BEHIND, 4 * timedelta(seconds=status.ship_seconds))
        if exposure <= allowed:
            continue
        why = f" ({shown(status.trouble)})" if status.trouble else ""
        yield Alarm(
            AlarmKind.WAL_BEHIND,
            one.source,
            Severity.CRITICAL if exposure > BEHIND_CRITICAL else Severity.WARNING,
            f"{span(exposure)} of the log of {one.source} would be lost if its server burned now{why}",
            shown(status.hint)
            or "see `edurise-backup wal status`: is the repository reachable, and not held by somebody?",
        )


def log_held_back(facts: Facts) -> Iterator[Alarm]:
    """The server keeps WAL that is not received, or is about to throw it away."""
    for one, status in _received(facts):
        held = max(0, (status.server_lsn or 0) - (status.received_lsn or status.server_lsn or 0))
        if status.slot_status in ("unreserved", "lost", "missing"):
            yield Alarm(
                AlarmKind.WAL_SLOT,
                one.source,
                Severity.CRITICAL,
                f"the replication slot {status.slot} of {one.source} is {status.slot_status}: "
                "WAL that was not received is thrown away, or will be at the next checkpoint",
                "raise max_slot_wal_keep_size, then look at `edurise-backup wal status`; when it is lost take a base "
                "backup",
            )
        elif held > HELD:
            yield Alarm(
                AlarmKind.WAL_SLOT,
                one.source,
                Severity.CRITICAL if held > HELD_CRITICAL else Severity.WARNING,
                f"the server of {one.source} keeps {held >> 20:,} MiB of WAL that was not received: its disk fills",
                "see `edurise-backup wal status` for what is in the way of receiving it",
            )
        elif status.slot_safe_bytes is not None and status.slot_safe_bytes < _SAFE_LEFT:
            yield Alarm(
                AlarmKind.WAL_SLOT,
                one.source,
                Severity.WARNING,
                f"{max(0, status.slot_safe_bytes) >> 20:,} MiB more, and the server of {one.source} throws away WAL "
                "that was not received",
                "see `edurise-backup wal status` for what is in the way of receiving it; max_slot_wal_keep_size should "
                "be well over 1 GB",
            )
        if status.spool_bytes > status.spool_limit_bytes:
            yield Alarm(
                AlarmKind.WAL_SPOOL,
                one.source,
                Severity.CRITICAL,
                f"{status.spool_bytes >> 20:,} MiB of the log of {one.source} wait on {status.host} to be shipped, "
                f"{status.spool_limit_bytes >> 20:,} are allowed",
                "bring the repository back; what waits is shipped by itself. Mind the free space of that disk",
            )


def log_broken(facts: Facts) -> Iterator[Alarm]:
    """A segment is missing, and no base backup has begun a new window behind it."""
    for one in facts.wal:
        if one.broken_at is not None:
            until = f"{one.window_end:%Y-%m-%d %H:%M:%S} UTC" if one.window_end else "the last base backup"
            yield Alarm(
                AlarmKind.WAL_GAP,
                one.source,
                Severity.CRITICAL,
                f"the segment at {format_lsn(one.broken_at)} of {one.source} is missing: nothing after {until} can be "
                "brought back",
                "take a base backup now, with which a window begins anew: "
                f"`edurise-backup backup cluster --source {one.source}`",
            )


def log_foreign(facts: Facts) -> Iterator[Alarm]:
    """Files came that are no part of this log, or the same ones with other bytes."""
    for one, status in _received(facts):
        if not (status.conflicts or status.quarantined):
            continue
        other = f"{status.conflicts} segments came again with other bytes" if status.conflicts else ""
        aside = f"{status.quarantined} files are no whole segments and were put aside" if status.quarantined else ""
        yield Alarm(
            AlarmKind.WAL_FOREIGN,
            one.source,
            Severity.CRITICAL if status.conflicts else Severity.WARNING,
            f"the log of {one.source}: {' and '.join(filter(None, (other, aside)))}",
            "find out whether two servers write the same log (a clone, a second primary); both versions are kept. What "
            f"was put aside lies in the folder `aside` of the spool on {status.host}; delete it when you know why",
        )


def _received(facts: Facts) -> Iterator[tuple[WalFacts, WalStatus]]:
    return ((one, one.status) for one in facts.wal if one.status is not None)


WAL_RULES = (log_not_received, log_behind, log_held_back, log_broken, log_foreign)
WAL_KINDS = frozenset(
    {
        AlarmKind.WAL_NOT_RECEIVED,
        AlarmKind.WAL_BEHIND,
        AlarmKind.WAL_SLOT,
        AlarmKind.WAL_SPOOL,
        AlarmKind.WAL_GAP,
        AlarmKind.WAL_FOREIGN,
    }
)
