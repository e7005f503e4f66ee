"""A proxy between a store and a real S3 server: it delays, cuts, refuses and truncates as planned.

Like `FaultyStore`, it fails a test whose planned faults never struck.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self

from flows.processes import LOOPBACK
from tests.support.s3_servers import S3Server

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server has answered."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def with_body(self, body: bytes) -> Answer:
        """Return the answer with another body, as if that was all."""
        return replace(self, body=body)


Cut = Literal["", "before", "after", "halfway", "hang"]


@dataclass(slots=True)
class WireFault:
    """What goes wrong with requests of a method (`PUT|DELETE`: of either) whose path, with its query, contains `path`.

    `cut`: the connection is closed before the server hears of the request, after it has done it, or in
    the middle of its answer; or nobody answers at all. `status`: the proxy answers itself.
    `answer` changes what the server says. The requests `first` … `first + times - 1` are hit.
    """

    method: str
    path: str = ""
    unless: str = ""
    """Requests whose path contains this are spared."""
    cut: Cut = ""
    status: int = 0
    code: str = ""
    extra: str = ""
    """More of an error's XML."""
    headers: tuple[tuple[str, str], ...] = ()
    answer: Callable[[Answer], Answer] | None = None
    before: Callable[[], object] | None = None
    """What happens before the server hears of the request."""
    first: int = 0
    times: int = 1
    seen: int = 0
    fired: int = 0

    def strikes(self, method: str, path: str) -> bool:
        """Count the request; say whether it is one to hit."""
        if method not in self.method.split("|") or self.path not in path or (self.unless and self.unless in path):
            return False
        number = self.seen
        self.seen += 1
        if not self.first <= number < self.first + self.times:
            return False
        self.fired += 1
        return True


@dataclass(frozen=True, slots=True)
class Line:
    """A long way to the server: every request waits, and each connection carries so many bytes a second."""

    latency: float
    rate: float

    def seconds(self, size: int) -> float:
        """Return how long a body of this size is under way."""
        return size / self.rate


class _Listening(ThreadingHTTPServer):
    """Knows its connections, so that it can end them."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, object]:
        """Remember who comes."""
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address


@dataclass(slots=True)
class S3Proxy:
    """Runs while its block does; `server` is what a store talks to."""

    behind: S3Server
    faults: list[WireFault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    line: Line | None = None
    _ended: threading.Event = field(default_factory=threading.Event)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _listening: _Listening | None = None
    _port: int = 0

    @property
    def server(self) -> S3Server:
        """The server behind, at the proxy's address."""
        return replace(self.behind, port=self._port)

    def __enter__(self) -> Self:
        self.open()
        return self

    def open(self) -> None:
        """Listen; again on the same port, when it was closed."""
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._listening = _Listening((LOOPBACK, self._port), Handler)
        self._port = self._listening.server_address[1]
        threading.Thread(target=self._listening.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Listen no more, and end the connections that are open."""
        assert self._listening is not None
        self._listening.shutdown()
        self._listening.server_close()
        for connection in self._listening.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self.close()
        idle = [fault for fault in self.faults if not fault.fired]
        if error is None and idle:
            raise AssertionError(f"planned faults that never struck, so nothing was tested: {idle}")

    def struck(self, method: str, path: str) -> WireFault | None:
        """Return the fault for a request."""
        with self._guard:
            self.requests.append(f"{method} {path}")
            hit = [fault for fault in self.faults if fault.strikes(method, path)]
        return hit[0] if hit else None

    def wait(self, seconds: float | None) -> None:
        """Let time pass, at most until the block ends."""
        self._ended.wait(seconds)

    def travel(self, size: int, *, latency: bool = False) -> None:
        """Let the time pass that a body takes on the line."""
        if self.line is not None:
            self.wait(self.line.seconds(size) + (self.line.latency if latency else 0))

    def ask(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> Answer:
        """Ask the server behind; the Host header stays, because it is signed."""
        connection = http.client.HTTPConnection(LOOPBACK, self.behind.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                if name.lower() not in _HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, tuple(answer.getheaders()), answer.read())
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    owner: S3Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        """Say nothing."""

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.owner.travel(len(body), latency=True)
        fault = self.owner.struck(self.command, self.path)
        if fault is None:
            return self._send(self._ask(body))
        if fault.before is not None:
            fault.before()
        if fault.cut == "hang":
            self.owner.wait(None)
        if fault.cut in ("before", "hang"):
            return self._hang_up()
        if fault.status:
            return self._send(_refusal(fault, self.command))
        answer = self._ask(body)
        if fault.cut == "after":
            return self._hang_up()
        if fault.answer is not None:
            answer = fault.answer(answer)
        self._send(answer, half=fault.cut == "halfway")
        return None

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any  # noqa: N815  the base's names

    def _ask(self, body: bytes) -> Answer:
        return self.owner.ask(self.command, self.path, list(self.headers.items()), body)

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(2)

    def _send(self, answer: Answer, *, half: bool = False) -> None:
        self.owner.travel(len(answer.body))
        with suppress(OSError):
            self.send_response_only(answer.status)
            for name, value in answer.headers:
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(answer.body)))
            else:
                for name, value in answer.headers:
                    if name.lower() == "content-length":
                        self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: len(answer.body) // 2] if half else answer.body)
            self.wfile.flush()
        if half:
            self._hang_up()


def _refusal(fault: WireFault, method: str) -> Answer:
    body = f"<Error><Code>{fault.code}</Code><Message>planned</Message>{fault.extra}</Error>".encode()
    headers = (("Content-Type", "application/xml"), *fault.headers)
    return Answer(fault.status, headers, b"" if method == "HEAD" else body)
