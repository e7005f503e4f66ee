"""Commands that a person has run before and after files are read, for instance to take a file system's snapshot."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import BinaryIO

from edurise_backup.errors import BackupError, ToolError
from edurise_backup.machine.environment import without_secrets
from edurise_backup.model.words import span
from edurise_backup.ports import Progress

PRE_PATIENCE = timedelta(hours=1)
POST_PATIENCE = timedelta(minutes=10)
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 5
_LAST_WORDS = 4096  # bytes of a hook's standard error that are looked at
_SAFE = "what was published before it stays whole"
_HINT = "run the command by hand as this user"


@contextmanager
def hooked(
    pre: Sequence[str],
    post: Sequence[str],
    *,
    source: str,
    progress: Progress,
    warn: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run `pre` before the block and `post` after it, also when the block or `pre` failed.

    `environment` is all that they see of ours. A request to stop ends `pre`;
    `post` gives back what `pre` took, so it runs to its end. Raises ToolError
    when `pre` fails; a `post` that fails is a warning, or is added to what to do
    about the block's own error.
    """
    after = partial(run_hook, post, f"post_hook of {source}", patience=POST_PATIENCE, environment=environment)
    try:
        run_hook(
            pre,
            f"pre_hook of {source}",
            patience=PRE_PATIENCE,
            keep_on=progress.raise_if_cancelled,
            environment=environment,
        )
        yield
    except BaseException as error:
        with _added_to(error):
            after()
        raise
    try:
        after()
    except ToolError as error:
        warn(f"{error.message} (the snapshot of {source} is published and whole)")


@contextmanager
def _added_to(first: BaseException) -> Iterator[None]:
    try:
        yield
    except ToolError as error:
        if isinstance(first, BackupError):
            first.hint = "; ".join(filter(None, [first.hint, f"look at the hook, too: {error.message}"]))


def run_hook(
    command: Sequence[str],
    name: str,
    *,
    patience: timedelta,
    keep_on: Callable[[], None] = lambda: None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command to its end; `keep_on` is called now and then, and may raise to stop it.

    Without an `environment` it sees ours, without what opens anything.

    Raises ToolError when it cannot be run, ends with another status than 0, or
    takes longer than `patience`. Whatever stops it stops its whole process group.
    """
    if not command:
        return
    # a file, not a pipe: what the hook leaves running in the background would hold a pipe open
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                process_group=0,
                env=without_secrets(os.environ) if environment is None else dict(environment),
            )
        except OSError as error:
            raise ToolError(
                f"the {name} did not run: {error.strerror}", safe=_SAFE, hint="check the command in the configuration"
            ) from error
        try:
            status = _wait(process, name, patience, keep_on)
        except BaseException:
            _stop(process)
            raise
        if status:
            raise ToolError(f"the {name} ended with status {status}: {_last_line(said)}", safe=_SAFE, hint=_HINT)


def _wait(process: subprocess.Popen[bytes], name: str, patience: timedelta, keep_on: Callable[[], None]) -> int:
    end = time.monotonic() + patience.total_seconds()
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_POLL_SECONDS)
        keep_on()
        if time.monotonic() > end:
            raise ToolError(f"the {name} did not end within {span(patience)}, and was stopped", safe=_SAFE, hint=_HINT)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
            return


def _last_line(said: BinaryIO) -> str:
    said.seek(max(0, said.seek(0, os.SEEK_END) - _LAST_WORDS))
    lines = said.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
