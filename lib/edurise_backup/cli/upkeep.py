"""`edurise-backup doctor | demo-platform`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import printable

if TYPE_CHECKING:
    from edurise_backup.operations.findings import Finding

_SIGNS = {"fine": "ok     ", "warning": "WARNING", "fault": "FAULT  "}


def add_commands(app: typer.Typer) -> None:
    """Put the commands on the top level."""
    command(app, Product, "doctor")(doctor)
    command(app, Product, "demo-platform")(demo_platform)


def doctor(product: Product) -> int:
    """Show what could stop a recovery tomorrow, each with the remedy; exit status 1 with a fault."""
    from edurise_backup.operations.doctor import examine
    from edurise_backup.operations.findings import Level

    found = examine(product.settings())
    bad = [finding for finding in found if finding.level is not Level.FINE]
    product.output.result(found, _findings_text(found), even_quiet=_findings_text(bad))
    return 1 if any(finding.level is Level.FAULT for finding in found) else 0


def _findings_text(found: Sequence[Finding]) -> str:
    lines = []
    for finding in found:
        lines.append(f"{_SIGNS[finding.level]}  {finding.subject}: {printable(finding.message)}")
        if finding.remedy:
            lines.append(f"         to do: {finding.remedy}")
    return "\n".join(lines)


def demo_platform(
    product: Product,
    directory: Annotated[Path, typer.Argument(help="A new or empty directory.")],
    seed: Annotated[int, typer.Option(help="Everything follows from it.")] = 1,
    scale: Annotated[float, typer.Option(help="1 is near 150 MB and 1,500 files.")] = 1.0,
    stop: Annotated[bool, typer.Option(help="Stop the platform's server afterwards.")] = False,
) -> None:
    """Make an EduRise platform to try things on: databases, files and configuration."""
    from edurise_backup.demonstration.platform import create_platform

    with product.output.progress() as progress:
        platform = create_platform(directory, seed=seed, scale=scale, progress=progress)
    address = str(platform.address)
    if stop:
        platform.stop()
    product.output.result(
        {
            "directory": str(platform.directory),
            "address": address,
            "password_file": str(platform.password_file),
            "storage": str(platform.storage),
            "configuration": str(platform.configuration),
            "databases": platform.databases,
            "running": not stop,
        },
        f"made a platform in {platform.directory}\n"
        f"databases {', '.join(platform.databases)} at {address} (password in {platform.password_file})\n"
        f"files in {platform.storage}, configuration in {platform.configuration}",
    )
