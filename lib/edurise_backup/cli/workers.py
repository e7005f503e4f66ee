"""`edurise-backup worker …`: the hosts that share the work, and whether each of them lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import printable, table

if TYPE_CHECKING:
    from edurise_backup.operations.workers import WorkerState

app = typer.Typer(no_args_is_help=True, help="Hosts that work for a pool (docs/operations/several-machines.md).")


@command(app, Product, "list")
def list_hosts(product: Product) -> int:
    """Show every host with a worker: whether it lives, what it reads; exit status 1 when none of them lives."""
    from edurise_backup.operations import open_catalog
    from edurise_backup.operations.workers import list_workers

    with open_catalog(product.settings()) as catalog:
        states = list_workers(catalog)
    product.output.result(states, _text(states) or "no worker was ever started: one machine does everything")
    return 1 if states and not any(state.lives for state in states) else 0


@command(app, Product)
def remove(product: Product, host: Annotated[str, typer.Argument(help="The host, as `worker list` names it.")]) -> None:
    """Forget a host that is gone for good: what only it could read is not expected in a full backup any more."""
    from edurise_backup.operations import open_catalog
    from edurise_backup.operations.people import local_actor
    from edurise_backup.operations.workers import remove_worker

    with open_catalog(product.settings()) as catalog:
        remove_worker(catalog, local_actor(), host)
    product.output.result({"removed": host}, f"the host {printable(host)} is forgotten")


def _text(states: tuple[WorkerState, ...]) -> str:
    head = ["Host", "Worker", "Pool", "At once", "Last sign (UTC)", "Clock", "Release", "Reads"]
    rows = [
        [
            state.worker.host,
            "lives" if state.lives else "stopped" if state.worker.left_at else "SILENT",
            state.worker.pool,
            str(state.worker.slots),
            f"{state.worker.seen_at:%Y-%m-%d %H:%M:%S}",
            f"{state.worker.clock_offset_seconds:+.1f} s",
            state.worker.version,
            ", ".join(state.worker.sources) or "no source",
        ]
        for state in states
    ]
    return table(head, rows) if rows else ""
