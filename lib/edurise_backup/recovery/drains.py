"""Where dumped bytes go: standard output, or a file that is there whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from edurise_backup.errors import BackupError, ConflictError, InputError, SpaceError


class Drain(Protocol):
    """Takes the bytes in order."""

    def write(self, data: bytes, /) -> int:
        """Write all of `data`; raises BackupError."""


class StandardOutput:
    """Standard output as a drain: nothing is kept back, so nothing is written after an error."""

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes, /) -> int:
        """Write all of `data`."""
        try:
            _write_all(self._descriptor, data)
        except OSError as error:
            raise BackupError(
                f"standard output cannot be written: {error.strerror}",
                safe="the backup; what was written so far is incomplete",
                hint="see the program or disk that takes the output, and dump again",
            ) from error
        return len(data)


class _File:
    def __init__(self, descriptor: int, target: Path) -> None:
        self._descriptor = descriptor
        self._target = target

    def write(self, data: bytes, /) -> int:
        try:
            _write_all(self._descriptor, data)
        except OSError as error:
            raise _translated(error, self._target) from error
        return len(data)


@contextmanager
def new_file(target: Path) -> Iterator[Drain]:
    """Give a drain into a file that gets its name, durable, when the block ends well, and vanishes otherwise.

    Nothing is written over: raises ConflictError when `target` exists.
    """
    if os.path.lexists(target):
        raise ConflictError(f"{target} exists already", safe="it was not changed", hint="choose another name")
    unfinished = target.with_name(f".{target.name[:200]}-unfinished-{secrets.token_hex(4)}")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"{target}: {error.strerror}", hint="choose a directory that can be written") from error
    try:
        try:
            yield _File(descriptor, target)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.link(unfinished, target)  # unlike rename, link never replaces
        _sync_folder(target.absolute().parent)
    except FileExistsError as error:
        raise ConflictError(f"{target} exists by now", safe="it was not changed", hint="dump again") from error
    except OSError as error:
        raise _translated(error, target) from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def _translated(error: OSError, target: Path) -> BackupError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpaceError(
            f"no room left while writing {target}", safe="the backup; no part of the file was left", hint="free space"
        )
    return BackupError(f"{target}: {error.strerror}", safe="the backup; no part of the file was left")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
