"""`edurise-backup key list | add | remove | rotate | recovery-drill`: the repository's passphrases, audited."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import table
from edurise_backup.errors import InputError

if TYPE_CHECKING:
    from datetime import timedelta

    from edurise_backup.model.database import Secret
    from edurise_backup.operations.keys import Key

NewFile = Annotated[
    Path | None, typer.Option("--new-password-file", help="File with the new passphrase; else it is asked for.")
]
NewCommand = Annotated[
    str, typer.Option("--new-password-command", help="Command that prints the new passphrase; no shell.")
]
NameOption = Annotated[str, typer.Option("--name", help="What the key is called in lists; else who makes it.")]


def add_commands(app: typer.Typer) -> None:
    """Put the commands below `key`."""
    key_app = typer.Typer(no_args_is_help=True, help="The passphrases of the repository; each change is audited.")
    command(key_app, Product, "list")(list_keys)
    command(key_app, Product)(add)
    command(key_app, Product)(remove)
    command(key_app, Product)(rotate)
    command(key_app, Product)(recovery_drill)
    app.add_typer(key_app, name="key")


def list_keys(product: Product) -> None:
    """List the keys by name and age, the oldest first; `*` is the one that the configuration opens."""
    from edurise_backup.operations.keys import list_keys

    found = list_keys(product.settings())
    rows = [["*" if key.current else " ", key.id[:8], key.name, key.host, _age(key.age), key.trouble] for key in found]
    product.output.result([_as_data(key) for key in found], table(["", "ID", "Name", "Host", "Age", "Trouble"], rows))


def add(
    product: Product,
    new_password_file: NewFile = None,
    new_password_command: NewCommand = "",
    name: NameOption = "",
    recovery: Annotated[
        bool, typer.Option("--recovery", help="Make and print one more recovery key instead of taking a passphrase.")
    ] = False,
) -> None:
    """Let one more passphrase open the repository; it is opened with it before success is reported."""
    from edurise_backup.operations.keys import add_key, add_recovery_key
    from edurise_backup.operations.people import local_actor

    if recovery:
        if new_password_file or new_password_command or name:
            raise InputError("--recovery makes its own passphrase and name", hint="leave the other options out")
        key, text = add_recovery_key(product.settings(), actor=local_actor())
        shown = f"recovery key {text}\nPrint it and keep it elsewhere: it is shown once (key {key.id[:8]})"
        product.output.result(_as_data(key) | {"recovery_key": text}, shown, even_quiet=shown)
        return
    key = add_key(product.settings(), _new(new_password_file, new_password_command), actor=local_actor(), name=name)
    product.output.result(_as_data(key), f"added key {key.id[:8]} ({key.name}); it opens the repository")


def remove(
    product: Product,
    key: Annotated[str, typer.Argument(help="The id of a key, or its beginning.")],
    current: Annotated[
        bool, typer.Option("--current", help="Also when the configured passphrase opens it: change that first.")
    ] = False,
) -> None:
    """Take a passphrase away; never the last one. Whoever has copied the master key keeps it."""
    from edurise_backup.operations.keys import remove_key
    from edurise_backup.operations.people import local_actor

    gone = remove_key(product.settings(), key, actor=local_actor(), current=current)
    text = f"removed key {gone.key_id[:8]} ({gone.name}); {gone.left} left"
    product.output.result({"id": gone.key_id, "name": gone.name, "left": gone.left}, text)


def rotate(
    product: Product,
    new_password_file: NewFile = None,
    new_password_command: NewCommand = "",
    name: NameOption = "",
) -> int:
    """Replace the configured passphrase; exit status 3 when a person must put the new one in place first."""
    from edurise_backup.operations.key_rotation import rotate_key
    from edurise_backup.operations.people import local_actor

    new = _new(new_password_file, new_password_command)
    done = rotate_key(product.settings(), new, actor=local_actor(), name=name)
    if done.removed:
        text = f"key {done.new_id[:8]} took the place of {done.old_id[:8]}, which is gone"
    else:
        text = f"added key {done.new_id[:8]}; {done.old_id[:8]} is still there\nTo do: {done.to_do}"
    product.output.result(done, text, even_quiet="" if done.removed else text)
    return 0 if done.removed else 3


def recovery_drill(
    product: Product,
    recovery_key_file: Annotated[
        Path | None, typer.Option("--recovery-key-file", help="File with the recovery key; else it is asked for.")
    ] = None,
) -> None:
    """Prove that the printed recovery key opens the repository, and record the date; quarterly, says `doctor`."""
    from edurise_backup.operations.keys import drill_recovery_key
    from edurise_backup.operations.people import local_actor
    from edurise_backup.operations.secrets import known, read_secret_file

    settings = product.settings()
    if recovery_key_file is not None:
        typed = known(read_secret_file(recovery_key_file, "--recovery-key-file"))
    else:
        typed = _asked("Recovery key, as it was printed: ", option="--recovery-key-file FILE")
    done = drill_recovery_key(settings, typed, actor=local_actor())
    newest = f", the newest of {done.newest:%Y-%m-%d %H:%M} UTC" if done.newest else ""
    text = f"the recovery key opens the repository (key {done.key_id[:8]}): {done.snapshots} snapshots{newest}"
    product.output.result(done, text)


def _new(file: Path | None, words: str) -> Secret:
    """Return the new passphrase from a file, a command, or, at a terminal, from whoever sits there."""
    from edurise_backup.model.secrets import SecretPlace, split_command
    from edurise_backup.operations.secrets import read_secret

    if file is not None and words:
        raise InputError("a file and a command are given", safe="nothing was changed", hint="use one of the two")
    if file is not None or words:
        command_words = split_command(words, "--new-password-command")
        return read_secret(SecretPlace("the new passphrase", file=str(file or ""), command=command_words))
    first = _asked("New passphrase: ", option="--new-password-file FILE")
    if _asked("The same again: ", option="--new-password-file FILE") != first:
        raise InputError("the two differ", safe="nothing was changed", hint="try again")
    return first


def _asked(prompt: str, *, option: str) -> Secret:
    """Ask at the terminal, without showing what is typed; raises InputError when nobody is there."""
    import getpass

    from edurise_backup.operations.secrets import known

    if not sys.stdin.isatty():
        raise InputError("nobody is there to be asked", safe="nothing was changed", hint=f"use {option}")
    try:
        typed = getpass.getpass(prompt).strip()
    except (EOFError, OSError):
        typed = ""
    if not typed:
        raise InputError("nothing was typed", safe="nothing was changed", hint=f"try again, or use {option}")
    return known(typed)


def _as_data(key: Key) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "host": key.host,
        "created_at": key.created_at,
        "age_days": None if key.age is None else key.age.days,
        "current": key.current,
        "recovery": key.recovery,
        "trouble": key.trouble,
    }


def _age(age: timedelta | None) -> str:
    if age is None:
        return "unknown"
    return f"{age.days} days" if age.days else f"{int(age.total_seconds()) // 3600} h"
