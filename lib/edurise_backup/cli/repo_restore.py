"""`edurise-backup repo restore`: files of a snapshot, into a new directory or onto what is there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Engine, command
from edurise_backup.cli.output import printable, size
from edurise_backup.cli.repo import HostOption, NoLock, PathOption, SnapshotWord, TagOption, snapshot_filter
from edurise_backup.cli.repo_restore_bucket import restore_to_bucket
from edurise_backup.errors import InputError
from edurise_backup.model.location import is_s3

if TYPE_CHECKING:
    from edurise_backup.operations.restoring import Updated
    from edurise_backup.operations.snapshots import Chosen
    from edurise_backup.recovery.delta.plan import DeltaPlan
    from edurise_backup.recovery.planning import Names
    from edurise_backup.recovery.restorer import Restored

_SHOWN = 20
"""Names that a dry run lists of each kind; `--json` lists all."""

_STAY = "stay; --delete removes them"


def add_commands(app: typer.Typer) -> None:
    """Put the command beside those that write and list snapshots."""
    command(app, Engine)(restore)


def restore(
    engine: Engine,
    snapshot: SnapshotWord,
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            help="A new or empty directory; /a/b goes to DIR/a/b. Or s3:https://HOST/BUCKET/PREFIX: objects.",
        ),
    ],
    include: Annotated[list[str] | None, typer.Option(help="Restore only what matches; may be repeated.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Leave out what matches; may be repeated.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="The target may hold something: replace what differs, fetch only that.")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="With --overwrite: remove what is there and not in the snapshot.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Change nothing; say what would be done.")] = False,
    host: HostOption = None,
    path: PathOption = None,
    tag: TagOption = None,
    no_lock: NoLock = False,
) -> int:
    """Restore a snapshot, each byte proved while it is written; exit status 3 with problems.

    The filters say what `latest` is of. With SNAPSHOT:/DIR, what is in /DIR goes right into the target.
    Files that --overwrite could not restore whole stay as they are and are named; the exit status is 1.
    In a bucket nothing is deleted; objects come back with their keys, headers and metadata, and are looked at after.
    """
    from edurise_backup.operations.opening import readable
    from edurise_backup.operations.restoring import apply_delta, plan_files, plan_onto, refuse_occupied
    from edurise_backup.operations.snapshots import choose
    from edurise_backup.recovery.restorer import restore as restore_files
    from edurise_backup.recovery.writing import Writers

    if is_s3(target) and delete:
        raise InputError("in a bucket nothing is ever deleted", safe="nothing was done", hint="leave --delete out")
    if delete and not overwrite:
        raise InputError(
            "--delete removes what is in the target, and only --overwrite lets it hold something",
            safe="nothing was done",
            hint="add --overwrite, and --dry-run to see what would go",
        )
    if is_s3(target):
        chosen = choose(engine.repository(), snapshot, snapshot_filter(host, path, tag))
        return restore_to_bucket(
            engine,
            chosen,
            target,
            include=include or (),
            exclude=exclude or (),
            overwrite=overwrite,
            dry_run=dry_run,
            lock=not no_lock,
        )
    folder = Path(target)
    if dry_run and not overwrite:
        refuse_occupied(folder)
    repository = engine.repository()
    chosen = choose(repository, snapshot, snapshot_filter(host, path, tag))
    chosen_by = {"include": include or (), "exclude": exclude or ()}
    with engine.output.progress() as progress, readable(repository, lock=not no_lock):
        if not (overwrite or dry_run):
            with Writers() as writers:
                plan = plan_files(repository, chosen, **chosen_by, when_large=writers.begin)
                progress.phase("restore", bytes_total=plan.bytes)
                done = restore_files(repository, plan, folder, progress=progress, writers=writers)
            return _show_restored(engine, chosen, folder, done)
        delta = plan_onto(repository, chosen, folder, **chosen_by, delete=delete, progress=progress)
        if dry_run:
            return _show_plan(engine, chosen, delta)
        return _show_updated(engine, chosen, delta, apply_delta(repository, delta, progress=progress))


def _show_restored(engine: Engine, chosen: Chosen, target: Path, done: Restored) -> int:
    problems = [printable(problem) for problem in done.problems]
    engine.output.result(
        {
            "snapshot_id": chosen.id,
            "files": done.files,
            "folders": done.folders,
            "bytes": done.bytes,
            "problems": done.problems,
        },
        "\n".join(
            [
                *problems,
                f"restored {done.files} files in {done.folders} directories, {size(done.bytes)}, "
                f"of snapshot {chosen.id[:8]} to {target}",
            ]
        ),
        even_quiet="\n".join(problems),
    )
    return 3 if done.problems else 0


def _show_plan(engine: Engine, chosen: Chosen, plan: DeltaPlan) -> int:
    described = [step.names for step in plan.described]
    folders_new = [step.names for step in plan.folders if not step.there]
    folders_described = [step.names for step in plan.folders if step.own and step.differs]
    problems = [printable(problem) for problem in plan.problems]
    paths = {
        "metadata": _paths(described),
        "changed": _paths(plan.changed),
        "new": _paths(plan.new),
        "folders_metadata": _paths(folders_described),
        "folders_new": _paths(folders_new),
        "extra": _paths(plan.unwanted),
    }
    engine.output.result(
        {
            "snapshot_id": chosen.id,
            "dry_run": True,
            "delete": plan.delete,
            "unchanged": plan.unchanged,
            **{kind: len(found) for kind, found in paths.items()},
            "fetched_bytes": plan.fetched_bytes,
            "written_bytes": plan.written_bytes,
            "paths": paths,
            "problems": plan.problems,
        },
        "\n".join(
            [
                *problems,
                *_listed("would change", paths["changed"]),
                *_listed("would add", paths["new"]),
                *_listed("would remove" if plan.delete else "is not in the snapshot", paths["extra"]),
                f"files: {plan.unchanged} unchanged, {len(described)} with other metadata only, "
                f"{len(plan.changed)} to be changed, {len(plan.new)} new",
                f"directories: {len(folders_new)} new, {len(folders_described)} with other metadata",
                f"would fetch {size(plan.fetched_bytes)} and write {size(plan.written_bytes)}; nothing was changed",
                *_told_extras(len(paths["extra"]), "would be removed" if plan.delete else _STAY),
            ]
        ),
        even_quiet="\n".join(problems),
    )
    return 3 if plan.problems else 0


def _show_updated(engine: Engine, chosen: Chosen, plan: DeltaPlan, done: Updated) -> int:
    told = [printable(sentence) for sentence in (*done.failed, *done.problems)]
    if done.failed and plan.delete:
        told.append("nothing was removed, as not everything could be restored")
    engine.output.result(
        {
            "snapshot_id": chosen.id,
            "unchanged": done.unchanged,
            "metadata": done.described,
            "changed": done.changed,
            "new": done.new,
            "folders_new": done.folders,
            "removed": done.removed,
            "extra": done.stayed,
            "written_bytes": done.written_bytes,
            "failed": done.failed,
            "problems": done.problems,
        },
        "\n".join(
            [
                *told,
                f"files: {done.unchanged} unchanged, {done.described} with new metadata only, {done.changed} changed, "
                f"{done.new} new, {size(done.written_bytes)} written",
                *([f"removed {done.removed} names that are not in the snapshot"] if plan.delete else []),
                *_told_extras(done.stayed, "stay" if plan.delete else _STAY),
                f"restored snapshot {chosen.id[:8]} onto {plan.target}"
                + (f", but for {len(done.failed)} names" if done.failed else ""),
            ]
        ),
        even_quiet="\n".join(told),
    )
    return 1 if done.failed else 3 if done.problems else 0


def _paths(names: Iterable[Names]) -> list[str]:
    return ["/" + "/".join(one) for one in names]


def _listed(what: str, paths: list[str]) -> list[str]:
    more = [f"{what}: {len(paths) - _SHOWN} more (--json lists all)"] if len(paths) > _SHOWN else []
    return [*(f"{what}: {printable(path)}" for path in paths[:_SHOWN]), *more]


def _told_extras(count: int, fate: str) -> list[str]:
    if not count:
        return []
    return [f"{count} names are there and not in the snapshot: they {fate}"]
