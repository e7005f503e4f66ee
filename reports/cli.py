"""`edurise-backup report make | list | show | verify`.

The library does not know how reports look, so `edurise_backup.cli.plugged`
finds these commands by the name of this module, when the package is there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import printable, size, table

if TYPE_CHECKING:
    from pathlib import Path

    from edurise_backup.model.reports import Report

app = typer.Typer(no_args_is_help=True, help="Reports of a period: make, list, show, verify.")


@command(app, Product, "make")
def make(
    product: Product,
    period: Annotated[
        str, typer.Argument(help="2026-10-05, 2026-10, 2026-Q3, 2026, or FROM..TO; nothing: last month.")
    ] = "",
    source: Annotated[str, typer.Option(help="One source; nothing: all.")] = "",
    zone: Annotated[str, typer.Option(help="The time zone in which the period is meant, e.g. Asia/Kolkata.")] = "UTC",
) -> None:
    """Make a report, a PDF and CSV files, and keep it in the data directory."""
    from edurise_backup.operations.people import local_actor
    from reports import folder_of, make_report
    from reports.periods import last_month

    settings, now = product.settings(), datetime.now(UTC)
    asked = period or last_month(now, zone=zone)
    made = make_report(settings, asked, source, now=now, actor=local_actor(), zone=zone)
    product.output.result(made, report_text(made, folder_of(settings, made.id)))


@command(app, Product, "list")
def list_(
    product: Product,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, the newest first.")] = 20,
) -> None:
    """List the reports that were made."""
    from reports import list_reports

    found = list_reports(product.settings(), limit=limit)
    rows = [
        [
            str(one.id)[:8],
            one.period,
            one.source or "all",
            one.verdict.value,
            f"{one.made_at:%Y-%m-%d %H:%M}",
            one.made_by,
        ]
        for one in found
    ]
    shown = table(["Id", "Period", "Source", "Verdict", "Made (UTC)", "By"], rows)
    product.output.result(found, shown if found else "No report was made yet: `edurise-backup report make`.")


@command(app, Product, "show")
def show(product: Product, report: Annotated[str, typer.Argument(help="A report's id, or its beginning.")]) -> None:
    """Show a report's controls and files."""
    from reports import find_report, folder_of

    settings = product.settings()
    found = find_report(settings, report)
    product.output.result(found, report_text(found, folder_of(settings, found.id)))


@command(app, Product, "verify")
def verify(product: Product, report: Annotated[str, typer.Argument(help="A report's id, or its beginning.")]) -> int:
    """Read a report's files and compare them with what was written; exit status 1 when one differs."""
    from reports import find_report, verify_report

    settings = product.settings()
    found = find_report(settings, report)
    wrong = verify_report(settings, found)
    fine = f"The {len(found.files)} files of report {str(found.id)[:8]} are as they were written."
    text = "\n".join(map(printable, wrong))
    answer = {"report": found.id, "files": len(found.files), "findings": wrong}
    product.output.result(answer, text or fine, even_quiet=text)
    return 1 if wrong else 0


def report_text(report: Report, folder: Path) -> str:
    """Return a report as the terminal shows it."""
    controls = [
        [
            result.id,
            result.status.value,
            f"{result.numerator:,} of {result.denominator:,}",
            result.percent,
            result.title,
        ]
        for result in report.controls
    ]
    files = [[file.name, size(file.size), file.sha256] for file in report.files]
    scope = f"source {report.source}" if report.source else "all sources"
    return "\n".join(
        [
            printable(f"Report {report.id}: {report.period} ({report.zone}), {scope}: {report.verdict.value}"),
            "",
            table(["Control", "Status", "Counted", "Share", "Title"], controls),
            "",
            table(["File", "Size", "SHA-256"], files),
            "",
            printable(str(folder)),
        ]
    )
