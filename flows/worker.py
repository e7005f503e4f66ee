"""Work for a pool from this host: `python -m flows.worker --pool NAME`.

A small process keeps Prefect's own worker as its child. The child takes runs
from the pool's default queue, and from the queue with this host's name: what
only this host can read. The parent says in the catalog that the host lives and
what it can read; of all parents one looks after Prefect's schedules and dead
runs (`flows.turns`). Told to end, it cancels the runs under way first, so that
their job rows are written; what waits stays with the server for the others.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from edurise_backup.catalog.workers import Announcement
from edurise_backup.config import Settings, is_name, load_settings
from edurise_backup.errors import BackupError, ConfigError, ConflictError
from edurise_backup.monitoring.logs import log_json_where_asked
from edurise_backup.monitoring.redaction import REDACTOR
from edurise_backup.operations import Catalog
from edurise_backup.operations.secrets import prefect_credential
from edurise_backup.operations.watching import Watch
from edurise_backup.operations.workers import begin_worker, end_worker, give_sign, list_workers, refuse_one_machine
from flows.credentials import for_client
from flows.deploy import POOL
from flows.local import DEPLOYMENT_NAMES
from flows.prefect_api import PrefectApi
from flows.processes import make_private
from flows.schedules import DEFAULT_QUEUE
from flows.serve import LIMIT, POLL_SECONDS, end_runs
from flows.services import CLIENTS_LOCK, FLOWS_LOCK, SERVICES_LOCK, keep
from flows.telling import tell
from flows.turns import give_up, has_turn, whose
from flows.watch import EVERY_SECONDS, LOOK_SECONDS, look_after_prefect, say

SERVICE = "worker"
SIGN_SECONDS = 10.0
"""Far less than `model.workers.STILL_LIVES`."""


def main(arguments: Sequence[str]) -> int:
    """Work until a signal comes; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m flows.worker", description="Run a work pool's flows on this host.")
    parser.add_argument("--pool", default=POOL, help=f"the pool's name ({POOL})")
    parser.add_argument("--limit", type=int, default=LIMIT, help=f"how many runs at once ({LIMIT})")
    asked = parser.parse_args(arguments)
    if asked.limit < 1:
        parser.error("--limit must be at least 1")
    log_json_where_asked(os.environ)
    try:
        settings = load_settings()
        return work(settings, asked.pool, asked.limit)
    except BackupError as error:
        return tell(error)


def work(settings: Settings, pool: str, limit: int) -> int:
    """Announce the host, keep Prefect's worker until a signal comes, say that it ended; returns the exit status."""
    refuse_one_machine(settings)
    if not is_name(settings.host) or settings.host == DEFAULT_QUEUE:
        raise ConfigError(
            f"host is {settings.host!r}, which names no queue",
            safe="nothing was started",
            hint="set `host` to letters, digits, dots, dashes and underscores, another on each machine",
        )
    watch = Watch(settings)
    try:
        said = begin_worker(watch.catalog(), settings, uuid4(), pool=pool, slots=limit)
        with PrefectApi(settings.prefect_api_url, prefect_credential(settings)) as api:
            upkeep = Upkeep(watch, api, said)
            upkeep.start()
            try:
                return keep(
                    worker_command(settings.host, pool, limit),
                    environment=worker_environment(settings),
                    locks=(SERVICES_LOCK, CLIENTS_LOCK, FLOWS_LOCK),
                    ready=lambda: api.healthy() and prepared(api, pool, settings.host),
                    before_stop=lambda pid: end_runs(api, pid),
                )
            finally:
                upkeep.end()
    finally:
        watch.close()


def worker_command(host: str, pool: str, limit: int) -> list[str]:
    """Return the command of Prefect's worker: it takes what anybody can do, and what only this host can."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool", pool, "--name", host]
    return [*command, "--limit", str(limit), "--work-queue", DEFAULT_QUEUE, "--work-queue", host]


def worker_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of Prefect's worker, which its runs get, too; the API's credential is in it."""
    home = settings.data_directory / "prefect"
    make_private(home)
    scratch = home / "runner"
    scratch.mkdir(mode=0o700, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": settings.prefect_api_url,
        "PREFECT_WORKER_QUERY_SECONDS": str(POLL_SECONDS),
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(scratch),  # each run works in a folder of its own below it
    }
    if settings.path is not None:
        environment["EDURISE_CONFIG"] = str(Path(settings.path).absolute())
    return for_client(environment, prefect_credential(settings))


def prepared(api: PrefectApi, pool: str, host: str) -> bool:
    """Return True once the host's queue is there; raises ConflictError when the deployments are not the pool's."""
    for name in DEPLOYMENT_NAMES:
        there = api.deployment(name)
        if there is None or there.pool != pool:
            whose = "is not registered" if there is None else f"belongs to {there.pool or 'a runner of one machine'}"
            raise ConflictError(
                f"{name} {whose} at {api.url}: the pool {pool} would get none of its runs",
                safe="nothing was started",
                hint=f"register the deployments of this release: python -m flows.deploy --pool {pool}",
            )
    api.keep_queue(pool, host)
    return True


class Upkeep:
    """What goes on beside the worker, in a thread: signs of life; and, when it is its turn, the watch over everything.

    A catalog that does not answer is told and tried again: runs under way have a patience of their own.
    """

    def __init__(self, watch: Watch, api: PrefectApi, said: Announcement) -> None:
        self._watch = watch
        self._api = api
        self._said = said
        self._ended = threading.Event()
        self._stranger: str | None = None
        self._changed: tuple[int, datetime | None] | None = None
        self._signed = self._looked = -SIGN_SECONDS - EVERY_SECONDS
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Stop, and tell the others that this host is away: in order, so somebody else has its turn at once."""
        self._ended.set()
        self._thread.join()
        with suppress(BackupError):  # then they find out by its silence
            catalog = self._watch.catalog()
            give_up(catalog, SERVICE)
            end_worker(catalog, self._said)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self.look(time.monotonic())
            except BackupError as error:
                say("\n".join(error.lines()))
                self._watch.close()  # what is wrong with it may be gone once it is opened again
            except Exception as error:  # noqa: BLE001  else this host took runs on, and nobody heard of it any more
                say(f"the upkeep of this worker failed: {REDACTOR.clean(repr(error))}; it goes on")
                self._watch.close()
            self._ended.wait(LOOK_SECONDS)

    def look(self, now: float) -> None:
        """Do what is due."""
        catalog = self._watch.catalog()
        if now - self._signed >= SIGN_SECONDS:
            self._sign(catalog)
            self._signed = now
        changed = catalog.schedules.changed_at()
        if now - self._looked >= EVERY_SECONDS or changed != self._changed:
            self._looked, self._changed = now, changed
            if has_turn(catalog, SERVICE):
                self._look_after(catalog)
            else:
                self._tell_of_stranger(catalog)

    def _tell_of_stranger(self, catalog: Catalog) -> None:
        """Say once when the schedules are kept by a host that is no worker: those go to another Prefect server."""
        keeper = whose(catalog)
        known = {state.worker.host for state in list_workers(catalog)}
        if keeper is not None and keeper not in known and keeper != self._stranger:
            say(f"schedules are kept by {keeper}, which has no worker: stop `make up` there, or they run on it alone")
        self._stranger = keeper

    def _sign(self, catalog: Catalog) -> None:
        try:
            give_sign(catalog, self._said)
        except ConflictError as error:  # two of one name would take each other's runs
            say("\n".join(error.lines()))
            os.kill(os.getpid(), signal.SIGTERM)
            self._ended.set()

    def _look_after(self, catalog: Catalog) -> None:
        found = self._watch.round()
        if isinstance(found, BackupError):
            raise found
        for line in found.lines:
            say(line)
        if self._api.healthy():
            look_after_prefect(catalog, self._api, datetime.now(UTC))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
