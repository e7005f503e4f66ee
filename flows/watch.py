"""Watch, whether Prefect runs or not; end its zombie runs while it does: `python -m flows.watch`.

The watch itself is the library's (`edurise-backup watch` is the same without
Prefect). Beside it, and only here: a run that Prefect takes for running though
its job has ended (its process was killed with its runner) is set to Crashed,
whoever ended the job; Prefect's schedules are made what the rows say, and a row
that a person changes gets there within seconds. And when everything answers for
the first time, that is said.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import httpx

from edurise_backup.catalog.flow_runs import over_runs
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.catalog.signs import write_sign
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import BackupError, NotFoundError
from edurise_backup.monitoring.logs import log_json_where_asked
from edurise_backup.monitoring.redaction import REDACTOR
from edurise_backup.operations import Catalog
from edurise_backup.operations.secrets import credential_path, prefect_credential
from edurise_backup.operations.watching import Watch
from flows.local import SERVER_SECONDS, served
from flows.prefect_api import PrefectApi
from flows.processes import LOOPBACK, wait_until
from flows.schedules import reconcile
from flows.turns import has_turn

EVERY_SECONDS = 30.0
SERVICE = "watch"
PREFECT = "prefect"
"""The name under which a Prefect server that answers is noted: one that falls silent is an alarm."""
LOOK_SECONDS = 2.0


def main() -> int:
    """Watch until a signal ends the process; what Prefect does is no condition for it."""
    settings = load_settings()
    log_json_where_asked(os.environ)
    dashboard = f"http://{LOOPBACK}:{os.environ['EDURISE_DASHBOARD_PORT']}"
    threading.Thread(target=announce, args=(settings, dashboard), name="announce", daemon=True).start()
    watch = Watch(settings)
    with PrefectApi(settings.prefect_api_url, prefect_credential(settings)) as api:
        while True:
            look_once(watch, api)
            until_changed(watch, seconds=EVERY_SECONDS)


def look_once(watch: Watch, api: PrefectApi) -> None:
    """Do one round of the watch, then look after Prefect; a fault is told and tried again next time."""
    found = watch.round()
    if isinstance(found, BackupError):
        say("\n".join(found.lines()))
        return
    for line in found.lines:
        say(line)
    try:
        if api.healthy() and has_turn(watch.catalog(), SERVICE):
            look_after_prefect(watch.catalog(), api, datetime.now(UTC))
    except BackupError as error:
        say("\n".join(error.lines()))


def look_after_prefect(catalog: Catalog, api: PrefectApi, now: datetime) -> None:
    """Note that Prefect answers, end its zombies, put its schedules right; raises UnreachableError and its kin.

    Who does this has the turn (`flows.turns`): of several machines one looks after Prefect.
    """
    write_sign(catalog.sessions, PREFECT, now)
    for run_id in end_zombies(api, catalog.sessions, now):
        say(f"the flow run {run_id} had nothing left to do and is marked as crashed")
    done = reconcile(catalog, api, now)
    for sentence in (*done.drifts, *done.changes, *done.faults):
        say(f"schedule {sentence}")


def until_changed(watch: Watch, *, seconds: float) -> None:
    """Wait until somebody changed a schedule, or the time is over: a change reaches Prefect within moments."""
    deadline = time.monotonic() + seconds
    with suppress(BackupError):
        before = watch.catalog().schedules.changed_at()
        while time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            if watch.catalog().schedules.changed_at() != before:
                return
    time.sleep(max(0.0, deadline - time.monotonic()))


def end_zombies(api: PrefectApi, sessions: Sessions, now: datetime) -> tuple[UUID, ...]:
    """Set runs to Crashed that Prefect takes for running though their jobs have ended; return them."""
    reasons = {run.id: run.error or "its job has ended, and its process is gone" for run in over_runs(sessions, now)}
    lingering = api.active_among(reasons)
    for run_id in lingering:
        end_run(api, run_id, reasons[run_id])
    return lingering


def end_run(api: PrefectApi, run_id: UUID | None, reason: str) -> None:
    """Let a run that nobody works on count as Crashed; raises UnreachableError."""
    if run_id is None:
        return
    with suppress(NotFoundError):  # of another server, or deleted there
        if not api.run(run_id).ended:
            api.set_state(run_id, "CRASHED", message=reason, force=True)


def announce(settings: Settings, dashboard: str) -> None:
    """Say when everything answers, or what does not."""
    with PrefectApi(settings.prefect_api_url, prefect_credential(settings)) as api:
        try:
            wait_until(api.healthy, "the Prefect server", seconds=SERVER_SECONDS)
            wait_until(lambda: served(api), "the flow runner", seconds=SERVER_SECONDS)
            wait_until(lambda: dashboard_answers(dashboard), "the dashboard", seconds=SERVER_SECONDS)
        except BackupError as error:
            say("\n".join((*error.lines(), "The watch goes on without it; read the output of that service above.")))
            return
    say(announcement(settings, dashboard))


def announcement(settings: Settings, dashboard: str) -> str:
    """Return the lines that a person waits for."""
    return "\n".join(
        (
            "EduRise Backup is up.",
            f"  dashboard      {dashboard}",
            f"  Prefect        {settings.prefect_api_url.removesuffix('/api')}",
            f"                 (it asks for {settings.prefect_auth or credential_path(settings.data_directory)})",
            f"  configuration  {settings.path}",
            f"  data           {settings.data_directory}",
            "Ctrl-C stops everything; the next `make up` goes on from here.",
        )
    )


def dashboard_answers(address: str) -> bool:
    """Tell whether the dashboard's server is ready for a browser."""
    try:
        return httpx.get(f"{address}/_stcore/health", timeout=5.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def say(text: str) -> None:
    """Write to the supervisor's log."""
    print(REDACTOR.clean(text), flush=True)  # noqa: T201 - this is what the program is for


if __name__ == "__main__":
    sys.exit(main())
