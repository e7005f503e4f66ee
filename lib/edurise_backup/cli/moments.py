"""`edurise-backup window | explain-time`: which moments can be brought back, and what happened around one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import printable, size

if TYPE_CHECKING:
    from edurise_backup.model.recovery_window import RecoveryWindow
    from edurise_backup.model.wal_status import WalEvent
    from edurise_backup.operations.point_in_time.explaining import Explained
    from edurise_backup.operations.point_in_time.windows import ClusterWindows

Source = Annotated[str, typer.Option("--source", "-s", help="The cluster; not needed where there is one.")]


def add_commands(app: typer.Typer) -> None:
    """Put the commands on the top level."""
    command(app, Product)(window)
    command(app, Product, name="explain-time")(explain_time)


def window(
    product: Product,
    source: Source = "",
    repository: Annotated[
        bool, typer.Option("--repository", help="Ask the repository alone, as when the catalog is lost.")
    ] = False,
    from_store: Annotated[
        str, typer.Option("--from", metavar="NAME", help="Ask a copy what it alone could bring back.")
    ] = "",
) -> int:
    """Show which moments of each cluster can be brought back, measured; exit status 1 when there are none."""
    from edurise_backup.operations.point_in_time.windows import recovery_windows, windows_by_repository

    settings = product.settings()
    if repository or from_store:
        found = windows_by_repository(source, store=from_store, settings=settings)
    else:
        found = recovery_windows(source, settings=settings)
    text = "\n".join(line for one in found for line in window_lines(one))
    product.output.result({"clusters": found}, text or "no cluster is configured")
    return 0 if any(one.windows for one in found) else 1


def explain_time(
    product: Product,
    moment: Annotated[str, typer.Argument(help="A time with its zone: 2026-11-28T14:03:07+01:00.")],
    source: Source = "",
) -> int:
    """Say whether a moment can be brought back, from what, and what happened around it; exit status 1: it cannot."""
    from edurise_backup.model.recovery_target import parse_time
    from edurise_backup.operations.point_in_time.explaining import explain_time as explained

    found = explained(source, parse_time(moment), settings=product.settings())
    product.output.result(found, "\n".join(explained_lines(found)))
    return 0 if found.window else 1


def window_lines(found: ClusterWindows) -> list[str]:
    """Describe a cluster's windows for a person."""
    if not found.windows:
        return [f"{found.source}: no moment can be brought back: there is no base backup (`backup cluster`)"]
    lines = [f"{found.source}:"]
    for one in found.windows:
        lines += _window_lines(one)
    if found.status is None:
        lines.append("  its log is not received (`wal receive`): only the ends of base backups can be brought back")
    return lines


def _window_lines(one: RecoveryWindow) -> list[str]:
    from edurise_backup.model.wal import format_lsn

    gap = f"; the segment at {format_lsn(one.broken_at)} is missing" if one.broken_at is not None else ""
    return [
        f"  timeline {one.timeline}: from {_time(one.begin_at)} to {_time(one.end_at)}"
        f" ({format_lsn(one.begin_lsn)} to {format_lsn(one.end_lsn)}){gap}",
        f"    base backups: {', '.join(_time(base.stop_at) for base in one.bases)}",
    ]


def explained_lines(found: Explained) -> list[str]:
    """Describe a moment for a person."""
    lines = [f"{found.source} at {_time(found.moment)}:"]
    if found.window is None or found.base is None:
        near = " or ".join(_time(moment) for moment in found.nearest) or "none"
        lines.append(f"  cannot be brought back; the nearest moments that can: {near}")
    else:
        last = f"; last commit before it {_time(found.last_commit_before)}" if found.last_commit_before else ""
        lines.append(
            f"  can be brought back, on timeline {found.window.timeline}: the base backup of "
            f"{_time(found.base.stop_at)} and {size(found.replay_bytes)} of log{last}"
        )
    return [*lines, *(event_line(event) for event in found.events)]


def event_line(event: WalEvent) -> str:
    """Describe a deed: when, by which transaction, and where."""
    return (
        f"  {event.at:%H:%M:%S.%f}"[:-3] + f" xid {event.xid}: {printable(event.said)} in {printable(event.database)}"
    )


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
