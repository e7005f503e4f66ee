"""Put the commands together and run one."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from edurise_backup import __version__

_M_MMAP_THRESHOLD = -3
"""mallopt(3)"""


def application(words: Sequence[str]) -> typer.Typer:
    """Return the command line; where the words begin with a command, with what comes with it, and without all else."""
    from edurise_backup.cli import product

    app = typer.Typer(
        name="edurise-backup",
        no_args_is_help=True,
        help="Backs up the EduRise platform, proves that it can be restored, and restores it.",
        pretty_exceptions_enable=False,  # a traceback with local variables could show a secret
        add_completion=False,
    )
    app.callback()(options)
    first, second = (*words[:2], "", "")[:2]
    if product.has(first):
        product.add_commands(app, first)
        return app
    from edurise_backup.cli import engine  # `repo` comes with it

    if first == "repo":
        engine.add_commands(app, second if engine.has(second) else "")
        return app
    product.add_commands(app)
    engine.add_commands(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edurise-backup {__version__}")
        raise typer.Exit


def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    config: Annotated[str, typer.Option("--config", "-c", hidden=True)] = "",
) -> None:
    """Back up, prove, restore."""
    if config:  # people put it before the command, too
        os.environ["EDURISE_CONFIG"] = config


def run() -> NoReturn:
    """Run the command line, and end the process without taking everything apart: the system is quicker at that."""
    _give_memory_back()
    gc.set_threshold(50_000, 20, 50)  # trees and indexes are many objects, and none of them go in circles
    status = 1
    try:
        application(sys.argv[1:])()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException as error:  # noqa: BLE001  what the interpreter would do with it
        sys.stderr.write(_traceback(error))
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def _traceback(error: BaseException) -> str:
    """Return what the interpreter would print, without secrets that a foreign error may quote."""
    import traceback

    from edurise_backup.monitoring.redaction import REDACTOR

    return REDACTOR.clean("".join(traceback.format_exception(error)))


def _give_memory_back() -> None:
    """Have glibc return large buffers to the system at once: blobs come and go by the megabyte.

    Left alone it learns to keep them; a backup's peak was a quarter higher then.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 256 * 1024)
