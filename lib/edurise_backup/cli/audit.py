"""`edurise-backup audit …`: who did what, and the proof that the trail is whole."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import printable, table
from edurise_backup.errors import InputError

if TYPE_CHECKING:
    from edurise_backup.model.audit import AuditRow
    from edurise_backup.operations.audit import AuditReport

app = typer.Typer(no_args_is_help=True, help="Who did what, and whether the record of it is whole.")


@command(app, Product, "list")
def list_rows(
    product: Product,
    actor: Annotated[str, typer.Option(help="Only of people whose name holds this.")] = "",
    action: Annotated[str, typer.Option(help="Only actions that begin so: user, approval.use, backup, …")] = "",
    subject: Annotated[str, typer.Option(help="Only about what holds this: an id, a name.")] = "",
    outcome: Annotated[str, typer.Option(help="Only done, refused or failed.")] = "",
    since: Annotated[datetime | None, typer.Option(help="At or after this time (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Before this time (UTC).")] = None,
    before: Annotated[int | None, typer.Option(min=1, help="Only rows with a smaller number.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")] = 50,
) -> None:
    """Show the newest rows first."""
    from edurise_backup.model.audit import AuditFilters, Outcome
    from edurise_backup.operations.catalogs import open_catalog

    try:
        chosen = Outcome(outcome) if outcome else None
    except ValueError as error:
        raise InputError(f"there is no outcome {outcome!r}", hint="choose done, refused or failed") from error
    filters = AuditFilters(actor, action, subject, chosen, _utc(since), _utc(until))
    with open_catalog(product.settings()) as catalog:
        found = catalog.audit.newest(limit=limit, before=before, filters=filters)
    rows = [
        [str(row.seq), f"{row.at:%Y-%m-%d %H:%M:%S}", row.actor, row.via, row.action, row.outcome.value, row.subject]
        for row in found
    ]
    head = ["Row", "At (UTC)", "Who", "Through", "Action", "Outcome", "Subject"]
    shown = [list(map(printable, row)) for row in rows]
    product.output.result([as_json(row) for row in found], table(head, shown) if rows else "no row matches")


@command(app, Product)
def verify(
    product: Product,
    chain_only: Annotated[
        bool, typer.Option("--chain-only", help="Do not open the repository: no anchors, no snapshots.")
    ] = False,
) -> int:
    """Prove that no row was altered, removed, moved or cut off; exit status 1 names the first bad one."""
    from edurise_backup.operations.audit import verify_and_tell
    from edurise_backup.operations.catalogs import open_catalog
    from edurise_backup.operations.configured import opened_repository

    settings = product.settings()
    repository = None if chain_only else opened_repository(settings)
    with open_catalog(settings) as catalog:
        report = verify_and_tell(catalog, repository)
    bad = "\n".join(f"wrong: {printable(finding.message)}" for finding in report.findings)
    product.output.result(_report_json(report), report_text(report), even_quiet=bad)
    return 0 if report.intact else 1


@command(app, Product)
def anchor(product: Product) -> None:
    """Prove the trail, then seal its newest row into the repository; to be done every day."""
    from edurise_backup.operations.audit import anchor_audit

    done = anchor_audit(settings=product.settings())
    sealed = done.anchor
    text = f"anchored row {sealed.seq} ({sealed.hash[:16]}) as edurise/{sealed.name}\n{report_text(done.report)}"
    product.output.result(
        {"seq": sealed.seq, "hash": sealed.hash, "at": sealed.at, "name": f"edurise/{sealed.name}"}, text
    )


@command(app, Product)
def export(
    product: Product,
    to: Annotated[Path | None, typer.Option("--to", help="A new file; without it, standard output.")] = None,
) -> None:
    """Write all rows, one JSON object a line, the oldest first; what was hashed is in it."""
    from edurise_backup.operations.catalogs import open_catalog

    with open_catalog(product.settings()) as catalog:
        if to is None:
            for row in catalog.audit.rows():
                sys.stdout.write(json.dumps(as_json(row), ensure_ascii=True) + "\n")
            return
        count = _written(to, (json.dumps(as_json(row), ensure_ascii=True) for row in catalog.audit.rows()))
    product.output.result({"rows": count, "file": str(to)}, f"wrote {count} rows to {printable(str(to))}")


def _written(path: Path, lines: Iterable[str]) -> int:
    count = 0
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}", safe="nothing was changed", hint="name a new file"
        ) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            for line in lines:
                file.write(line + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):  # half a file looks like a short trail
            path.unlink()
        raise
    return count


def report_text(report: AuditReport) -> str:
    """Return what a look at the trail found, for a person."""
    lines = [f"{report.rows} rows, {'whole' if report.intact else 'NOT whole'}"]
    lines += [f"wrong: {finding.message}" for finding in report.findings]
    if report.anchored_at:
        lines.append(
            f"anchored up to row {report.anchored_to} ({report.anchors} anchors, the newest of "
            f"{report.anchored_at:%Y-%m-%d %H:%M:%S} UTC); {report.rows - report.anchored_to} rows since then"
        )
    else:
        lines.append("no anchor was compared: only the chain holds these rows")
    return "\n".join(map(printable, [*lines, *report.remarks]))


def _report_json(report: AuditReport) -> dict[str, object]:
    return {
        "intact": report.intact,
        "rows": report.rows,
        "head": report.head,
        "head_at": report.head_at,
        "anchors": report.anchors,
        "anchored_to": report.anchored_to,
        "anchored_at": report.anchored_at,
        "findings": [{"fault": one.fault.value, "row": one.seq, "message": one.message} for one in report.findings],
        "remarks": list(report.remarks),
    }


def as_json(row: AuditRow) -> dict[str, object]:
    """Return a row as one JSON object, its details within."""
    return {
        "seq": row.seq,
        "at": row.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": row.actor,
        "via": row.via,
        "action": row.action,
        "subject": row.subject,
        "outcome": row.outcome.value,
        "detail": json.loads(row.detail),
        "previous": row.previous,
        "hash": row.hash,
    }


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment else None
