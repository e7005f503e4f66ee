"""A browser for tests, as far as the dashboard's server can tell: cookies, redirects, the web socket and its clicks."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from flows.processes import LOOPBACK, running, wait_until

APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
PATIENCE = 60.0


@contextmanager
def dashboard(port: int, settings_path: Path, log_path: Path, options: Sequence[str] = ()) -> Iterator[None]:
    """Run the dashboard's server as `make up` does."""
    command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.address", LOOPBACK]
    command += ["--server.port", str(port), "--server.headless", "true", "--browser.gatherUsageStats", "false"]
    command += ["--server.fileWatcherType", "none", *options]
    places = [str(APP.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "EDURISE_CONFIG": str(settings_path), "PYTHONPATH": os.pathsep.join(places)}
    with running(command, environment=environment, log_path=log_path, stop_seconds=10) as server:
        wait_until(lambda: _answers(port), "the dashboard", seconds=PATIENCE, process=server)
        yield


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/_stcore/health", trust_env=False).is_success
    except httpx.HTTPError:
        return False


@dataclass
class Shown:
    """What the server sent for one run of a page."""

    texts: list[str] = field(default_factory=list)
    buttons: dict[str, str] = field(default_factory=dict)
    """The number of each button, by what it says."""
    redirect: str = ""
    """Where the browser is sent to, to sign in or out."""
    missing: bool = False
    """Whether it says that there is no such page."""

    @property
    def text(self) -> str:
        """Titles, paragraphs and messages, a line each."""
        return "\n".join(filter(None, self.texts))

    def take(self, message: ForwardMsg) -> None:
        """Note one message of the server."""
        element = message.delta.new_element
        self.texts += [element.heading.body, element.markdown.body, element.alert.body, element.exception.message]
        if element.button.id:
            self.buttons[element.button.label] = element.button.id
        if message.WhichOneof("type") == "page_not_found":
            self.missing = True
        if message.WhichOneof("type") == "auth_redirect":
            self.redirect = message.auth_redirect.url


@dataclass
class Browser:
    """One person's browser: what it was given to keep goes with everything that it asks for."""

    port: int
    host: str = LOOPBACK
    headers: Mapping[str, str] = field(default_factory=dict)
    own_page: bool = True
    """Whether the dashboard's own page connects: cookies go with everybody's requests, the token in them does not."""
    client: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False))

    @property
    def origin(self) -> str:
        """The address of the dashboard as this browser knows it."""
        return f"http://{self.host}:{self.port}"

    def open(self, page: str = "", *clicks: str) -> Shown:
        """Open a page, then press the buttons of these words one after the other; return what is shown at the end."""
        # as the page's own script does first: it gives the token that proves the socket to come from that page
        self.client.get(f"http://{LOOPBACK}:{self.port}/_stcore/health").raise_for_status()
        return asyncio.run(self._open(page, clicks))

    def follow(self, path: str) -> str:
        """Go where the server sends the browser, from address to address; return the last one."""
        address, ended = f"{self.origin}{path}" if path.startswith("/") else path, False
        while not ended:
            answer = self.client.get(address)
            ended = not answer.has_redirect_location
            address = address if ended else str(httpx.URL(address).join(answer.headers["location"]))
        return address

    async def _open(self, page: str, clicks: Sequence[str]) -> Shown:
        kept = {cookie.name: cookie.value or "" for cookie in self.client.cookies.jar}
        cookies = "; ".join(f"{name}={value}" for name, value in kept.items())
        protocols = ["streamlit", *([kept["_streamlit_xsrf"]] if self.own_page else [])]
        async with connect(
            f"ws://{self.host}:{self.port}/_stcore/stream",
            host=LOOPBACK,
            port=self.port,
            origin=Origin(self.origin),
            subprotocols=[Subprotocol(name) for name in protocols],
            additional_headers={**self.headers, **({"Cookie": cookies} if cookies else {})},
            max_size=None,
            proxy=None,
        ) as socket:
            shown = await _run(socket, page, "")
            for words in clicks:
                shown = await _run(socket, page, shown.buttons[words])
            return shown


async def _run(socket: ClientConnection, page: str, pressed: str) -> Shown:
    asked = BackMsg()
    asked.rerun_script.page_name = page
    if pressed:
        asked.rerun_script.widget_states.widgets.add(id=pressed, trigger_value=True)
    await socket.send(asked.SerializeToString())
    shown = Shown()
    while True:
        message = ForwardMsg()
        message.ParseFromString(bytes(await asyncio.wait_for(socket.recv(decode=False), PATIENCE)))
        shown.take(message)
        if message.WhichOneof("type") == "script_finished" or shown.redirect:
            return shown
