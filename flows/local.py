"""A Prefect server of one's own, with the flows served beside it, for as long as a `with` block lasts.

The demonstration and the tests run their backups, verifications and recoveries
through it; `make up` sets its server up with the same environment.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from edurise_backup.errors import BackupError, ToolError
from flows.credentials import LocalApi, for_client, for_server, local_api, local_credential
from flows.prefect_api import FlowRun, PrefectApi
from flows.processes import LOOPBACK, free_port, make_private, running, wait_until

SERVER_SECONDS = 120.0
"""A new server makes its database first: 13 to 17 s on two idle cores."""
PICKUP_SECONDS = 120.0
"""A served flow's run is taken within seconds; one that waits longer has no runner."""
DEPLOYMENT_NAMES = (
    "backup/edurise",
    "verify/edurise",
    "recover/edurise",
    "recover-to/edurise",
    "check/edurise",
    "prune/edurise",
    "scheduled/edurise",
    "retain/edurise",
    "report/edurise",
    "anchor/edurise",
    "copy/edurise",
    "store/edurise",
)
"""Written out, because importing the flows costs seconds; a test holds it to `deployments`."""


@dataclass(frozen=True, slots=True)
class FlowRunResult:
    """How a run ended."""

    id: UUID
    name: str
    state: str
    """COMPLETED, FAILED, CRASHED or CANCELLED."""
    message: str

    @property
    def completed(self) -> bool:
        """Whether the run did what it was asked."""
        return self.state == "COMPLETED"


def prefect_environment(home: Path, port: int, settings_path: Path | None) -> dict[str, str]:
    """Return the environment of a loopback server with its state in `home`, and of what talks to it.

    Prefect's own variables of the caller are left out: a profile that points
    elsewhere must not take part. The credential is not in it (`flows.credentials`).
    Pages of other origins may not ask this server anything; a token against forged
    requests would add nothing, because no browser sends the credential by itself.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {
        "PREFECT_HOME": str(home.absolute()),
        "PREFECT_API_URL": f"http://{LOOPBACK}:{port}/api",
        "PREFECT_SERVER_API_HOST": LOOPBACK,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{LOOPBACK}:{port},http://localhost:{port}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "10",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PYTHONUNBUFFERED": "1",
    }
    if settings_path is not None:
        environment["EDURISE_CONFIG"] = str(settings_path.absolute())
    return environment


def server_command() -> list[str]:
    """Return the command that runs the server; where it listens is in the environment."""
    return [sys.executable, "-m", "prefect", "server", "start"]


def serve_command() -> list[str]:
    """Return the command that serves the flows to the server that the environment names."""
    return [sys.executable, "-m", "flows.serve"]


@contextmanager
def local_prefect(home: Path, settings_path: Path | None) -> Iterator[LocalApi]:
    """Run a server with its state in `home` and serve the flows; yields the API's address, with its credential.

    The runs read their settings from `settings_path`. Output goes to
    `home/server.log` and `home/flows.log`. Raises ToolError, naming the log,
    when it does not come up. At the end runs under way are cancelled first.
    The thread that enters the block must live until it is left: the server ends with it.
    """
    make_private(home)
    environment = prefect_environment(home, free_port(), settings_path)
    credential = local_credential(home, settings_path)
    for_flows = for_client(environment, credential)
    server_log, flows_log = home / "server.log", home / "flows.log"
    api_url = local_api(environment["PREFECT_API_URL"], credential)
    with (
        running(
            server_command(), environment=for_server(environment, credential), log_path=server_log, stop_seconds=10
        ) as server,
        running(serve_command(), environment=for_flows, log_path=flows_log, stop_seconds=25) as runner,
        PrefectApi(api_url) as api,
    ):
        with _naming(server_log):
            wait_until(api.healthy, "the Prefect server", seconds=SERVER_SECONDS, process=server)
        with _naming(flows_log):
            wait_until(lambda: served(api), "the flow runner", seconds=SERVER_SECONDS, process=runner)
        yield api_url


def served(api: PrefectApi) -> bool:
    """Tell whether every deployment is registered with the server."""
    try:
        return all(api.deployment_id(name) for name in DEPLOYMENT_NAMES)
    except BackupError:
        return False


def run_deployment(
    api_url: str,
    name: str,
    parameters: Mapping[str, object],
    *,
    idempotency_key: str,
    on_state: Callable[[FlowRun], None] | None = None,
) -> FlowRunResult:
    """Start the deployment (`backup/edurise`, …) and follow the run to its end.

    The same key never starts a second run. `on_state` hears each new state.
    Raises UnreachableError, NotFoundError or InputError, and ToolError when
    nobody takes the run; a run that fails is a result, not an error.
    """
    with PrefectApi(api_url) as api:
        run = api.create_run(name, parameters, idempotency_key=idempotency_key)
        seen = ""
        deadline = time.monotonic() + PICKUP_SECONDS
        while True:
            if run.state != seen and on_state is not None:
                on_state(run)
            seen = run.state
            if run.ended:
                return FlowRunResult(run.id, run.name, run.state_type, run.message)
            if run.state_type == "SCHEDULED" and time.monotonic() > deadline:
                raise ToolError(
                    f"nobody took the flow run {run.id} in {PICKUP_SECONDS:.0f} s: the flow runner has ended or hangs",
                    safe="nothing was changed",
                    hint="read the runner's log, flows.log beside Prefect's state",
                )
            time.sleep(0.25)
            run = api.run(run.id)


@contextmanager
def _naming(log_path: Path) -> Iterator[None]:
    try:
        yield
    except ToolError as error:
        raise ToolError(error.message, safe="nothing was backed up or changed", hint=f"read {log_path}") from error
