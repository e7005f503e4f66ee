"""Replay the log up to the target: follow it, notice how it ends, and say why when it ends otherwise.

The server's own log is the witness of where it stopped (`access/transam/xlogrecovery.c`).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg

from edurise_backup.errors import (
    BackupError,
    ConfigError,
    DamageError,
    InputError,
    NotFoundError,
    ToolError,
    UnreachableError,
    UnsupportedVersionError,
)
from edurise_backup.model.cluster import RAISED_SETTINGS
from edurise_backup.model.recovery_target import TargetMoment, parse_time
from edurise_backup.model.wal import Lsn, Timeline, format_lsn, parse_lsn
from edurise_backup.ports import Progress
from edurise_backup.postgres.connection import connect
from edurise_backup.postgres.session import fetch
from edurise_backup.recovery.cluster.feeding import Feeder
from edurise_backup.recovery.cluster.sandbox import Sandbox
from edurise_backup.recovery.cluster.target import Route

_LOOK_EVERY = 0.05
"""Seconds between looks at the server."""
_MOST_RAISES = 8
_SILENCE = 60.0
"""Seconds."""
_SAFE = "the backup and the archive; the restored directory is incomplete and cannot be started"
_TOO_LOW = re.compile(r"(\w+) = \d+ is a lower setting than on the primary(?: server)?, where its value was (\d+)")
_STOPPING = re.compile(
    r"recovery stopping (?P<how>before|after|at) (?:"
    r"(?:commit|abort) of transaction (?P<xid>\d+)(?:, time (?P<time>.+))?"
    r'|WAL location \(LSN\) "(?P<lsn>[0-9A-F]+/[0-9A-F]+)"'
    r'|restore point "(?P<name>.*)", time (?P<named>.+)'
    r"|reaching consistency)"
)
_IN_RECOVERY = """
    SELECT pg_catalog.pg_last_wal_replay_lsn()::text, pg_catalog.pg_last_xact_replay_timestamp(),
           pg_catalog.pg_get_wal_replay_pause_state() = 'paused'"""
_PROMOTED = """
    SELECT pg_catalog.pg_last_wal_replay_lsn()::text, pg_catalog.pg_last_xact_replay_timestamp(),
           pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn())"""


@dataclass(frozen=True, slots=True)
class StopLine:
    """Where the server says that it stopped; what a line does not tell is None."""

    text: str
    how: Literal["before", "after", "at"]
    xid: int | None = None
    time: datetime | None = None
    lsn: Lsn | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """How far the log was replayed."""

    timeline: Timeline
    """Of the last position that was replayed."""
    new_timeline: Timeline | None
    """What the server began when it was promoted; None while it is paused."""
    last_lsn: Lsn
    last_commit: datetime | None
    """None when no transaction ended after the base backup."""
    stop: StopLine | None
    """None when it went to the end of the log."""
    raised: Mapping[str, int]


def parse_stop(log: str) -> StopLine | None:
    """Return the last line of a log that says where the recovery stopped."""
    found = list(_STOPPING.finditer(log))
    if not found:
        return None
    match = found[-1]
    moment = match["time"] or match["named"]
    how: Literal["before", "after", "at"] = match["how"]  # type: ignore[assignment]
    return StopLine(
        match[0].strip(),
        how,
        xid=int(match["xid"]) if match["xid"] else None,
        time=parse_time(moment) if moment else None,
        lsn=parse_lsn(match["lsn"]) if match["lsn"] else None,
        name=match["name"],
    )


def replay(
    sandbox: Sandbox,
    feeder: Feeder,
    route: Route,
    target: TargetMoment,
    *,
    progress: Progress,
    expected: Lsn | None = None,
) -> Replayed:
    """Start the prepared server and return when it is promoted, or paused at the target.

    `expected`: where the target is believed to lie, for the progress. After an error
    or a cancellation the caller ends the feeder and the server. Raises InputError,
    NotFoundError, DamageError, ToolError and what the feeder met.
    """
    return _Watch(sandbox, feeder, route, target, progress, expected).run()


class _Watch:
    def __init__(
        self,
        sandbox: Sandbox,
        feeder: Feeder,
        route: Route,
        target: TargetMoment,
        progress: Progress,
        expected: Lsn | None,
    ) -> None:
        self._sandbox = sandbox
        self._feeder = feeder
        self._route = route
        self._target = target
        self._progress = progress
        self._goal = target.lsn or expected or route.end
        self._done: Lsn = route.start
        self._heard = 0.0
        self._unexplained = False
        self._pause = threading.Event()

    def run(self) -> Replayed:
        self._progress.phase(f"replay to {self._target}", bytes_total=max(0, self._goal - self._route.start))
        for _ in range(_MOST_RAISES):
            replayed = self._attempt()
            if replayed is not None:
                return replayed
        raise ToolError(
            f"the server asked {_MOST_RAISES} times for higher settings: {self._sandbox.raised}",
            safe=_SAFE,
            hint="look into its log",
        )

    def _attempt(self) -> Replayed | None:
        """Start the server and wait; None when it needs higher settings, which are known then."""
        try:
            self._sandbox.launch()
        except ToolError as error:
            if self._raise_settings():
                return None
            raise self._failure() from error
        self._heard = 0.0
        self._unexplained = False
        while True:
            self._progress.raise_if_cancelled()
            postmaster = self._sandbox.postmaster()
            if (postmaster is None or self._unexplained) and self._raise_settings():
                self._sandbox.stop()
                return None
            if postmaster is None:
                raise self._failure()
            self._advance(self._feeder.position)
            replayed = self._look() if postmaster.ready else None
            if replayed is not None:
                return replayed
            self._pause.wait(_LOOK_EVERY)

    def _look(self) -> Replayed | None:
        """Ask the server, which answers in recovery, too; None while it goes on."""
        try:
            with closing(connect(self._sandbox.address, autocommit=True)) as connection:
                promoted = fetch(connection, "SELECT NOT pg_catalog.pg_is_in_recovery()") == [(True,)]
                ((lsn, commit, state),) = fetch(connection, _PROMOTED if promoted else _IN_RECOVERY)
        except (UnreachableError, psycopg.Error, ToolError) as error:
            self._refuse_silence(error)  # it changes its state, or ends: the next look tells
            return None
        self._heard = time.monotonic()
        last = parse_lsn(str(lsn)) if lsn is not None else self._route.start
        self._advance(last)
        if not promoted and not state:
            return None
        stop = parse_stop(self._sandbox.log())
        if not promoted and stop is None and not self._unexplained:
            self._unexplained = True  # what it pauses for may be settings that are too low: the log says so by then
            return None
        assert commit is None or isinstance(commit, datetime)
        new = Timeline(int(str(state)[:8], 16)) if promoted else None
        timeline = self._route.timeline_at(max(0, last - 1))
        return Replayed(timeline, new, last, commit, stop, dict(self._sandbox.raised))

    def _refuse_silence(self, error: Exception) -> None:
        """Raise ToolError when a server that says that it is ready does not answer for long."""
        self._heard = self._heard or time.monotonic()
        if time.monotonic() - self._heard > _SILENCE:
            raise ToolError(
                f"the recovering server does not answer: {error}", safe=_SAFE, hint="its log says more"
            ) from error

    def _advance(self, position: int) -> None:
        position = min(position, self._goal)
        if position > self._done:
            self._progress.advance(bytes_done=position - self._done)
            self._done = Lsn(position)

    def _raise_settings(self) -> bool:
        """Take over what the log says that the cluster had later; whether there was anything new."""
        found = {name: int(value) for name, value in _TOO_LOW.findall(self._sandbox.log()) if name in RAISED_SETTINGS}
        higher = {name: value for name, value in found.items() if value > self._sandbox.raised.get(name, 0)}
        self._sandbox.raised.update(higher)
        return bool(higher)

    def _failure(self) -> BackupError:
        """Return why the server ended, in our words."""
        if isinstance(self._feeder.error, BackupError):
            return self._feeder.error
        if self._feeder.error is not None:
            return ToolError(f"the log could not be brought: {self._feeder.error}", safe=_SAFE)
        return explain(self._sandbox.log(), self._route, self._target)


def explain(log: str, route: Route, target: TargetMoment) -> BackupError:
    """Return the error that the log of a server means which ended before the target; pure."""
    said = _last_words(log)
    if "ended before configured recovery target was reached" in log:
        return _not_reached(route, target)
    if "before consistent recovery point" in log:
        return InputError(
            f"{target} lies before the end of the base backup",
            safe=_SAFE,
            hint="choose an older base backup; the first possible target of this one is `immediate`",
        )
    if "is not a child of this server's history" in log:
        return InputError(
            f"the timeline {route.timeline} does not come from the base backup's",
            safe=_SAFE,
            hint="choose another timeline or an older base backup",
        )
    if "WAL ends before" in log:
        return DamageError(f"the log ends before the base backup does: {said}", safe=_SAFE, hint="choose another one")
    if "incompatible with server" in log:
        return UnsupportedVersionError(f"these server programs cannot use the base backup: {said}", safe=_SAFE)
    if re.search(r"could not (?:load|access|open) .*(?:library|file \")", log) and ".so" in log:
        return ConfigError(
            f"the server needs a library that this machine does not have: {said}",
            safe=_SAFE,
            hint="install the extension's package for this version of PostgreSQL",
        )
    return ToolError(f"the server ended while it recovered: {said}", safe=_SAFE, hint="its log says more")


def _not_reached(route: Route, target: TargetMoment) -> BackupError:
    end = format_lsn(route.end)
    if route.missing:
        return DamageError(
            f"{target} was not reached: the segment {route.missing} is missing",
            safe=_SAFE,
            hint="look for the segment on the server or its standby, or choose an earlier target",
        )
    return NotFoundError(
        f"{target} was not reached: the archive ends before it, at or before {end} of the timeline {route.timeline}",
        safe=_SAFE,
        hint="choose an earlier target, `latest`, or another timeline; a time needs a later commit in the archive",
    )


def _last_words(log: str, count: int = 6) -> str:
    serious = [line for line in log.splitlines() if re.search(r"(?:FATAL|PANIC|ERROR|DETAIL|HINT):", line)]
    lines = serious or log.strip().splitlines()
    return " | ".join(line.strip() for line in lines[-count:]) or "it said nothing"
