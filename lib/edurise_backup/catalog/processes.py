"""Tell a process that still runs from one that has died, also when its number was given away again.

A process is known by its host, the machine's boot, its pid namespace, its
number and its start time (proc(5), field 22 of `stat`). Where one of these
differs, or /proc is missing, the number alone proves nothing. The host is the
one of the settings; two machines that were given the same name are told apart
by the machine's own id.
"""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_PROC = Path("/proc")
_MACHINE = Path("/etc/machine-id")


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
    machine_id: str | None = None


def this_process(host: str = "") -> Process:
    """Return the calling process; `host` is what the settings call this machine, if they do."""
    return process_on_this_host(os.getpid(), host)


def process_on_this_host(pid: int, host: str = "") -> Process:
    """Return the process that has the number `pid` now; without a start time when there is none."""
    state = _state_and_ticks(pid)
    ticks = state[1] if state else None
    return Process(host or socket.gethostname(), pid, _boot_id(), _pid_namespace(), ticks, _machine_id())


def life(process: Process, *, seen_from: Process) -> Life:
    """Say whether `process` runs, as far as the caller (`seen_from`, on this host) can know."""
    if process.host != seen_from.host:
        return Life.UNKNOWN
    if process.boot_id and seen_from.boot_id and process.boot_id != seen_from.boot_id:
        # the machine was started again since; or it is another one of the same name, which says nothing
        same = process.machine_id is not None and process.machine_id == seen_from.machine_id
        return Life.DEAD if same else Life.UNKNOWN
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


def _machine_id() -> str | None:
    """Return a digest of the machine's id, which itself is not to be shown (machine-id(5))."""
    try:
        text = _MACHINE.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return hashlib.sha256(f"edurise-backup {text}".encode()).hexdigest()[:32] if text else None


def _pid_namespace() -> int | None:
    try:
        return (_PROC / "self/ns/pid").stat().st_ino
    except OSError:
        return None
