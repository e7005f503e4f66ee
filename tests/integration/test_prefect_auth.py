"""Prefect's API asks who calls: nobody gets in without the credential, everything of ours does, `doctor` looks."""

from __future__ import annotations

import base64
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import UnreachableError
from edurise_backup.model.database import Secret
from edurise_backup.model.secrets import SecretPlace
from edurise_backup.operations.doctor import Finding, Level
from edurise_backup.operations.safekeeping import prefect_findings
from edurise_backup.operations.secrets import credential_path
from edurise_backup.postgres.server import Server
from flows.credentials import LocalApi
from flows.local import local_prefect, prefect_environment, run_deployment, server_command
from flows.prefect_api import PrefectApi
from flows.processes import LOOPBACK, children, free_port, running, variable_of, wait_until
from flows.services import service_environment
from flows.up import DASHBOARD_PORT, METRICS_PORT, PREFECT_PORT
from flows.up import service_environment as environment_of_up
from tests.support.postgres import drop_database, execute
from tests.support.product import configure

pytestmark = pytest.mark.slow
CATALOG = "prefect_auth_catalog"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what doctor must find

_CONNECT = """
import json, os, sys
from websockets.sync.client import connect
with connect(sys.argv[1], subprotocols=["prefect"]) as socket:
    socket.send(json.dumps({"type": "auth", "token": os.environ["TOKEN"]}))
    print(socket.recv(timeout=10))
"""


@pytest.fixture(scope="module")
def served(cluster: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalApi, Path]]:
    folder = tmp_path_factory.mktemp("auth")
    execute(cluster.address, f"CREATE DATABASE {CATALOG}")
    path = configure(folder, cluster.address.with_database(CATALOG))
    with local_prefect(folder / "prefect", path) as api:
        yield api, path
    drop_database(cluster.address, CATALOG)


def settings_of(path: Path, api_url: str) -> Settings:
    return load_settings(path, {"PREFECT_API_URL": api_url})


def the_one(settings: Settings) -> Finding:
    (finding,) = prefect_findings(settings)
    return finding


@pytest.mark.parametrize("path", ["/admin/version", "/admin/settings", "/deployments/filter", "/flow_runs/filter"])
def test_nobody_gets_in_without_the_credential(served: tuple[LocalApi, Path], path: str) -> None:
    api, _ = served
    method = "POST" if path.endswith("filter") else "GET"
    for headers in ({}, {"Authorization": "Basic " + base64.b64encode(b"edurise:guess").decode()}):
        assert httpx.request(method, f"{api}{path}", headers=headers, trust_env=False).status_code == 401
    with pytest.raises(UnreachableError, match="refuses our credential"), PrefectApi(str(api), Secret("a:b")) as other:
        other.deployment_id("backup/edurise")


def test_a_page_of_another_origin_may_not_ask(served: tuple[LocalApi, Path]) -> None:
    api, _ = served
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = httpx.options(f"{api}/deployments/filter", headers=headers, trust_env=False)
    assert answer.headers.get("access-control-allow-origin") not in ("*", "https://evil.example")


def asked_stream(api: LocalApi, token: str) -> subprocess.CompletedProcess[str]:
    """Ask for the server's events; the token goes over in the environment."""
    stream = str(api).replace("http://", "ws://") + "/events/out"
    return subprocess.run(
        [sys.executable, "-c", _CONNECT, stream],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "TOKEN": token},
    )


def test_the_event_stream_asks_as_well(served: tuple[LocalApi, Path]) -> None:
    api, _ = served
    refused = asked_stream(api, "edurise:guess")
    assert refused.returncode != 0
    assert "1008" in refused.stderr
    assert "auth_success" in asked_stream(api, api.auth.reveal()).stdout


def test_a_run_is_taken_and_nothing_of_ours_is_refused(served: tuple[LocalApi, Path]) -> None:
    api, path = served
    done = run_deployment(api, "backup/edurise", {"type": "files"}, idempotency_key="with credential")
    assert done.completed, done.message
    for log in ("server.log", "flows.log"):
        text = (path.parent / "prefect" / log).read_text()
        assert api.auth.reveal() not in text
        lines = [line for line in text.splitlines() if "author" not in line.lower()]
        for word in (r"(?<![\w.:-])401\b", "Unauthorized", "403 Forbidden", "auth"):  # moments and ids have digits, too
            assert [line for line in lines if re.search(word, line)] == []


def test_the_credential_is_kept_for_its_owner_and_shown_by_no_address(served: tuple[LocalApi, Path]) -> None:
    api, path = served
    file = credential_path(load_settings(path, {}).data_directory)
    assert file.read_text().strip() == api.auth.reveal()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert api.auth.reveal() not in f"{api} {api!r} {api.auth!r}"


def test_doctor_is_content_with_a_server_that_asks(served: tuple[LocalApi, Path]) -> None:
    api, path = served
    settings = settings_of(path, api)
    assert the_one(settings).level is Level.FINE
    wrong = replace(settings, prefect_auth=SecretPlace("prefect.auth", command=("echo", "edurise:guess")))
    assert the_one(wrong).level is Level.WARNING
    nothing = replace(settings, data_directory=path.parent / "nothing")
    assert "none is configured" in the_one(nothing).message


@pytest.mark.parametrize("host", [LOOPBACK, EVERYWHERE])
def test_doctor_fails_for_a_server_that_takes_runs_from_anybody(tmp_path: Path, host: str) -> None:
    (tmp_path / "edurise-backup.toml").write_text('data_directory = "data"\n')
    port = free_port()
    environment = prefect_environment(tmp_path, port, None) | {"PREFECT_SERVER_API_HOST": host}
    url = environment["PREFECT_API_URL"]
    with running(server_command(), environment=environment, log_path=tmp_path / "log", stop_seconds=10) as server:
        with PrefectApi(url) as api:
            wait_until(api.healthy, "the server", seconds=120, process=server)
        finding = the_one(settings_of(tmp_path / "edurise-backup.toml", url))
    assert finding.level is Level.FAULT
    assert "from anybody" in finding.message
    assert ("listens on 0.0.0.0" in finding.message) == (host == EVERYWHERE)
    assert "PREFECT_SERVER_API_AUTH_STRING" in finding.remedy


def test_a_server_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "edurise-backup.toml").write_text('data_directory = "data"\n')
    settings = settings_of(tmp_path / "edurise-backup.toml", f"http://{LOOPBACK}:{free_port()}/api")
    assert the_one(settings).level is Level.WARNING


def test_only_the_server_s_service_has_the_credential_in_its_environment(tmp_path: Path) -> None:
    (tmp_path / "edurise-backup.toml").write_text('data_directory = "data"\n')
    ports = {PREFECT_PORT: str(free_port()), DASHBOARD_PORT: str(free_port()), METRICS_PORT: str(free_port())}
    shared = environment_of_up(tmp_path, ports)
    credential = credential_path(tmp_path / "data").read_text().strip()
    assert credential not in "".join(shared.values())
    for service in ("catalog", "dashboard", "watch"):
        assert credential not in "".join(service_environment(service, shared).values())
    assert service_environment("prefect", shared)["PREFECT_SERVER_API_AUTH_STRING"] == credential


def test_the_processes_that_serve_have_it_in_their_environment_and_in_no_argument(
    served: tuple[LocalApi, Path],
) -> None:
    api, _ = served
    below = [os.getpid()]
    for pid in below:
        below += children(pid)
    having = [pid for pid in below if variable_of(pid, "PREFECT_API_AUTH_STRING") == api.auth.reveal()]
    assert having, "the runner gets it so"
    for pid in below:
        assert api.auth.reveal().encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
