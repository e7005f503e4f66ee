"""Tell a process that still runs from one that has died, also when its number was given away again.

A process is known by the machine's boot, its pid namespace, its number and its
start time (proc(5), field 22 of `stat`). Where one of these differs, or /proc
is missing, the number alone proves nothing.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_PROC = Path("/proc")


class Life(Enum):
    """What can be said about a process."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Process:
    """Who runs a job."""

    host: str
    pid: int
    boot_id: str | None = None
    pid_namespace: int | None = None
    ticks: int | None = None
    """Start time in clock ticks since boot."""


def this_process() -> Process:
    """Return the calling process."""
    return process_on_this_host(os.getpid())


def process_on_this_host(pid: int) -> Process:
    """Return the process that has the number `pid` now; without a start time when there is none."""
    state = _state_and_ticks(pid)
    return Process(socket.gethostname(), pid, _boot_id(), _pid_namespace(), state[1] if state else None)


def life(process: Process, *, seen_from: Process) -> Life:
    """Say whether `process` runs, as far as the caller (`seen_from`, on this host) can know."""
    if process.host != seen_from.host:
        return Life.UNKNOWN
    if process.boot_id and seen_from.boot_id and process.boot_id != seen_from.boot_id:
        return Life.DEAD  # the machine was started again since
    if process.boot_id is None or process.pid_namespace != seen_from.pid_namespace:
        return Life.UNKNOWN  # a container of the same name has numbers of its own
    state = _state_and_ticks(process.pid)
    if state is None or state[0] in "ZX":
        return Life.DEAD
    return Life.ALIVE if process.ticks in (None, state[1]) else Life.DEAD


def _state_and_ticks(pid: int) -> tuple[str, int] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name in parentheses may hold spaces and parentheses
    return fields[0], int(fields[19])


def _boot_id() -> str | None:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None


def _pid_namespace() -> int | None:
    try:
        return (_PROC / "self/ns/pid").stat().st_ino
    except OSError:
        return None
