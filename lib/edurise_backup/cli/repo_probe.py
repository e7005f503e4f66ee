"""`edurise-backup repo probe`: what the server of a bucket really does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from edurise_backup.cli.command import Engine, command
from edurise_backup.cli.output import printable, table

if TYPE_CHECKING:
    from edurise_backup.model.probe import Probe


def add_commands(app: typer.Typer) -> None:
    """Add them to `repo`."""
    command(app, Engine)(probe)


def probe(engine: Engine) -> int:
    """Find out what a bucket's server really does, and keep it in the repository; exit status 1 when it is unfit."""
    from edurise_backup.operations.probing import keep_probe, probe_location

    repository = engine.repository()
    found = probe_location(engine.place(), refuse=False, stop=engine.output.raise_if_cancelled)
    keep_probe(repository, found)
    engine.output.result(found, _as_text(found), even_quiet="\n".join(map(printable, found.dangers)))
    return 1 if found.dangers else 0


def _as_text(found: Probe) -> str:
    skew = "unknown" if found.clock_skew_seconds is None else f"{found.clock_skew_seconds:+.1f} s"
    rows = [
        ["keeps an object from being replaced", found.conditional_create],
        ["refuses bytes with a wrong MD5", found.md5],
        ["refuses bytes with a wrong SHA-256", found.sha256],
        ["keeps what is written beside an object", found.metadata],
        ["reads ranges", found.ranges],
        ["lists a new object at once", found.listed_at_once],
        ["lets this credential delete", found.deletes],
        ["versioning", found.versioning],
        ["object lock", found.object_lock],
        ["lifecycle rules", found.lifecycle],
        ["its clock against this one", skew],
    ]
    lines = [printable(found.address), table(["The server", ""], [[word, str(said)] for word, said in rows])]
    lines += [f"DANGER: {printable(danger)}" for danger in found.dangers]
    lines += [f"note: {printable(remark)}" for remark in found.remarks]
    return "\n".join(lines)
