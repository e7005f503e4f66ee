"""Put the commands together and run one."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from edurise_backup import __version__
from edurise_backup.cli import (
    jobs,
    maintenance,
    repo,
    repo_browse,
    repo_check,
    repo_probe,
    repo_prune,
    repo_restore,
    repo_upkeep,
    upkeep,
)

_M_MMAP_THRESHOLD = -3
"""mallopt(3)"""

app = typer.Typer(
    name="edurise-backup",
    no_args_is_help=True,
    help="Backs up the EduRise platform, proves that it can be restored, and restores it.",
    pretty_exceptions_enable=False,  # a traceback with local variables could show a secret
    add_completion=False,
)
jobs.add_commands(app)
maintenance.add_commands(app)
upkeep.add_commands(app)
repo_restore.add_commands(repo.app)
repo_upkeep.add_commands(repo.app)
repo_browse.add_commands(repo.app)
repo_check.add_commands(repo.app)
repo_prune.add_commands(repo.app)
repo_probe.add_commands(repo.app)
app.add_typer(repo.app, name="repo")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edurise-backup {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Back up, prove, restore."""


def run() -> NoReturn:
    """Run the command line, and end the process without taking everything apart: the system is quicker at that."""
    _give_memory_back()
    gc.set_threshold(50_000, 20, 50)  # trees and indexes are many objects, and none of them go in circles
    status = 1
    try:
        app()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:  # noqa: BLE001  what the interpreter would do with it
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def _give_memory_back() -> None:
    """Have glibc return large buffers to the system at once: blobs come and go by the megabyte.

    Left alone it learns to keep them; a backup's peak was a quarter higher then.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 256 * 1024)
