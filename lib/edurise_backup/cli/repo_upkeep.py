"""`edurise-backup repo forget | unlock | key …`: keep a repository small and open to its people."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from edurise_backup.cli.command import Engine, command
from edurise_backup.cli.output import size, table
from edurise_backup.cli.repo import HostOption, PathOption, TagOption, snapshot_filter


def add_commands(app: typer.Typer) -> None:
    """Put the commands beside those that write and read snapshots."""
    for function in (forget, unlock):
        command(app, Engine)(function)
    key_app = typer.Typer(no_args_is_help=True, help="The passphrases that open the repository.")
    command(key_app, Engine, "list")(list_keys)
    command(key_app, Engine)(add)
    command(key_app, Engine)(remove)
    app.add_typer(key_app, name="key")


def forget(
    engine: Engine,
    ids: Annotated[list[str] | None, typer.Argument(help="Snapshots to forget; none: by policy.")] = None,
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
    host: HostOption = None,
    path: PathOption = None,
    tag: TagOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would go.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Then remove data that nothing refers to.")] = False,
) -> None:
    """Drop snapshots by id or policy, grouped by host and paths; the filters say which ones a policy judges."""
    from edurise_backup.model.policy import RetentionPolicy
    from edurise_backup.operations.engine import choose_forgotten, locked
    from edurise_backup.operations.snapshots import parse_span

    policy = RetentionPolicy(
        keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly, tags=tuple(keep_tag or ())
    )
    within = parse_span(keep_within) if keep_within else None
    among = snapshot_filter(host, path, tag)
    repository = engine.repository()
    with engine.output.progress() as progress, locked(repository, exclusive=not dry_run) as lock:
        gone, kept = choose_forgotten(repository, ids or [], policy, within=within, among=among)
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


def unlock(
    engine: Engine,
    remove_all: Annotated[bool, typer.Option("--remove-all", help="Remove locks that are held, too.")] = False,
) -> None:
    """Remove the locks that nobody holds any more."""
    from edurise_backup.repository import locks

    box = engine.repository().box
    count = locks.remove_all(box) if remove_all else locks.remove_dead(box, now=datetime.now(UTC))
    engine.output.result({"removed": count}, f"{count} locks removed")


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


def add(
    engine: Engine,
    new_password_file: Annotated[Path, typer.Option("--new-password-file", help="File with the new passphrase.")],
) -> None:
    """Let one more passphrase open the repository."""
    from edurise_backup.operations.engine import read_passphrase

    key_id = engine.repository().add_key(read_passphrase(new_password_file))
    engine.output.result({"id": key_id}, f"added key {key_id[:8]}")


def remove(engine: Engine, key: Annotated[str, typer.Argument(help="The id of a key, or its beginning.")]) -> None:
    """Take a passphrase away; the master key stays as it is."""
    key_id = engine.repository().remove_key(key)
    engine.output.result({"id": key_id}, f"removed key {key_id[:8]}")
