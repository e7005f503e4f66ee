"""A password from a file or a terminal, never from the command's own words: those everybody sees."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edurise_backup.errors import InputError
from edurise_backup.model.database import Secret

PasswordFile = Annotated[
    Path | None, typer.Option("--password-file", help="File that holds the password alone; without it you are asked.")
]


def from_file(path: Path) -> Secret:
    """Return the password that a file holds; raises InputError."""
    from edurise_backup.operations.secrets import known, read_secret_file

    return known(read_secret_file(path, "--password-file"))


def from_file_or_terminal(path: Path | None, whose: str, *, twice: bool = False) -> Secret:
    """Return the password of the file, else ask for it; raises InputError where nobody could answer."""
    if path is not None:
        return from_file(path)
    if not sys.stdin.isatty():
        raise InputError(
            f"the password of {whose} is needed, and nobody can be asked here",
            safe="nothing was changed",
            hint="name a file that holds it",
        )
    typed: str = typer.prompt(f"Password of {whose}", hide_input=True, confirmation_prompt=twice, err=True)
    return Secret(typed)
