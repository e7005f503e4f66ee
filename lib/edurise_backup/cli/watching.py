"""`edurise-backup watch | metrics`: services that need no Prefect, for systemd or `make up`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.errors import BackupError, InputError

if TYPE_CHECKING:
    from edurise_backup.operations.watching import Watched

LOOPBACK = "127.0.0.1:9464"


def add_commands(app: typer.Typer) -> None:
    """Put the commands on the top level."""
    command(app, Product)(watch)
    command(app, Product)(metrics)


def watch(
    product: Product,
    once: Annotated[bool, typer.Option("--once", help="One round, for cron.")] = False,
    every: Annotated[int, typer.Option(min=1, max=240, metavar="SECONDS", help="Time between two rounds.")] = 30,
) -> int:
    """End dead jobs, look what is wrong and tell people of it, until a signal comes.

    With --once, exit status 1 when a message was not taken by its target.
    """
    from edurise_backup.operations.watching import Watch, watch_once

    settings = product.settings()
    if once:
        done = watch_once(settings)
        product.output.result(done, _text(done) or "nothing new", even_quiet=_text(done))
        return 1 if done.delivered.failed else 0
    loop = Watch(settings)
    with until_asked() as asked:
        try:
            while not asked.is_set():
                found = loop.round()
                if isinstance(found, BackupError):
                    product.output.error(found)
                elif text := _text(found):
                    product.output.result(found, text, even_quiet=text)
                asked.wait(every)
        finally:
            loop.close()
    return 0


def metrics(
    product: Product,
    serve: Annotated[
        str, typer.Option(metavar="[HOST:]PORT", help=f"Answer Prometheus over HTTP, for instance at {LOOPBACK}.")
    ] = "",
) -> int:
    """Print all metrics in Prometheus's format, or serve them; exit status 1 when the catalog does not answer.

    They name sources and say how large they are: serve them on the loopback address, or behind a proxy with a password.
    """
    from edurise_backup.monitoring.metrics import metrics_served, metrics_text
    from edurise_backup.operations.metrics import MetricsReader

    address = host_and_port(serve) if serve else None
    reader = MetricsReader(product.settings())
    try:
        if address is None:
            samples = reader()
            product.output.result(samples, metrics_text(lambda: samples).rstrip("\n"))
            return 0 if samples[0].value else 1
        with until_asked() as asked, metrics_served(reader, *address) as port:
            host = address[0]
            product.output.result({"host": host, "port": port}, f"metrics are at http://{host}:{port}/metrics")
            asked.wait()
    finally:
        reader.close()
    return 0


def host_and_port(text: str) -> tuple[str, int]:
    """Return what `[HOST:]PORT` names, the loopback address without a host; raises InputError."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InputError(
            f"{text!r} is not an address to serve metrics at",
            safe="nothing was started",
            hint=f"write HOST:PORT, for instance {LOOPBACK}",
        )
    return host.strip("[]") or "127.0.0.1", int(port)


@contextmanager
def until_asked() -> Iterator[Event]:
    """Give an event that SIGTERM and SIGINT set."""
    asked = Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        asked.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _text(done: Watched) -> str:
    return "\n".join(done.lines)
