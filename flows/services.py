"""Keep one service of `make up` running, and stop all of them in an order that loses nothing.

The supervisor tells every service at once to end, and kills whatever is left
five seconds after the first one has gone. The runs under way need longer than
that, and until they have ended they need the catalog and the Prefect server. So
a service, told to end, waits until the flows have stopped (the catalog: until
everybody else has), then ends its child, and goes only when every other child has
ended. File locks say who is there: a
process that dies lets go of them.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path
from threading import Event

from edurise_backup.config import load_settings
from edurise_backup.errors import BackupError
from edurise_backup.operations.secrets import make_prefect_credential
from flows.credentials import for_server
from flows.processes import LOOPBACK, start, stop, wait_until
from flows.telling import tell

FLOWS_LOCK = "flows.lock"
"""Held while flows may run."""
CLIENTS_LOCK = "clients.lock"
"""Held by every service that uses the catalog."""
SERVICES_LOCK = "services.lock"
"""Held by every service while its child lives."""
_STOP_SECONDS = 10.0
_BEFORE_SECONDS = 30.0
_OTHERS_SECONDS = 30.0


def keep(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    locks: Sequence[str] = (SERVICES_LOCK, CLIENTS_LOCK),
    ready: Callable[[], bool] = lambda: True,
    before_stop: Callable[[int], None] = lambda pid: None,
) -> int:
    """Start the command once `ready()`, keep it until a signal comes, end it; returns the exit status.

    `locks` are held while the child lives. `before_stop` is called with the child's process id before the child is told
    to end. A child that ends by itself makes this process end at once with a
    status other than 0, so that the supervisor stops the rest.
    """
    asked = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    home = lock_folder(environment)
    with ExitStack() as held:
        for name in locks:
            held.enter_context(present(home / name))
        wait_until(lambda: asked.is_set() or ready(), f"what {command[-1]} needs", seconds=180)
        if not asked.is_set():
            child = start(command, environment=environment)
            try:
                while child.poll() is None and not asked.wait(0.3):
                    pass
                if child.poll() is not None:
                    return child.returncode or 1
                before_stop(child.pid)
            finally:
                stop(child, seconds=_STOP_SECONDS)
    wait_until_nobody(home / SERVICES_LOCK, seconds=_OTHERS_SECONDS)
    return 0


def lock_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of the lock files: Prefect's, which the services share."""
    return Path(environment.get("PREFECT_HOME") or Path.home() / ".prefect")


@contextmanager
def present(path: Path) -> Iterator[None]:
    """Hold a shared lock on the file inside the `with` block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        flock(file, LOCK_SH)
        yield


def wait_until_nobody(path: Path, *, seconds: float) -> None:
    """Wait until no process holds the lock, or the time is over."""
    deadline = time.monotonic() + seconds
    with path.open("ab") as file:
        while time.monotonic() < deadline:
            try:
                flock(file, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                time.sleep(0.1)
            else:
                return


def commands(environment: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the command of each service but the flows, which `flows.serve` keeps."""
    dashboard = Path(__file__).resolve().parent.parent / "dashboard" / "app.py"
    return {
        "catalog": [sys.executable, "-m", "flows.catalog"],
        "prefect": [sys.executable, "-m", "prefect", "server", "start"],
        "dashboard": [
            *(sys.executable, "-m", "streamlit", "run", str(dashboard)),
            *("--server.address", LOOPBACK, "--server.port", environment["EDURISE_DASHBOARD_PORT"]),
            *("--server.headless", "true", "--browser.gatherUsageStats", "false"),
            *("--server.fileWatcherType", "none", "--client.toolbarMode", "minimal"),
        ],
        "watch": [sys.executable, "-m", "flows.watch"],
        "wal": [sys.executable, "-m", "edurise_backup", "wal", "receive", "--stay"],
        "metrics": [
            *(sys.executable, "-m", "edurise_backup", "metrics", "--quiet"),
            *("--serve", f"{LOOPBACK}:{environment['EDURISE_METRICS_PORT']}"),
        ],
    }


def service_environment(name: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a service: the credential of Prefect's API for its server alone; raises ConfigError.

    The flows get theirs from `flows.serve`; dashboard and watch read it from its file.
    """
    if name != "prefect":
        return dict(given)
    return for_server(given, make_prefect_credential(load_settings(environment=given)))


def main(name: str) -> int:
    """Keep the service of this name; returns the exit status."""
    try:
        environment = service_environment(name, os.environ)
    except BackupError as error:
        return tell(error)
    # flows first, then whoever uses the catalog, then the catalog
    is_catalog = name == "catalog"
    awaited = lock_folder(environment) / (CLIENTS_LOCK if is_catalog else FLOWS_LOCK)
    return keep(
        commands(environment)[name],
        environment=environment,
        locks=(SERVICES_LOCK,) if is_catalog else (SERVICES_LOCK, CLIENTS_LOCK),
        before_stop=lambda pid: wait_until_nobody(awaited, seconds=_BEFORE_SECONDS),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
