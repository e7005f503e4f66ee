"""`edurise-backup repo unlock | key …`: keep a repository open to its people."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from edurise_backup.cli.command import Engine, command
from edurise_backup.cli.output import table


def add_commands(app: typer.Typer) -> None:
    """Put the commands beside those that write and read snapshots."""
    command(app, Engine)(unlock)
    key_app = typer.Typer(no_args_is_help=True, help="The passphrases that open the repository.")
    command(key_app, Engine, "list")(list_keys)
    command(key_app, Engine)(add)
    command(key_app, Engine)(remove)
    app.add_typer(key_app, name="key")


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
    from edurise_backup.operations.secrets import known, read_secret_file

    new = known(read_secret_file(new_password_file, "--new-password-file"))
    key_id = engine.repository().add_key(new.reveal())
    engine.output.result({"id": key_id}, f"added key {key_id[:8]}")


def remove(engine: Engine, key: Annotated[str, typer.Argument(help="The id of a key, or its beginning.")]) -> None:
    """Take a passphrase away; the master key stays as it is."""
    key_id = engine.repository().remove_key(key)
    engine.output.result({"id": key_id}, f"removed key {key_id[:8]}")
