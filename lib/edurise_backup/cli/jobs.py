"""`edurise-backup backup | list | show | verify | stats | rebuild-catalog`: jobs with rows in the catalog."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import duration, printable, size, table
from edurise_backup.errors import InputError

if TYPE_CHECKING:
    from edurise_backup.config import Settings
    from edurise_backup.model.jobs import BackupJob, JobStatus, RecoveryJob, Verification

BackupWord = Annotated[
    str,
    typer.Argument(
        help="A backup: its id, its beginning, or `latest`: the newest good full set, else the newest good backup."
    ),
]
DUMP_NOTE = "A dump is always read whole; incremental is what is stored of it."


def add_commands(app: typer.Typer) -> None:
    """Put the commands on the top level."""
    for function, name in (
        (backup, "backup"),
        (list_backups, "list"),
        (show, "show"),
        (verify, "verify"),
        (stats, "stats"),
        (rebuild, "rebuild-catalog"),
    ):
        command(app, Product, name)(function)


def backup(
    product: Product,
    type: Annotated[str, typer.Argument(help="full, database, files, configuration or metadata.")] = "full",  # noqa: A002
    source: Annotated[str | None, typer.Option(help="Only this configured source.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Tag of the backup; may be repeated.")] = None,
    full_read: Annotated[bool, typer.Option("--full-read", help="Read unchanged files, too.")] = False,
) -> int:
    """Back up the platform, or one part of it; exit status 3 when it is completed with warnings."""
    from edurise_backup.operations import create_backup

    settings = product.settings()
    with product.output.progress() as progress:
        job = create_backup(
            type, settings=settings, source=source, incremental=not full_read, tags=tag or (), progress=progress
        )
    text = "\n".join([backup_text(job), *_not_shared(settings, job)])
    product.output.result(job, text, even_quiet=listed("warning", job.warnings))
    return 3 if job.warnings else 0


def _not_shared(settings: Settings, job: BackupJob) -> list[str]:
    """Say which sources this process has backed up alone although workers share them elsewhere."""
    from edurise_backup.operations.shared_sources import shared_sources

    sharded = {source.name for source in shared_sources(settings)}
    names = [part.source for part in job.parts if part.part.value == "files" and part.source in sharded]
    return [
        f"note: {printable(name)} was backed up by this process alone; flows share it among workers" for name in names
    ]


def list_backups(
    product: Product,
    type: Annotated[str | None, typer.Option(help="Only this type.")] = None,  # noqa: A002
    status: Annotated[str | None, typer.Option(help="Only this status.")] = None,
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Started at or after this time (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Started before this time (UTC).")] = None,
    verified: Annotated[bool | None, typer.Option(help="Only what passed a verification, or did not.")] = None,
    restorable: Annotated[bool | None, typer.Option(help="Only what can be restored, or cannot (any more).")] = None,
    tag: Annotated[str | None, typer.Option(help="Only with this tag.")] = None,
    recovery_set: Annotated[str | None, typer.Option("--set", help="Only this recovery set.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
) -> None:
    """List backups, newest first."""
    from edurise_backup.model.jobs import BackupFilters
    from edurise_backup.operations import get_backups
    from edurise_backup.operations.backups import backup_type

    try:
        filters = BackupFilters(
            type=backup_type(type) if type else None,
            status=_job_status(status) if status else None,
            source=source,
            since=since.replace(tzinfo=UTC) if since else None,
            until=until.replace(tzinfo=UTC) if until else None,
            verified=verified,
            restorable=restorable,
            tag=tag,
            set_id=UUID(recovery_set) if recovery_set else None,
            limit=limit,
        )
    except ValueError as error:
        raise InputError(
            f"a filter is wrong: {error}", hint="`edurise-backup list --help` says what is possible"
        ) from error
    jobs = get_backups(filters, settings=product.settings())
    rows = [
        [
            str(job.id)[:8],
            job.type.value,
            _standing(job),
            _time(job.started_at or job.created_at),
            took(job),
            size(job.size) if job.size is not None else "",
            size(job.stored_bytes) if job.stored_bytes is not None else "",
            job.verification_status.value if job.verification_status else "",
        ]
        for job in jobs
    ]
    head = ["ID", "Type", "Status", "Started (UTC)", "Took", "Size", "Stored", "Verified"]
    product.output.result(jobs, table(head, rows) if rows else "no backup matches")


def _job_status(word: str) -> JobStatus:
    from edurise_backup.model.jobs import JobStatus

    if word not in list(JobStatus):
        raise InputError(f"there is no status {word!r}", safe="nothing was done", hint=f"choose {', '.join(JobStatus)}")
    return JobStatus(word)


def show(product: Product, backup: BackupWord) -> None:
    """Show one backup with its parts, phases and warnings."""
    with chosen(product.settings(), backup) as job:
        pass
    product.output.result(job, backup_text(job))


def verify(
    product: Product,
    backup: BackupWord = "",
    copy: Annotated[
        str,
        typer.Option(metavar="NAME", help="From this copy; without a backup the next to be proved there."),
    ] = "",
) -> int:
    """Read every byte of a backup back and prove it; exit status 1 when it does not pass.

    Without a name it is the latest. A copy's result is kept on the copy, and never counts as the primary's.
    """
    if copy:
        return _verify_copy(product, copy, backup)
    backup = backup or "latest"
    from edurise_backup.model.jobs import Verdict
    from edurise_backup.operations import verify_backup

    settings = product.settings()
    with product.output.progress() as progress, chosen(settings, backup) as job:
        done = verify_backup(job.id, settings=settings, progress=progress)
        passed = done.verification_status is Verdict.PASSED
        elsewhere = () if passed else _elsewhere(settings, job)
    text = "\n".join([verification_text(done, job), *elsewhere])
    product.output.result(done, text, even_quiet="\n".join([listed("damage", done.findings), *elsewhere]).strip())
    return 0 if passed else 1


def _verify_copy(product: Product, copy: str, backup: str) -> int:
    from edurise_backup.cli.maintenance import job_text
    from edurise_backup.model.jobs import Verdict
    from edurise_backup.operations import verify_copy

    with product.output.progress() as progress:
        job = verify_copy(copy, backup, settings=product.settings(), progress=progress)
    product.output.result(job, job_text(job), even_quiet=listed("damage", job.findings))
    return 0 if job.verification_status is Verdict.PASSED else 1


def _elsewhere(settings: Settings, backup: BackupJob) -> list[str]:
    """Say which copies have what did not pass: a recovery takes it from there by itself."""
    from edurise_backup.operations.catalogs import open_catalog
    from edurise_backup.operations.copy_status import where_else
    from edurise_backup.operations.stores import known_copies

    with open_catalog(settings) as catalog:
        told = where_else(catalog, backup.id, known_copies(settings, catalog))
    return [f"copy: {printable(sentence)}" for sentence in told]


def stats(product: Product) -> None:
    """Show figures over all backups."""
    from edurise_backup.operations import get_backup_stats

    found = get_backup_stats(settings=product.settings())
    rows = [
        [
            kind.type.value,
            str(kind.completed),
            str(kind.warned),
            str(kind.failed),
            _time(kind.last_good_at),
            duration(kind.last_good_age.total_seconds()) if kind.last_good_age is not None else "never",
            duration(kind.median_duration.total_seconds()) if kind.median_duration is not None else "",
        ]
        for kind in found.types
    ]
    ratio = f"{found.dedup_ratio:.2f}" if found.dedup_ratio else "unknown"
    product.output.result(
        found,
        table(["Type", "Completed", "Warned", "Failed", "Last good (UTC)", "Age", "Median"], rows)
        + f"\noriginal {size(found.source_bytes)}, stored {size(found.stored_bytes)}, ratio {ratio}"
        f"\nverified {found.verified} of {found.verified + found.unverified} backups; "
        f"recoveries passed {found.recoveries_passed}, failed {found.recoveries_failed}",
    )


def rebuild(
    product: Product,
    from_copy: Annotated[
        str, typer.Option("--from", metavar="NAME", help="Read this copy, when the primary is lost.")
    ] = "",
) -> None:
    """Write every job that the repository knows into the catalog."""
    from edurise_backup.operations import rebuild_catalog

    done = rebuild_catalog(settings=product.settings(), store=from_copy)
    product.output.result(
        done,
        "\n".join(
            [
                *map(printable, done.remarks),
                f"{done.written} jobs written, {done.kept} were there already, "
                f"{done.from_snapshots} of them known by their snapshot alone",
            ]
        ),
    )


@contextmanager
def chosen(settings: Settings, word: str) -> Iterator[BackupJob]:
    """Find the backup that a person names; the catalog stays open, so that an embedded one is started once."""
    from edurise_backup.operations.backups import find_backup
    from edurise_backup.operations.catalogs import open_catalog

    with open_catalog(settings) as catalog:
        yield find_backup(catalog, word)


def listed(kind: str, sentences: Sequence[str]) -> str:
    """Return sentences, a line each."""
    return "\n".join(f"{kind}: {printable(sentence)}" for sentence in sentences)


def named(job: BackupJob) -> str:
    """Return how a backup is named in a sentence."""
    return f"backup {job.id} ({job.type.value}, {_time(job.started_at)} UTC)"


def backup_text(job: BackupJob) -> str:
    """Describe a backup for a person."""
    lines = [f"backup {job.id}: {job.type.value}, {_standing(job)}"]
    if job.forgotten_until:
        lines.append(f"`forget --undo` brings it back until {_time(job.forgotten_until)} UTC")
    if job.error:
        lines += [printable(job.error), *([f"To do: {job.hint}"] if job.hint else [])]
    if job.size is not None:
        lines.append(
            f"{size(job.size)} in {job.files or 0} files, read {size(job.read_bytes or 0)}, "
            f"stored {size(job.stored_bytes or 0)}, took {took(job)}"
        )
    for part in job.parts:
        lines.append(
            f"  {part.part.value:<14} {printable(part.source):<16} snapshot {part.snapshot_id[:8]}  "
            f"{size(part.source_bytes):>10}  stored {size(part.stored_bytes)}"
        )
        if part.lsn:
            lines.append(f"  {'':<14} shows {_time(part.snapshot_time)} UTC, LSN {part.lsn}. {DUMP_NOTE}")
    lines += [f"warning: {printable(warning)}" for warning in job.warnings]
    if job.verification_status:
        lines.append(f"verified {_time(job.verified_at)} UTC: {job.verification_status.value}")
    return "\n".join(lines)


def verification_text(done: Verification, backup: BackupJob) -> str:
    """Describe a verification for a person."""
    return "\n".join(
        [
            f"verification {done.id} of {named(backup)}: {done.verification_status.value}",
            f"{size(done.bytes_read)} read and proved in {took(done)}",
            *(f"damage: {printable(finding)}" for finding in done.findings),
        ]
    )


def _standing(job: BackupJob) -> str:
    """Return how a backup ended, and whether it is still there."""
    gone = "forgotten" if job.forgotten_at else "missing" if job.missing_since else ""
    return job.status.value.replace("_", " ") + (f", {gone}" if gone else "")


def took(job: BackupJob | Verification | RecoveryJob) -> str:
    """Return how long a job took; empty for one that has not ended."""
    if job.started_at is None or job.completed_at is None:
        return ""
    return duration((job.completed_at - job.started_at).total_seconds())


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else ""
