"""Say when everything answers, then look after dead jobs and schedules: `python -m flows.watch`.

A job that was killed hard cannot write its own end. Every half minute such rows
are ended as failed, and their Prefect runs, which would count as running for
ever, as Crashed. Expected runs are judged, and Prefect's schedules made what
the rows say; a row that a person changes gets there within seconds.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import httpx

from edurise_backup import operations
from edurise_backup.catalog.records import JobKind, JobRecord
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import BackupError, NotFoundError
from edurise_backup.monitoring.redaction import REDACTOR
from edurise_backup.operations.secrets import credential_path, prefect_credential
from flows.local import SERVER_SECONDS, served
from flows.prefect_api import PrefectApi
from flows.processes import LOOPBACK, wait_until
from flows.schedules import reconcile

EVERY_SECONDS = 30.0
LOOK_SECONDS = 2.0


def main() -> int:
    """Announce the addresses, then watch until a signal ends the process."""
    settings = load_settings()
    dashboard = f"http://{LOOPBACK}:{os.environ['EDURISE_DASHBOARD_PORT']}"
    with PrefectApi(settings.prefect_api_url, prefect_credential(settings)) as api:
        wait_until(api.healthy, "the Prefect server", seconds=SERVER_SECONDS)
        wait_until(lambda: served(api), "the flow runner", seconds=SERVER_SECONDS)
        wait_until(lambda: dashboard_answers(dashboard), "the dashboard", seconds=SERVER_SECONDS)
        say(announcement(settings, dashboard))
        while True:
            look_after_the_dead(settings, api)
            look_after_schedules(settings, api)
            until_changed(settings, seconds=EVERY_SECONDS)


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


def look_after_the_dead(settings: Settings, api: PrefectApi) -> None:
    """End the rows of jobs whose process died, and their runs; a fault is told and tried again next time."""
    try:
        with operations.open_catalog(settings) as catalog:
            rows: dict[JobKind, Callable[[UUID], JobRecord]] = {
                JobKind.BACKUP: catalog.jobs.get,
                JobKind.VERIFICATION: catalog.verifications.get,
                JobKind.RECOVERY: catalog.recoveries.get,
                JobKind.MAINTENANCE: catalog.maintenance.get,
            }
            for dead in catalog.reconcile():
                say(f"{dead.kind} {dead.id} was found dead and is marked as failed: {dead.error}")
                end_run(api, rows[dead.kind](dead.id).flow_run_id, dead.error)
    except BackupError as error:
        say("\n".join(error.lines()))


def look_after_schedules(settings: Settings, api: PrefectApi) -> None:
    """Judge the expected runs, whether or not Prefect answers, then put Prefect's schedules right; a fault is told."""
    now = datetime.now(UTC)
    try:
        with operations.open_catalog(settings) as catalog:
            judged = operations.judge_runs(catalog, now)
            for sentence in (*judged.unreadable, *(alarm.message for alarm in judged.alarms)):
                say(f"schedule {sentence}")
            done = reconcile(catalog, api, now)
            for sentence in (*done.drifts, *done.changes, *done.faults):
                say(f"schedule {sentence}")
    except BackupError as error:
        say("\n".join(error.lines()))


def until_changed(settings: Settings, *, seconds: float) -> None:
    """Wait until somebody changed a schedule, or the time is over: a change reaches Prefect within moments."""
    deadline = time.monotonic() + seconds
    with suppress(BackupError), operations.open_catalog(settings) as catalog:
        before = catalog.schedules.changed_at()
        while time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            if catalog.schedules.changed_at() != before:
                return
    time.sleep(max(0.0, deadline - time.monotonic()))


def end_run(api: PrefectApi, run_id: UUID | None, reason: str) -> None:
    """Let a run that nobody works on count as Crashed; raises UnreachableError."""
    if run_id is None:
        return
    with suppress(NotFoundError):  # of another server, or deleted there
        if not api.run(run_id).ended:
            api.set_state(run_id, "CRASHED", message=reason, force=True)


def say(text: str) -> None:
    """Write to the supervisor's log."""
    print(REDACTOR.clean(text), flush=True)  # noqa: T201 - this is what the program is for


if __name__ == "__main__":
    sys.exit(main())
