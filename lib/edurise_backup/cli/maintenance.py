"""`edurise-backup prune | check | forget`: the life of the configured repository, as jobs with rows in the catalog."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import duration, printable, size, table
from edurise_backup.cli.repo_prune import MaxRemoved, MaxRepack, MaxUnused, PackGrace, Wait
from edurise_backup.errors import InputError

if TYPE_CHECKING:
    from edurise_backup.model.maintenance import CheckFigures, MaintenanceJob, PruneFigures
    from edurise_backup.operations.forgetting import ForgottenBackups


CopyOption = Annotated[str, typer.Option(metavar="NAME", help="Do it to this copy in place of the primary.")]


def add_commands(app: typer.Typer) -> None:
    """Put the commands on the top level."""
    for function in (prune, check, forget):
        command(app, Product)(function)


def prune(
    product: Product,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would be done.")] = False,
    grace: PackGrace = "1d",
    max_unused: MaxUnused = "5%",
    max_repack_size: MaxRepack = "",
    max_removed: MaxRemoved = "50%",
    wait: Wait = "0",
    copy: CopyOption = "",
) -> None:
    """Remove data that no backup refers to; refuses when a backup that the catalog knows is missing."""
    from edurise_backup.operations import prune_copy, prune_repository

    settings = product.settings()
    with product.output.progress() as progress:
        job = (partial(prune_copy, copy) if copy else prune_repository)(
            settings=settings,
            dry_run=dry_run,
            grace=grace,
            max_unused=max_unused,
            max_repack_size=max_repack_size,
            max_removed=max_removed,
            wait=wait,
            progress=progress,
        )
    product.output.result(job, job_text(job), even_quiet="\n".join(map(printable, job.warnings)))


def check(
    product: Product,
    read_data: Annotated[bool, typer.Option("--read-data", help="Read and prove every byte.")] = False,
    budget: Annotated[
        str,
        typer.Option(help="Read and prove this much (10GiB, 30m, 5%), what was never or longest ago proved first."),
    ] = "",
    copy: CopyOption = "",
) -> int:
    """Check that every backup is there and can be restored; exit status 1 when something is wrong."""
    from edurise_backup.model.jobs import Verdict
    from edurise_backup.operations import check_copy, check_repository

    settings = product.settings()
    with product.output.progress() as progress:
        look = partial(check_copy, copy) if copy else check_repository
        job = look(settings=settings, budget=budget, read_data=read_data, progress=progress)
    product.output.result(job, job_text(job), even_quiet="\n".join(map(printable, job.findings)))
    return 0 if job.verification_status is Verdict.PASSED else 1


def forget(
    product: Product,
    backups: Annotated[
        list[str] | None, typer.Argument(help="Backups (ids or their beginnings); none: by policy.")
    ] = None,
    keep_last: Annotated[int, typer.Option(help="Keep the newest N.")] = 0,
    keep_hourly: Annotated[int, typer.Option(help="Keep one of each of the last N hours that have any.")] = 0,
    keep_daily: Annotated[int, typer.Option(help="Keep one of each of the last N days that have any.")] = 0,
    keep_weekly: Annotated[int, typer.Option(help="Keep one of each of the last N weeks that have any.")] = 0,
    keep_monthly: Annotated[int, typer.Option(help="Keep one of each of the last N months that have any.")] = 0,
    keep_yearly: Annotated[int, typer.Option(help="Keep one of each of the last N years that have any.")] = 0,
    keep_within: Annotated[
        str, typer.Option(help="Keep what is at most this much older than the newest, e.g. 7d or 1y2m3d4h.")
    ] = "",
    keep_tag: Annotated[list[str] | None, typer.Option(help="Keep what has this tag; may be repeated.")] = None,
    grace: Annotated[str, typer.Option(help="How long they can be brought back, e.g. 12h; 0: not at all.")] = "7d",
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would go.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Bring the named forgotten backups back.")] = False,
    gone: Annotated[bool, typer.Option("--gone", help="Accept that the named backups are missing for good.")] = False,
) -> None:
    """Forget whole backups by id or policy (each host, type and source apart), with all of their snapshots.

    Until the grace is over `--undo` brings them back; the space comes free with the prunes after that.
    """
    from edurise_backup.model.policy import RetentionPolicy
    from edurise_backup.operations import forget_backups

    policy = RetentionPolicy(
        keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly, tags=tuple(keep_tag or ())
    )
    if undo or gone:
        if (undo and gone) or not policy.empty or keep_within or dry_run:
            raise InputError("--undo and --gone only take ids", hint="`edurise-backup list` shows them")
        return _amend(product, backups or [], undo=undo)
    settings = product.settings()
    with product.output.progress() as progress:
        done = forget_backups(
            backups or [],
            settings=settings,
            policy=None if policy.empty else policy,
            keep_within=keep_within,
            grace=grace,
            dry_run=dry_run,
            progress=progress,
        )
    product.output.result(_forgotten_json(done, dry_run), _forgotten_text(done, dry_run))
    return None


def _amend(product: Product, backups: list[str], *, undo: bool) -> None:
    from edurise_backup.operations import accept_gone, bring_backups_back

    settings = product.settings()
    with product.output.progress() as progress:
        job = (bring_backups_back if undo else accept_gone)(backups, settings=settings, progress=progress)
    done = job.figures.forgotten.backups if job.figures and job.figures.forgotten else ()
    said = "is back, and whole" if undo else "counts as forgotten; nothing was changed in the repository"
    product.output.result(job, "\n".join(f"backup {job_id} {said}" for job_id in done))


def _forgotten_json(done: ForgottenBackups, dry_run: bool) -> dict[str, object]:
    return {
        "forgotten": done.gone,
        "until": done.until,
        "dry_run": dry_run,
        "decisions": [{"id": one.backup.id, "keep": one.keep, "reasons": one.reasons} for one in done.decisions],
        "job": done.job,
    }


def _forgotten_text(done: ForgottenBackups, dry_run: bool) -> str:
    rows = [
        [
            str(one.backup.id)[:8],
            one.backup.type.value,
            _time(one.backup.started_at),
            "keep" if one.keep else "forget",
            ", ".join(one.reasons),
        ]
        for one in done.decisions
    ]
    until = f"; `forget --undo ID` brings them back until {_time(done.until)} UTC" if done.until else ""
    return "\n".join(
        [
            *([table(["ID", "Type", "Started (UTC)", "", "Why"], rows)] if rows else []),
            f"{len(done.gone)} backups {'would be ' if dry_run else ''}forgotten{until}",
        ]
    )


def job_text(job: MaintenanceJob) -> str:
    """Describe a prune or a check for a person."""
    took = (job.completed_at - job.started_at).total_seconds() if job.started_at and job.completed_at else 0.0
    lines = [
        f"{job.kind.value} {job.id}{' (dry run)' if job.dry_run else ''}: "
        f"{job.verification_status.value if job.verification_status else job.status.value.replace('_', ' ')}, "
        f"{job.asked}, took {duration(took)}"
    ]
    lines += [f"wrong: {printable(finding)}" for finding in job.findings]
    lines += [f"warning: {printable(warning)}" for warning in job.warnings]
    lines += [printable(remark) for remark in job.remarks]
    if job.figures:
        if job.figures.bytes is not None:
            lines.append(f"{job.figures.snapshots} snapshots, {size(job.figures.bytes)} in {job.figures.packs} packs")
        if job.figures.pruned:
            lines += _prune_lines(job.figures.pruned, job.dry_run)
        if job.figures.checked:
            lines += _check_lines(job.figures.checked)
    return "\n".join([*lines, *(["nothing was changed"] if job.dry_run else [])])


def _prune_lines(done: PruneFigures, dry_run: bool) -> list[str]:
    would = "would be " if dry_run else ""
    lines = [
        f"{done.deleted_packs} packs {would}deleted, {size(done.deleted_bytes)}; "
        f"{size(done.repacked_bytes)} {would}written again"
    ]
    if done.waiting_packs:
        lines.append(
            f"{done.waiting_packs} packs {'would ' if dry_run else ''}wait, {size(done.waiting_bytes)}: "
            f"a prune after {_time(done.waiting_until)} UTC may delete the last of them"
        )
    if done.locked_packs:
        lines.append(
            f"{done.locked_packs} packs are locked, {size(done.locked_bytes)}: "
            f"a prune after {_time(done.locked_until)} UTC may delete the last of them"
        )
    if done.locks:
        behind = f"; {done.locks.behind} are left for the next prune" if done.locks.behind else ""
        lines.append(
            f"the locks of {done.locks.extended} objects were extended{behind}; "
            f"the first one ends at {_time(done.locks.earliest)} UTC unless a prune extends it"
        )
    if done.forgotten_snapshots:
        lines.append(f"{done.forgotten_snapshots} forgotten snapshots still count: their grace lasts")
    return lines


def _check_lines(done: CheckFigures) -> list[str]:
    proved = f"{done.within_percent:g} % of all bytes were proved within 30 days"
    if done.overdue_packs:
        proved += f"; {done.overdue_packs} packs are overdue, {done.never_proved_packs} were never proved"
    if done.oldest_proof:
        proved += f"; the oldest proof is of {_time(done.oldest_proof)} UTC"
    lines = [f"{size(done.bytes_read)} in {done.packs_read} packs read and proved", proved]
    if done.damaged_packs:
        lines.append("`edurise-backup repo repair packs` shows what can be salvaged from the damaged packs")
    return lines


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if moment else ""
