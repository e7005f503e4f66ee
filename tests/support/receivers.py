"""Real servers that take messages: one that speaks HTTP, one that speaks SMTP. What they got can be looked at."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(slots=True)
class Request:
    """What somebody sent over HTTP."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class HttpReceiver:
    """A running HTTP server; `status` and `location` are what it answers."""

    port: int = 0
    status: int = 200
    location: str = ""
    answer: bytes = b"{}"
    hang: bool = False
    """Take the request, and answer nothing until the server ends."""
    requests: list[Request] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """The address with a path."""
        return f"http://127.0.0.1:{self.port}/hook"


@contextmanager
def http_receiver() -> Iterator[HttpReceiver]:
    """Run a server on the loopback address inside the `with` block."""
    received = HttpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            received.requests.append(Request(self.path, dict(self.headers), body))
            if received.hang:
                received.over.wait(60)
                return
            self.send_response(received.status)
            if received.location:
                self.send_header("Location", received.location)
            self.send_header("Content-Length", str(len(received.answer)))
            self.end_headers()
            self.wfile.write(received.answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the parent's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    received.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield received
    finally:
        received.over.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass(slots=True)
class MailReceiver:
    """A running SMTP server."""

    port: int = 0
    refuse: bool = False
    """Answer every recipient with 550."""
    mails: list[str] = field(default_factory=list)


@contextmanager
def mail_receiver() -> Iterator[MailReceiver]:
    """Run a server on the loopback address inside the `with` block: RFC 5321 as far as a client needs it."""
    received = MailReceiver()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 receiver ESMTP")
            while line := self.rfile.readline():
                word = line.decode("utf-8", "replace").strip().upper()
                if word.startswith("QUIT"):
                    self._say("221 bye")
                    return
                if word == "DATA":
                    self._say("354 go on")
                    received.mails.append(self._message())
                    self._say("250 taken")
                elif word.startswith("RCPT") and received.refuse:
                    self._say("550 nobody here")
                else:
                    self._say("250 receiver" if word.startswith(("EHLO", "HELO")) else "250 fine")

        def _message(self) -> str:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line.removeprefix(b".").decode("utf-8", "replace"))
            return "".join(lines)

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    received.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
