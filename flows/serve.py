"""Serve the flows from this machine: `python -m flows.serve`.

Prefect's runner, told to end, kills the runs under way before they can write
their job rows. So the runner is a child of a small process that, told to end,
first cancels those runs through the server, waits for them, and then ends the
runner. Scheduled runs stay with the server and are taken up at the next start.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping
from uuid import UUID

from edurise_backup.config import load_settings
from edurise_backup.errors import BackupError
from edurise_backup.operations.secrets import PREFECT_AUTH, known, prefect_credential
from flows.credentials import for_client
from flows.deploy import refuse_pool
from flows.prefect_api import PrefectApi
from flows.processes import children, variable_of
from flows.services import CLIENTS_LOCK, FLOWS_LOCK, SERVICES_LOCK, keep, lock_folder
from flows.telling import tell

LIMIT = 2
"""Runs at the same time on this machine; more would share the same cores."""
POLL_SECONDS = 2
DRAIN_SECONDS = 12.0
"""How long runs that were cancelled may take to end their job rows."""


def main(arguments: list[str]) -> int:
    """Run the runner (`--runner`), or the process that stops it in order; returns the exit status."""
    if arguments == ["--runner"]:
        try:
            run_runner()
        except BackupError as error:
            return tell(error)
        return 0
    if "PREFECT_API_URL" not in os.environ:
        print("PREFECT_API_URL must say where the Prefect server is; `make up` starts one", file=sys.stderr)  # noqa: T201
        return 2
    try:
        # who starts us may give it, and then there may be no settings yet
        credential = None if PREFECT_AUTH in os.environ else prefect_credential(load_settings())
    except BackupError as error:
        return tell(error)
    return keep_runner(for_client(os.environ, credential))


def run_runner() -> None:
    """Register every deployment and take up their runs until a signal comes; raises ConflictError for a pool's."""
    from prefect import serve

    from flows.deployments import DEPLOYMENTS, registered

    with PrefectApi(os.environ["PREFECT_API_URL"]) as api:
        refuse_pool(api)

    # Prefect's runner works in /tmp/runner_storage, which belongs to the first user of the machine who ran one
    scratch = lock_folder(os.environ) / "runner"
    scratch.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(scratch)
    serve(
        *(registered(deployment) for deployment in DEPLOYMENTS),
        pause_on_shutdown=False,  # the default pauses every schedule at each restart
        limit=LIMIT,
        query_seconds=POLL_SECONDS,
        print_starting_message=False,
    )


def keep_runner(environment: Mapping[str, str]) -> int:
    """Start the runner once the server answers; on SIGTERM or SIGINT end the runs, then the runner."""
    auth = environment.get(PREFECT_AUTH)
    with PrefectApi(environment["PREFECT_API_URL"], known(auth) if auth else None) as api:
        return keep(
            [sys.executable, "-m", "flows.serve", "--runner"],
            environment=environment,
            locks=(SERVICES_LOCK, CLIENTS_LOCK, FLOWS_LOCK),
            ready=api.healthy,
            before_stop=lambda pid: end_runs(api, pid),
        )


def end_runs(api: PrefectApi, runner_pid: int) -> None:
    """Cancel the runs that are children of the runner; wait until they, and their states, have ended."""
    runs = runs_of(runner_pid)
    deadline = time.monotonic() + DRAIN_SECONDS
    try:
        for run_id in runs:
            api.set_state(run_id, "CANCELLING", message="the service was stopped")
        # the runner writes the last state, after the process has gone
        while time.monotonic() < deadline and not all(api.run(run_id).ended for run_id in runs):
            time.sleep(0.2)
    except BackupError:  # the server is gone: ending the runner ends the processes all the same
        return


def runs_of(runner_pid: int) -> list[UUID]:
    """Return the flow runs whose processes are children of this runner, and of no other."""
    ids = (variable_of(pid, "PREFECT__FLOW_RUN_ID") for pid in children(runner_pid))
    return [UUID(text) for text in ids if text]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
