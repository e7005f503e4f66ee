"""`edurise-backup recover`: bring a backup back, or say what that would ask of the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.jobs import BackupWord, chosen, listed, named, took
from edurise_backup.cli.output import printable, size
from edurise_backup.errors import InputError

if TYPE_CHECKING:
    from edurise_backup.config import Settings
    from edurise_backup.model.jobs import BackupJob, BackupType, RecoveryJob


def add_commands(app: typer.Typer) -> None:
    """Put the command on the top level."""
    command(app, Product)(recover)


def recover(
    product: Product,
    backup: BackupWord,
    target: Annotated[
        Path | None, typer.Option("--target", "-t", help="A new or empty directory; not needed for --dry-run.")
    ] = None,
    part: Annotated[list[str] | None, typer.Option(help="Only this part; may be repeated.")] = None,
    database_suffix: Annotated[
        str, typer.Option(help="Appended to each database's name; empty brings them back under their own.")
    ] = "_restored",
    database_source: Annotated[str | None, typer.Option(help="The configured server that gets the databases.")] = None,
    from_store: Annotated[
        str, typer.Option("--from", metavar="NAME", help="Take the bytes from this store alone: a copy, or `primary`.")
    ] = "",
    buckets: Annotated[
        str,
        typer.Option(
            help="Where buckets go: files, below the directory; empty, back to their configured place, which must be "
            "empty; add, back there, what is there stays and what is equal is not sent again."
        ),
    ] = "files",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only say what it would ask of the store, and what that costs.")
    ] = False,
) -> int:
    """Restore into fresh databases and a fresh directory, and prove it; exit status 1 when the proof fails.

    The bytes come from the nearest store that has them whole: the primary, else a copy. Another steps in when it fails.
    """
    from edurise_backup.model.jobs import BucketsTo, RecoveryTarget, Verdict
    from edurise_backup.operations import initiate_recovery
    from edurise_backup.operations.backups import backup_type

    if buckets not in list(BucketsTo):
        raise InputError(f"buckets cannot go to {buckets!r}", safe="nothing was done", hint="say files, empty or add")
    parts = tuple(backup_type(word) for word in part or ())
    settings = product.settings()
    if dry_run:
        return _quote(product, settings, backup, parts, from_store)
    if target is None:
        raise InputError("no target directory is named", hint="use --target DIR, a new or empty one, or --dry-run")
    where = RecoveryTarget(
        str(target.absolute()), database_source, database_suffix, parts, from_store, BucketsTo(buckets)
    )
    with product.output.progress() as progress, chosen(settings, backup) as job:
        done = initiate_recovery(job.id, where, settings=settings, progress=progress)
    missed = "\n".join(filter(None, [listed("warning", done.warnings), listed("differs", done.findings)]))
    product.output.result(done, recovery_text(done, job), even_quiet=missed)
    return 0 if done.verification_status is Verdict.PASSED else 1


def _quote(product: Product, settings: Settings, backup: str, parts: tuple[BackupType, ...], store: str) -> int:
    from edurise_backup.cli.costs import quote_json, quote_text
    from edurise_backup.operations import quote_recovery

    with product.output.progress() as progress, chosen(settings, backup) as job:
        quote = quote_recovery(job.id, parts, settings=settings, store=store, progress=progress)
    product.output.result(quote_json(quote), quote_text(quote))
    return 0


def recovery_text(done: RecoveryJob, backup: BackupJob) -> str:
    """Describe a recovery for a person."""
    return "\n".join(
        [
            f"recovery {done.id} of {named(backup)}: {done.status.value.replace('_', ' ')}, "
            f"proof {done.verification_status.value}",
            f"{size(done.restored_bytes or 0)} restored to {done.target.directory if done.target else 'nowhere'}, "
            f"took {took(done)}",
            *(f"store: {printable(note)}" for note in done.store_notes),
            *(f"proved: {printable(check)}" for check in done.checks),
            *(f"warning: {printable(warning)}" for warning in done.warnings),
            *(f"differs: {printable(finding)}" for finding in done.findings),
            *([f"failed: {printable(done.error)}"] if done.error else []),
            *([f"To do: {printable(done.hint)}"] if done.hint else []),
        ]
    )
