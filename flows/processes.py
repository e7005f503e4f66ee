"""Start child processes that cannot outlive their parent, wait until they answer, and stop them.

A child gets a session of its own, so that a terminal's Ctrl-C reaches only the
process that decides in which order things stop.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from edurise_backup.errors import ConflictError, ToolError

LOOPBACK = "127.0.0.1"
_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl  # looked up before the fork: afterwards only simple calls are safe


def start(
    command: Sequence[str], *, environment: Mapping[str, str], log: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start the command; it gets SIGTERM when the thread that calls this ends, or its process is killed.

    So call it from a thread that lives as long as the child is wanted.
    Its output goes to `log`, or where this process's own output goes.
    """
    return subprocess.Popen(
        list(command),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT if log else None,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )


def stop(process: subprocess.Popen[bytes], *, seconds: float) -> None:
    """Ask the process to end; after `seconds`, kill it and what it started."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # whatever is left of its session
    process.wait()


@contextmanager
def running(
    command: Sequence[str], *, environment: Mapping[str, str], log_path: Path, stop_seconds: float
) -> Iterator[subprocess.Popen[bytes]]:
    """Keep the command running inside the `with` block; its output is appended to `log_path`."""
    with log_path.open("ab") as log:
        process = start(command, environment=environment, log=log)
        try:
            yield process
        finally:
            stop(process, seconds=stop_seconds)


def wait_until(
    true: Callable[[], bool], what: str, *, seconds: float, process: subprocess.Popen[bytes] | None = None
) -> None:
    """Poll until `true()`; raises ToolError when the process ends first or the time is over."""
    deadline = time.monotonic() + seconds
    while not true():
        if process is not None and process.poll() is not None:
            raise ToolError(f"{what} ended with status {process.returncode} before it answered")
        if time.monotonic() > deadline:
            raise ToolError(f"{what} did not answer within {seconds:.0f} s")
        time.sleep(0.2)


def make_private(folder: Path) -> None:
    """Make a folder that only its owner enters: what Prefect writes below it is readable by others otherwise."""
    for place in (folder.parent, folder):  # `parents` makes what is missing above with the umask's mode
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def require_free(port: int, *, what: str, variable: str) -> None:
    """Raise ConflictError when something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: TIME_WAIT is no obstacle
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise ConflictError(
                f"port {port}, meant for {what}, is in use: {error.strerror}",
                safe="nothing was started",
                hint=f"stop what uses it (`make up` may be running already), or set {variable} to another port",
            ) from error


def children(pid: int) -> list[int]:
    """Return the process ids of the direct children; none when the process is gone."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def variable_of(pid: int, name: str) -> str | None:
    """Return one environment variable of another process of the same user, or None."""
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = name.encode() + b"="
    return next((pair.removeprefix(prefix).decode() for pair in pairs if pair.startswith(prefix)), None)


def _end_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
