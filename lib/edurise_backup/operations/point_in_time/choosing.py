"""Choose what a recovery to a moment begins with, or say why the moment cannot be: before a byte is copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from edurise_backup.errors import InputError, NotFoundError
from edurise_backup.model.recovery_target import TargetMoment
from edurise_backup.model.recovery_window import RecoveryWindow, nearest_moments
from edurise_backup.model.wal import Lsn, format_lsn
from edurise_backup.model.wal_status import BaseBackup, Point, WalEvent

_SAFE = "nothing was restored or changed"
_WINDOWS = "`edurise-backup window` shows what can be brought back"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a recovery begins with, and along which timeline it goes."""

    base: BaseBackup
    window: RecoveryWindow
    target: TargetMoment
    """As it was asked for, with the timeline that was chosen."""
    expected: Lsn | None
    """Where it is believed to end."""
    store: str = ""
    """Where it was chosen; empty: by the catalog alone."""
    store_notes: tuple[str, ...] = ()
    """Why that store, a sentence each."""

    @property
    def replay_bytes(self) -> int | None:
        """WAL that will be replayed, when that is known."""
        return None if self.expected is None else max(0, self.expected - self.base.start_lsn)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one cluster's moments."""

    source: str
    windows: tuple[RecoveryWindow, ...]
    points: tuple[Point, ...] = ()
    events: tuple[WalEvent, ...] = ()
    next_xids: tuple[tuple[str, int], ...] = ()
    """By base backup (its snapshot): transactions from this number on began after it."""


def choose(known: Known, target: TargetMoment, *, base: str = "") -> Choice:
    """Return the choice; `base`: the snapshot or backup that it must begin with. Raises InputError, NotFoundError.

    Rule: the newest timeline that has the moment, and on it the newest base backup that is consistent before it.
    """
    windows = _on_timeline(known, target)
    if target.time is not None:
        return _by_time(known, windows, target, target.time, base)
    if target.lsn is not None:
        return _by_lsn(known, windows, target, target.lsn, base)
    if target.name is not None:
        return _by_lsn(known, windows, target, _point(known, target.name), base)
    if target.xid is not None:
        return _by_xid(known, windows, target, target.xid, base)
    window = max(windows, key=lambda one: (one.timeline, one.end_lsn))
    chosen = _base(window.bases, base)
    return _chosen(window, chosen, target, chosen.stop_lsn if target.immediate else window.end_lsn)


def no_base_backup(source: str) -> NotFoundError:
    """Return why no moment of a cluster can be brought back."""
    return NotFoundError(
        f"no moment of {source} can be brought back: there is no base backup",
        safe=_SAFE,
        hint=f"take one: `edurise-backup backup cluster --source {source}`",
    )


def _on_timeline(known: Known, target: TargetMoment) -> list[RecoveryWindow]:
    if not known.windows:
        raise no_base_backup(known.source)
    newest = sorted(known.windows, key=lambda one: -one.timeline)
    wanted = target.timeline
    if wanted == "current":  # that of the base backup: nothing that branched off is followed
        own = [replace(one, bases=tuple(base for base in one.bases if base.timeline == one.timeline)) for one in newest]
        found = [one for one in own if one.bases]
    elif isinstance(wanted, str):
        found = newest
    else:
        found = [one for one in newest if one.timeline == wanted]
    if not found:
        there = ", ".join(str(number) for number in sorted({one.timeline for one in known.windows}))
        raise NotFoundError(f"{known.source} has no timeline {wanted}", safe=_SAFE, hint=f"it has {there}; {_WINDOWS}")
    return found


def _by_time(
    known: Known, windows: Sequence[RecoveryWindow], target: TargetMoment, moment: datetime, base: str
) -> Choice:
    for window in windows:
        chosen = window.base_at(moment) if not base else _base(window.bases, base)
        # the server must see a later commit: without one it cannot know that it has come to the moment
        if chosen is not None and chosen.stop_at <= moment < window.end_at:
            return _chosen(window, chosen, target, None)
    near = nearest_moments(windows, moment)
    said = " or ".join(_time(one) for one in near) or "none"
    at_end = any(moment >= window.end_at for window in windows if window is windows[0])
    raise InputError(
        f"{known.source} cannot be brought back as of {_time(moment)}: it lies in no recovery window",
        safe=_SAFE,
        hint=f"the nearest moments: {said}{'; `latest` brings back all that there is' if at_end else ''}. {_WINDOWS}",
    )


def _by_lsn(known: Known, windows: Sequence[RecoveryWindow], target: TargetMoment, lsn: Lsn, base: str) -> Choice:
    for window in windows:
        if window.begin_lsn <= lsn <= window.end_lsn:
            chosen = window.base_before(lsn) if not base else _base(window.bases, base)
            if chosen is not None and chosen.stop_lsn <= lsn:
                return _chosen(window, chosen, target, lsn)
    spans = "; ".join(f"{format_lsn(one.begin_lsn)} to {format_lsn(one.end_lsn)}" for one in windows)
    raise InputError(
        f"{known.source} cannot be brought back as of {format_lsn(lsn)}: it lies in no recovery window",
        safe=_SAFE,
        hint=f"what can be: {spans}. {_WINDOWS}",
    )


def _by_xid(known: Known, windows: Sequence[RecoveryWindow], target: TargetMoment, xid: int, base: str) -> Choice:
    """Choose by what is known of a transaction; of most only that it began after some base backup."""
    event = next((one for one in known.events if one.xid == xid), None)
    if event is not None:
        return _by_lsn(known, windows, target, event.commit_lsn, base)
    began = dict(known.next_xids)
    for window in windows:
        able = [one for one in window.bases if began.get(one.snapshot_id, xid + 1) <= xid]
        chosen = _base(able or window.bases, base) if able or base else None
        if chosen is not None:
            return _chosen(window, chosen, target, None)
    raise InputError(
        f"transaction {xid} of {known.source} began before every base backup that there is",
        safe=_SAFE,
        hint=f"name its time or position; {_WINDOWS}",
    )


def _point(known: Known, name: str) -> Lsn:
    found = [point for point in known.points if point.name == name]
    if not found:
        names = ", ".join(sorted({repr(point.name) for point in known.points})[:10]) or "none"
        raise NotFoundError(
            f"{known.source} has no restore point named {name!r}", safe=_SAFE, hint=f"known are: {names}"
        )
    return max(found, key=lambda point: point.at).lsn


def _base(bases: Sequence[BaseBackup], wanted: str) -> BaseBackup:
    if not wanted:
        return bases[-1]
    found = [one for one in bases if one.snapshot_id.startswith(wanted) or str(one.backup_id or "").startswith(wanted)]
    if len(found) != 1:
        raise NotFoundError(
            f"{len(found)} base backups of this window begin with {wanted!r}", safe=_SAFE, hint=f"{_WINDOWS}"
        )
    return found[0]


def _chosen(window: RecoveryWindow, base: BaseBackup, target: TargetMoment, expected: Lsn | None) -> Choice:
    return Choice(base, window, target.on_timeline(window.timeline), expected)


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC).isoformat(timespec='milliseconds')}"
