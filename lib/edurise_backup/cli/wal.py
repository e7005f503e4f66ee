"""`edurise-backup wal …`: receive clusters' logs, and say how that stands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import printable, size
from edurise_backup.cli.watching import until_asked

if TYPE_CHECKING:
    from edurise_backup.model.wal_status import WalStatus

app = typer.Typer(help="The write-ahead logs of clusters: receive them, see how they stand.", no_args_is_help=True)
Sources = Annotated[list[str] | None, typer.Argument(help="Clusters by name; all that are configured otherwise.")]


@command(app, Product)
def receive(
    product: Product,
    sources: Sources = None,
    once: Annotated[bool, typer.Option("--once", help="Only ship what waits in the spool, and end.")] = False,
    stay: Annotated[bool, typer.Option("--stay", help="Wait for a signal where no log is received here.")] = False,
) -> int:
    """Receive the logs of clusters and bring them into the repository, until a signal comes.

    What the server wrote is in the repository within [cluster.wal] ship_seconds. It needs no Prefect.
    """
    from edurise_backup.operations.wal.service import receive as receive_until
    from edurise_backup.operations.wal.service import received_here, ship_once

    settings = product.settings()
    if once:
        done = ship_once(settings, sources or ())
        product.output.result(done, "\n".join(f"{name}: {count} files shipped" for name, count in done.items()))
        return 0

    def say(text: str) -> None:
        product.output.result({"said": text}, printable(text), even_quiet=printable(text))

    with until_asked() as asked:
        if stay and not received_here(settings):
            asked.wait()
            return 0
        receive_until(settings, sources or (), asked, say=say)
    return 0


@command(app, Product)
def status(product: Product) -> int:
    """Say for each cluster how far its log is in the repository; exit status 1 when something is in its way."""
    from edurise_backup.operations.wal.status import read_status

    settings = product.settings()
    found, now = read_status(settings), datetime.now(UTC)
    wanted = {one.name for one in settings.clusters if one.wal.method != "off"}
    lines = [line for one in found for line in status_lines(one, now)]
    lines += [
        f"{one.source} is not received any more: no [[cluster]] asks for it"
        for one in found
        if one.source not in wanted
    ]
    product.output.result({"receptions": found}, "\n".join(lines) or "no log of a cluster was ever received")
    return 1 if any(one.source in wanted and (one.trouble or one.state == "stopped") for one in found) else 0


@command(app, Product, name="archive-command")
def archive_command(
    product: Product,
    source: Annotated[str, typer.Argument(help="The cluster; not needed where there is one.")] = "",
) -> int:
    """Print the lines for postgresql.conf with which the server hands its log over, and what else it needs."""
    from edurise_backup.operations.wal.handing import describe_command

    found = describe_command(product.settings(), source)
    text = "\n".join([found.line, *(f"# {printable(hint)}" for hint in found.hints)])
    product.output.result(found, text, even_quiet=found.line)
    return 0


@command(app, Product, name="map")
def map_log(product: Product, source: Annotated[str, typer.Argument(help="A cluster; all otherwise.")] = "") -> int:
    """Read what the catalog does not know of the logs in the repository, as after `rebuild-catalog`."""
    from edurise_backup.operations.wal.remapping import map_logs

    with product.output.progress() as progress:
        done = map_logs(source, settings=product.settings(), progress=progress)
    lines = [f"{one.source}: {one.read} segments read, {one.known} were known" for one in done]
    product.output.result({"logs": done}, "\n".join([*lines, *(bad for one in done for bad in one.unreadable)]))
    return 3 if any(one.unreadable for one in done) else 0


def status_lines(one: WalStatus, now: datetime) -> list[str]:
    """Describe a reception for a person."""
    from edurise_backup.model.wal import format_lsn
    from edurise_backup.model.words import span

    shipped = format_lsn(one.shipped_lsn) if one.shipped_lsn else "nothing yet"
    commit = f"{one.last_commit_at:%Y-%m-%d %H:%M:%S} UTC" if one.last_commit_at else "none yet"
    return [
        f"{one.source}: {one.state.value} on {one.host}, cluster {one.system_identifier}, timeline {one.timeline}",
        f"  in the repository up to {shipped}, latest commit {commit}; {size(one.lag_bytes)} behind the server",
        f"  exposure: {span(one.exposure(now))} would be lost if the server burned now",
        f"  spool {size(one.spool_bytes)}; {_way(one)}",
        *([f"  {one.quarantined} files were put aside: they are no whole segments"] if one.quarantined else []),
        *([f"  {one.conflicts} segments came with other bytes than before"] if one.conflicts else []),
        *([f"  trouble since {one.trouble_since:%H:%M:%S}: {printable(one.trouble)}"] if one.trouble else []),
        *([f"  To do: {printable(one.hint)}"] if one.hint else []),
    ]


def _way(one: WalStatus) -> str:
    """Say on which way the log comes, and whether the server holds it for us."""
    if not one.slot:
        return "handed over by the server's archive_command"
    left = f", {size(one.slot_safe_bytes)} until it is in danger" if one.slot_safe_bytes is not None else ""
    return f"slot {one.slot} {one.slot_status or 'not seen yet'}{left}"
