"""`edurise-backup copy run | status | list`: copies of the backups in further repositories."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import duration, printable, size, table
from edurise_backup.errors import BackupError, CancelledError

if TYPE_CHECKING:
    from edurise_backup.model.maintenance import MaintenanceJob
    from edurise_backup.operations.copy_status import CopyStatus

app = typer.Typer(no_args_is_help=True, help="Copies of the backups in further repositories (3-2-1).")

CopyName = Annotated[str, typer.Argument(metavar="[NAME]", help="One copy; none: all of them.")]


def run(product: Product, name: CopyName = "") -> int:
    """Copy what is new, the newest whole set first; exit status 3 with warnings, 1 when a copy failed.

    What is there already is not read again: a run that was interrupted goes on with the same command.
    """
    from edurise_backup.operations import copy_backups
    from edurise_backup.operations.copies import copy_names

    settings = product.settings()
    done: list[MaintenanceJob] = []
    failed: list[BackupError] = []
    with product.output.progress() as progress:
        for copy in copy_names(settings=settings, store=name):
            try:
                done.append(copy_backups(copy, settings=settings, progress=progress))
            except CancelledError:
                raise
            except BackupError as error:  # the other copies are no worse for it
                if name:
                    raise
                failed.append(error)
                product.output.error(error)
    warnings = [printable(warning) for job in done for warning in job.warnings]
    product.output.result(done, "\n".join(map(_job_text, done)), even_quiet="\n".join(warnings))
    return 1 if failed else 3 if warnings else 0


def status(product: Product, name: CopyName = "") -> int:
    """Show how the copies stand; exit status 1 when one is late, damaged or cannot be reached."""
    found = _statuses(product, name)
    product.output.result([_as_json(one) for one in found], "\n\n".join(map(_status_text, found)) or NONE)
    return 1 if any(one.late or one.damaged or one.row.trouble for one in found) else 0


def list_points(
    product: Product,
    name: CopyName = "",
    limit: Annotated[int, typer.Option(min=1, help="How many at most, of each copy.")] = 50,
) -> None:
    """List the restore points in the copies, the newest copies first."""
    found = _statuses(product, name)
    points = [point for one in found for point in one.points[:limit]]
    rows = [
        [
            point.store,
            str(point.backup_id)[:8],
            point.state.value,
            _time(point.copied_at),
            size(point.bytes) if point.bytes is not None else "",
            point.outcome.value if point.outcome else "",
            _time(point.verified_at),
        ]
        for point in points
    ]
    head = ["Copy", "Backup", "State", "Copied (UTC)", "Added", "Proof", "Proved (UTC)"]
    product.output.result(points, table(head, rows) if rows else "no restore point was copied yet")


command(app, Product)(run)
command(app, Product)(status)
command(app, Product, "list")(list_points)

NONE = "there is no copy: name one in [[copy]] of the configuration, or `edurise-backup store register`"


def _statuses(product: Product, name: str) -> list[CopyStatus]:
    from edurise_backup.operations import get_copies
    from edurise_backup.operations.copies import copy_names

    settings = product.settings()
    if name:
        copy_names(settings=settings, store=name)  # raises for one that is not there
    return [one for one in get_copies(settings=settings) if name in ("", one.name)]


def _as_json(found: CopyStatus) -> dict[str, object]:
    return {
        "name": found.name,
        "location": found.location,
        "lag_seconds": found.lag.total_seconds(),
        "objective_seconds": found.objective.total_seconds(),
        "late": found.late,
        "whole": sum(1 for point in found.points if point.state.value == "whole"),
        "damaged": [point.backup_id for point in found.damaged],
        "trouble": found.row.trouble,
        "unreachable_since": found.row.unreachable_since,
        "seen_at": found.row.seen_at,
        "bytes": found.row.bytes,
        "own_key": found.row.own_key,
        "own_place": found.row.own_place,
        "sources": [
            {"part": lag.part, "source": lag.source, "lag_seconds": lag.lag(found.as_of).total_seconds()}
            for lag in found.lags
        ],
        "last_copy": found.last_copy,
        "last_check": found.last_check,
        "last_verification": found.last_verification,
    }


def _status_text(found: CopyStatus) -> str:
    from edurise_backup.model.stores import CopyState

    behind = duration(found.lag.total_seconds()) if found.lag else "nothing"
    lines = [
        f"{found.name}: {printable(found.location)}",
        f"  behind by {behind}, {duration(found.objective.total_seconds())} are allowed"
        + (": LATE" if found.late else ""),
        f"  {found.count(CopyState.WHOLE)} restore points whole, {found.count(CopyState.PARTIAL)} in part, "
        f"{len(found.damaged)} damaged or gone" + (f", {size(found.row.bytes)}" if found.row.bytes is not None else ""),
        f"  last seen {_time(found.row.seen_at) or 'never'}; "
        f"passphrase of its own: {_said(found.row.own_key)}; place of its own: {_said(found.row.own_place)}",
    ]
    for word, job in (
        ("copied", found.last_copy),
        ("checked", found.last_check),
        ("verified", found.last_verification),
    ):
        if job is not None:
            outcome = job.verification_status or job.status
            lines.append(f"  last {word} {_time(job.completed_at)} UTC: {outcome.value.replace('_', ' ')}")
    if found.row.trouble:
        lines.append(f"  TROUBLE: {printable(found.row.trouble)}")
    return "\n".join(lines)


def _job_text(job: MaintenanceJob) -> str:
    copied = job.figures.copied if job.figures else None
    lines = [f"warning: {printable(warning)}" for warning in job.warnings]
    if copied is not None and job.figures is not None:
        lines.append(
            f"{job.store}: {len(copied.backups)} restore points copied, {copied.waiting} could not be; "
            f"{copied.blobs} blobs, {size(copied.stored_bytes)} stored; {job.figures.snapshots} snapshots there"
        )
    return "\n".join(lines)


def _said(found: bool | None) -> str:
    return "not known" if found is None else "yes" if found else "no"


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else ""
