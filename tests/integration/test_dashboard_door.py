"""The dashboard's real server, spoken to by its web socket as an attacker would, without a browser."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import connect
from websockets.typing import Origin, Subprotocol

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.model.people import Role
from edurise_backup.postgres.connection import Address
from flows.processes import LOOPBACK, free_port, running, wait_until
from tests.support.people import add_person
from tests.support.product import configure

APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"


@pytest.fixture
def settings_path(tmp_path: Path, empty_database: Address) -> Path:
    return configure(tmp_path, empty_database)


@pytest.fixture
def port(settings_path: Path, tmp_path: Path) -> Iterator[int]:
    """Run the server as `make up` does, and yield its port."""
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.address", LOOPBACK]
    command += ["--server.port", str(port), "--server.headless", "true", "--browser.gatherUsageStats", "false"]
    command += ["--server.fileWatcherType", "none"]
    places = [str(APP.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "EDURISE_CONFIG": str(settings_path), "PYTHONPATH": os.pathsep.join(places)}
    with running(command, environment=environment, log_path=tmp_path / "log", stop_seconds=10) as server:
        wait_until(lambda: answers(port), "the dashboard", seconds=60, process=server)
        yield port


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/_stcore/health", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def visit(port: int, host: str, headers: Mapping[str, str] | None = None, *, page: str = "") -> str:
    """Ask for a page, and return the titles and warnings that the server sends."""

    async def talk() -> str:
        async with connect(
            f"ws://{host}:{port}/_stcore/stream",
            host=LOOPBACK,
            port=port,
            origin=Origin(f"http://{host}:{port}"),
            subprotocols=[Subprotocol("streamlit")],
            additional_headers=dict(headers or {}),
            max_size=None,
            proxy=None,
        ) as socket:
            asked = BackMsg()
            asked.rerun_script.page_name = page
            await socket.send(asked.SerializeToString())
            said = []
            while True:
                message = ForwardMsg()
                message.ParseFromString(bytes(await asyncio.wait_for(socket.recv(decode=False), 60)))
                element = message.delta.new_element
                said += [element.heading.body, element.alert.body, element.exception.message]
                if message.WhichOneof("type") == "script_finished":
                    return "\n".join(filter(None, said))

    return asyncio.run(talk())


def test_without_an_account_this_machine_is_let_in_and_nobody_else_and_then_nobody_without_a_name(
    port: int, settings_path: Path
) -> None:
    here = visit(port, "localhost")
    assert "There is no account yet" in here
    assert "Overview" in here
    for host, headers in (("rebound.example", {}), ("localhost", {"X-Forwarded-For": "192.0.2.7"})):
        told = visit(port, host, headers)
        assert "nobody is let in" in told
        assert "Overview" not in told
    with operations.open_catalog(load_settings(settings_path)) as catalog:
        add_person(catalog, "alice", Role.ADMIN)
    for page in ("", "administration", "repository"):
        assert visit(port, "localhost", page=page) == "EduRise Backup"
