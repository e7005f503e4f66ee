"""`edurise-backup repo …`: the engine without catalog or Prefect, so that a restore never depends on them.

Options, snapshot words and restored paths are stock restic's.
"""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Engine, command
from edurise_backup.cli.output import duration, printable, size, table
from edurise_backup.errors import NotFoundError

if TYPE_CHECKING:
    from edurise_backup.model.snapshot import Snapshot, SnapshotId

app = typer.Typer(no_args_is_help=True, help="Work on a repository directly, without catalog or Prefect.")
NoLock = Annotated[bool, typer.Option("--no-lock", help="Write no lock: for a medium that cannot be written.")]
SnapshotWord = Annotated[str, typer.Argument(help="A snapshot: an id, the beginning of one, or `latest`.")]


@command(app, Engine)
def init(engine: Engine) -> None:
    """Make a new repository and print its recovery key, once."""
    from edurise_backup.operations.engine import create_repository

    repository, recovery_key = create_repository(engine.place(), engine.passphrase())
    engine.output.result(
        {"id": repository.config.id, "location": repository.store.address, "recovery_key": recovery_key},
        f"created repository {repository.config.id[:10]} at {repository.store.address}\n"
        f"recovery key: {recovery_key}\n"
        "It opens the repository like the passphrase. Write it down now: it is not stored and not shown again.",
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
) -> int:
    """Back up directory trees; exit status 3 when something could not be read."""
    from edurise_backup.operations.engine import BackupOptions, backup_paths

    options = BackupOptions(exclude or (), tag or (), host, one_file_system, force, not no_check)
    started = datetime.now(UTC)
    with engine.output.progress() as progress:
        saved = backup_paths(engine.repository(), paths, options, progress=progress)
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
            "seconds": round(took, 3),
            "problems": saved.archived.problems,
        },
        "\n".join(
            [
                *problems,
                f"files: {stats.files_new} new, {stats.files_changed} changed, {stats.files_unmodified} unmodified",
                f"read {size(stats.read_bytes)} of {size(stats.source_bytes)}, stored {size(added.stored_bytes)} "
                f"({size(added.plain_bytes)} before compression) in {duration(took)}",
                f"snapshot {saved.id[:8]} saved",
            ]
        ),
    )
    return 3 if saved.archived.problems else 0


@command(app, Engine)
def snapshots(engine: Engine) -> None:
    """List the snapshots, oldest first."""
    found = engine.repository().snapshots()
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
) -> None:
    """List what a snapshot holds."""
    from edurise_backup.recovery.planning import walk_files

    repository = engine.repository()
    snapshot_id, shot = repository.find_snapshot(snapshot)
    repository.load_index()
    nodes = list(walk_files(repository, shot.tree))
    lines = [
        f"{node.mode & 0o777:04o} {node.uid:>5} {node.gid:>5} {node.size:>12} {node.mtime[:19]} {printable(path)}"
        if long
        else printable(path)
        for path, node in nodes
    ]
    engine.output.result(
        {
            "snapshot_id": snapshot_id,
            "nodes": [
                {"path": path, "type": node.type, "size": node.size, "mtime": node.mtime, "mode": node.mode}
                for path, node in nodes
            ],
        },
        "\n".join(lines),
    )


@command(app, Engine)
def check(
    engine: Engine,
    read_data: Annotated[bool, typer.Option("--read-data", help="Read and prove every byte.")] = False,
    no_lock: NoLock = False,
) -> int:
    """Check that every snapshot can be restored; exit status 1 when something is wrong."""
    from edurise_backup.verification.checker import check as check_repository

    repository = engine.repository()
    with engine.output.progress() as progress, nullcontext() if no_lock else repository.lock():
        found = check_repository(repository, progress=progress, read_data=read_data)
    verdict = "no errors were found" if found.sound else f"{len(found.findings)} errors were found"
    engine.output.result(
        {
            "sound": found.sound,
            "findings": found.findings,
            "remarks": found.remarks,
            "snapshots": found.snapshots,
            "packs": found.packs,
            "blobs": found.blobs,
            "bytes_read": found.bytes_read,
        },
        "\n".join(
            [
                *map(printable, found.findings),
                *found.remarks,
                f"{found.snapshots} snapshots, {found.packs} packs, {found.blobs} blobs, "
                f"{size(found.bytes_read)} of packs read and proved",
                verdict,
            ]
        ),
    )
    return 0 if found.sound else 1


@command(app, Engine)
def restore(
    engine: Engine,
    snapshot: SnapshotWord,
    target: Annotated[Path, typer.Option("--target", "-t", help="A new or empty directory; /a/b goes to DIR/a/b.")],
    include: Annotated[list[str] | None, typer.Option(help="Restore only what matches; may be repeated.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Leave out what matches; may be repeated.")] = None,
    no_lock: NoLock = False,
) -> int:
    """Restore a snapshot; each byte is proved while it is written. Exit status 3 with problems."""
    from edurise_backup.operations.engine import readable, selection
    from edurise_backup.recovery.planning import plan_restore
    from edurise_backup.recovery.restorer import restore as restore_files

    repository = engine.repository()
    snapshot_id, shot = repository.find_snapshot(snapshot)
    with engine.output.progress() as progress, readable(repository, lock=not no_lock):
        plan = plan_restore(repository, shot.tree, select=selection(include or (), exclude or ()))
        if include and not (plan.files or plan.others or plan.folders):
            raise NotFoundError(f"nothing in {snapshot_id[:8]} matches {', '.join(include)}", hint="`ls` lists it")
        progress.phase("restore", bytes_total=plan.bytes)
        done = restore_files(repository, plan, target, progress=progress)
    engine.output.result(
        {
            "snapshot_id": snapshot_id,
            "files": done.files,
            "folders": done.folders,
            "bytes": done.bytes,
            "problems": done.problems,
        },
        "\n".join(
            [
                *map(printable, done.problems),
                f"restored {done.files} files in {done.folders} directories, {size(done.bytes)}, to {target}",
            ]
        ),
    )
    return 3 if done.problems else 0


@command(app, Engine)
def forget(
    engine: Engine,
    ids: Annotated[list[str] | None, typer.Argument(help="Snapshots to forget; none: by policy.")] = None,
    keep_last: Annotated[int, typer.Option(help="Keep the newest N.")] = 0,
    keep_hourly: Annotated[int, typer.Option(help="Keep one of each of the last N hours that have any.")] = 0,
    keep_daily: Annotated[int, typer.Option(help="Keep one of each of the last N days that have any.")] = 0,
    keep_weekly: Annotated[int, typer.Option(help="Keep one of each of the last N weeks that have any.")] = 0,
    keep_monthly: Annotated[int, typer.Option(help="Keep one of each of the last N months that have any.")] = 0,
    keep_yearly: Annotated[int, typer.Option(help="Keep one of each of the last N years that have any.")] = 0,
    keep_tag: Annotated[list[str] | None, typer.Option(help="Keep what has this tag; may be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would go.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Then remove data that nothing refers to.")] = False,
) -> None:
    """Drop snapshots by id or policy, grouped by host and paths."""
    from edurise_backup.model.policy import RetentionPolicy
    from edurise_backup.operations.engine import choose_forgotten, locked

    policy = RetentionPolicy(
        keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly, tags=tuple(keep_tag or ())
    )
    repository = engine.repository()
    with engine.output.progress() as progress, locked(repository, exclusive=not dry_run) as lock:
        gone, kept = choose_forgotten(repository, ids or [], policy)
        freed = 0
        if not dry_run:
            for snapshot_id in gone:
                repository.forget(snapshot_id)
            if prune:
                from edurise_backup.repository.pruner import apply_prune, plan_prune

                plan = plan_prune(repository, progress=progress)
                apply_prune(repository, plan, lock, progress=progress)
                freed = plan.freed_bytes
    rows = [[d.id[:8], d.snapshot.time[:19], "keep" if d.keep else "forget", ", ".join(d.reasons)] for d in kept]
    engine.output.result(
        {
            "forgotten": gone,
            "dry_run": dry_run,
            "freed_bytes": freed,
            "decisions": [{"id": d.id, "keep": d.keep, "reasons": d.reasons} for d in kept],
        },
        (table(["ID", "Time (UTC)", "", "Why"], rows) + "\n" if rows else "")
        + f"{len(gone)} snapshots {'would be ' if dry_run else ''}forgotten"
        + (f", {size(freed)} freed" if prune and not dry_run else ""),
    )


@command(app, Engine)
def unlock(
    engine: Engine,
    remove_all: Annotated[bool, typer.Option("--remove-all", help="Remove locks that are held, too.")] = False,
) -> None:
    """Remove the locks that nobody holds any more."""
    from edurise_backup.repository import locks

    box = engine.repository().box
    count = locks.remove_all(box) if remove_all else locks.remove_dead(box, now=datetime.now(UTC))
    engine.output.result({"removed": count}, f"{count} locks removed")


key_app = typer.Typer(no_args_is_help=True, help="The passphrases that open the repository.")
app.add_typer(key_app, name="key")


@command(key_app, Engine, "list")
def list_keys(engine: Engine) -> None:
    """List the keys; the passphrases themselves are stored nowhere."""
    repository = engine.repository()
    keys = repository.key_files()
    rows = [
        ["*" if key_id == repository.key_id else " ", key_id[:8], key.username, key.hostname, key.created[:19]]
        for key_id, key in keys.items()
    ]
    engine.output.result(
        [
            {
                "id": key_id,
                "current": key_id == repository.key_id,
                "username": key.username,
                "hostname": key.hostname,
                "created": key.created,
            }
            for key_id, key in keys.items()
        ],
        table(["", "ID", "User", "Host", "Created (UTC)"], rows),
    )


@command(key_app, Engine)
def add(
    engine: Engine,
    new_password_file: Annotated[Path, typer.Option("--new-password-file", help="File with the new passphrase.")],
) -> None:
    """Let one more passphrase open the repository."""
    from edurise_backup.operations.engine import read_passphrase

    key_id = engine.repository().add_key(read_passphrase(new_password_file))
    engine.output.result({"id": key_id}, f"added key {key_id[:8]}")


@command(key_app, Engine)
def remove(engine: Engine, key: Annotated[str, typer.Argument(help="The id of a key, or its beginning.")]) -> None:
    """Take a passphrase away; the master key stays as it is."""
    key_id = engine.repository().remove_key(key)
    engine.output.result({"id": key_id}, f"removed key {key_id[:8]}")
