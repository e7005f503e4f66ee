"""`edurise-backup repo …`: the engine without catalog or Prefect, so that a restore never depends on them.

Options, snapshot words and restored paths are stock restic's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Engine, command
from edurise_backup.cli.output import duration, printable, size, table

if TYPE_CHECKING:
    from edurise_backup.model.snapshot import Snapshot, SnapshotId
    from edurise_backup.operations.snapshots import SnapshotFilter
    from edurise_backup.repository.trial import Trial
    from edurise_backup.sources.size_limit import LeftOut

app = typer.Typer(no_args_is_help=True, help="Work on a repository directly, without catalog or Prefect.")
NoLock = Annotated[bool, typer.Option("--no-lock", help="Write no lock: for a medium that cannot be written.")]
SnapshotWord = Annotated[
    str, typer.Argument(help="A snapshot: an id, its beginning, or `latest`; with :/DIR only that directory of it.")
]
HostOption = Annotated[list[str] | None, typer.Option("--host", "-H", help="Only of this host; may be repeated.")]
PathOption = Annotated[
    list[str] | None, typer.Option("--path", help="Only with this path backed up; repeated: with all of them.")
]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", help="Only with this tag (A,B: with both); repeated: with one of them.")
]


def snapshot_filter(host: HostOption, path: PathOption, tag: TagOption) -> SnapshotFilter:
    """Return what the options choose."""
    from edurise_backup.operations.snapshots import SnapshotFilter

    return SnapshotFilter(tuple(host or ()), tuple(path or ()), tuple(tag or ()))


@command(app, Engine, opens=False)
def init(engine: Engine) -> None:
    """Make a new repository and print its recovery key, once."""
    from edurise_backup.operations.opening import create_repository

    with engine.output.progress() as progress:
        progress.phase("make the repository")
        stop = progress.raise_if_cancelled
        repository, recovery_key = create_repository(engine.place(), engine.passphrase(), stop=stop)
    engine.output.result(
        {"id": repository.config.id, "location": repository.store.address, "recovery_key": recovery_key},
        f"created repository {repository.config.id[:10]} at {repository.store.address}\n"
        f"recovery key: {recovery_key}\n"
        "It opens the repository like the passphrase. Write it down now: it is not stored and not shown again.",
        even_quiet=recovery_key,
    )


@command(app, Engine)
def backup(
    engine: Engine,
    paths: Annotated[list[str], typer.Argument(help="Directories and files to back up.")],
    exclude: Annotated[list[str] | None, typer.Option(help="Leave out what matches; may be repeated.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Tag of the snapshot; may be repeated.")] = None,
    host: Annotated[str, typer.Option(help="Host name of the snapshot; this host's by default.")] = "",
    one_file_system: Annotated[bool, typer.Option(help="Do not enter other file systems.")] = False,
    force: Annotated[bool, typer.Option(help="Read every file, also those that did not change.")] = False,
    no_check: Annotated[bool, typer.Option("--no-check", help="Do not prove each blob before it is written.")] = False,
    compression: Annotated[
        str, typer.Option(envvar="EDURISE_COMPRESSION", help="auto, off, max, or a level from 1 to 19.")
    ] = "auto",
    exclude_larger_than: Annotated[
        str, typer.Option(metavar="SIZE", help="Leave out files of more than this, e.g. 500M or 2G.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Write nothing; say what would be added.")] = False,
) -> int:
    """Back up directory trees; exit status 3 when something could not be read."""
    from edurise_backup.model.compression import parse_compression
    from edurise_backup.operations.engine import BackupOptions, backup_trees, open_trees, try_trees
    from edurise_backup.operations.written import parse_size

    largest = parse_size(exclude_larger_than) if exclude_larger_than else None
    options = BackupOptions(
        exclude or (),
        tag or (),
        host,
        one_file_system,
        read_everything=force,
        check=not no_check,
        compression=parse_compression(compression),
        larger_than=largest,
    )
    started = datetime.now(UTC)
    with engine.output.progress() as progress:
        trees = open_trees(paths, options)
        repository = engine.repository()
        if dry_run:
            return _show_trial(engine, try_trees(repository, trees, options, progress=progress), trees.left_out)
        saved = backup_trees(repository, trees, options, progress=progress)
    stats, added = saved.archived.stats, saved.added
    took = (datetime.now(UTC) - started).total_seconds()
    problems = [f"not backed up as it is: {printable(problem)}" for problem in saved.archived.problems]
    engine.output.result(
        {
            "snapshot_id": saved.id,
            "parent": saved.snapshot.parent,
            "summary": saved.snapshot.summary,
            "stored_bytes": added.sent_bytes,
            "read_bytes": stats.read_bytes,
            "left_out": trees.left_out,
            "seconds": round(took, 3),
            "problems": saved.archived.problems,
        },
        "\n".join(
            [
                *problems,
                *_told(trees.left_out),
                f"files: {stats.files_new} new, {stats.files_changed} changed, {stats.files_unmodified} unmodified",
                f"read {size(stats.read_bytes)} of {size(stats.source_bytes)}, stored {size(added.stored_bytes)} "
                f"({size(added.plain_bytes)} before compression) in {duration(took)}",
                f"snapshot {saved.id[:8]} saved",
            ]
        ),
        even_quiet="\n".join(problems),
    )
    return 3 if saved.archived.problems else 0


def _told(left_out: LeftOut) -> list[str]:
    if not left_out.files:
        return []
    return [f"left out as too large: {left_out.files} files, {size(left_out.bytes)}"]


def _show_trial(engine: Engine, trial: Trial, left_out: LeftOut) -> int:
    stats, added = trial.archived.stats, trial.added
    problems = [f"would not be backed up as it is: {printable(problem)}" for problem in trial.archived.problems]
    engine.output.result(
        {
            "dry_run": True,
            "parent": trial.parent,
            "files_new": stats.files_new,
            "files_changed": stats.files_changed,
            "files_unmodified": stats.files_unmodified,
            "read_bytes": stats.read_bytes,
            "added": added,
            "left_out": left_out,
            "problems": trial.archived.problems,
        },
        "\n".join(
            [
                *problems,
                *_told(left_out),
                f"files: {stats.files_new} new, {stats.files_changed} changed, {stats.files_unmodified} unmodified",
                f"would add {size(added.plain_bytes)} before compression, in {added.data_blobs} data blobs and "
                f"{added.tree_blobs} trees; nothing was written",
            ]
        ),
        even_quiet="\n".join(problems),
    )
    return 3 if trial.archived.problems else 0


@command(app, Engine)
def snapshots(engine: Engine, host: HostOption = None, path: PathOption = None, tag: TagOption = None) -> None:
    """List the snapshots, oldest first."""
    found = snapshot_filter(host, path, tag).apply(engine.repository().snapshots())
    rows = [
        [key[:8], shot.time[:19].replace("T", " "), shot.hostname, ",".join(shot.tags or []), " ".join(shot.paths)]
        for key, shot in found.items()
    ]
    engine.output.result(
        [_as_json(key, shot) for key, shot in found.items()],
        table(["ID", "Time (UTC)", "Host", "Tags", "Paths"], rows) + f"\n{len(rows)} snapshots",
    )


def _as_json(snapshot_id: SnapshotId, snapshot: Snapshot) -> dict[str, object]:
    import msgspec

    return {**msgspec.to_builtins(snapshot), "id": snapshot_id, "short_id": snapshot_id[:8]}


@command(app, Engine)
def ls(
    engine: Engine,
    snapshot: SnapshotWord,
    long: Annotated[bool, typer.Option("--long", "-l", help="Show mode, owner, size and time.")] = False,
    host: HostOption = None,
    path: PathOption = None,
    tag: TagOption = None,
) -> None:
    """List what a snapshot holds; the filters say what `latest` is of."""
    from edurise_backup.operations.snapshots import choose, tree_of
    from edurise_backup.recovery.planning import walk_files

    repository = engine.repository()
    chosen = choose(repository, snapshot, snapshot_filter(host, path, tag))
    repository.load_index()
    nodes = [
        (chosen.folder.rstrip("/") + below, node) for below, node in walk_files(repository, tree_of(repository, chosen))
    ]
    lines = [
        f"{node.mode & 0o777:04o} {node.uid:>5} {node.gid:>5} {node.size:>12} {node.mtime[:19]} {printable(path)}"
        if long
        else printable(path)
        for path, node in nodes
    ]
    engine.output.result(
        {
            "snapshot_id": chosen.id,
            "nodes": [
                {"path": path, "type": node.type, "size": node.size, "mtime": node.mtime, "mode": node.mode}
                for path, node in nodes
            ],
        },
        "\n".join(lines),
    )
