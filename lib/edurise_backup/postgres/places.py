"""Make a cluster's files, its log and its socket's folder, safely also as root.

As root we write into directories that an ordinary user owns: everything is
reached through descriptors, and no link is followed.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edurise_backup.errors import ConfigError, ToolError
from edurise_backup.model.database import Secret
from edurise_backup.postgres.privileges import Account, identity
from edurise_backup.postgres.tools import ServerBinaries

LOG = "server.log"
"""Of a server of ours, in its data directory."""
_LOG_LIMIT = 10_000_000


def run_initdb(
    directory: Path, *, binaries: ServerBinaries, account: Account, user: str, password: Secret, durable: bool
) -> None:
    """Make a cluster in the empty `directory`; raises ToolError.

    The directory and the password go over as descriptors: the account may be
    unable to reach the one, and nobody is to see the other.
    """
    with opened_directory(directory) as target, _in_memory(password.reveal()) as secret:
        answer = subprocess.run(
            [
                str(binaries.bindir / "initdb"),
                *(
                    f"--pgdata=/proc/self/fd/{target}",
                    f"--username={user}",
                    f"--pwfile=/proc/self/fd/{secret}",
                ),
                *("--auth=scram-sha-256", "--data-checksums", "--encoding=UTF8", "--locale=C.UTF-8"),
                *("--no-instructions", *(() if durable else ("--no-sync",))),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[target, secret],
            cwd="/",
            env=server_environment(),
            check=False,
            text=True,
            **identity(account),
        )
    if answer.returncode != 0:
        raise ToolError(f"initdb failed: {_last_lines(answer.stdout)}")


def server_environment() -> dict[str, str]:
    """Return the whole environment of a server program."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def socket_folder(data_directory: Path, account: Account) -> Path:
    """Return the folder of the server's socket; the same for every process that names the data directory."""
    # a socket's path must stay below 108 bytes, however deep the data directory lies
    digest = hashlib.sha256(f"{account.uid}:{data_directory.resolve()}".encode()).hexdigest()[:16]
    base = Path(tempfile.gettempdir())
    if len(bytes(base)) > 40:
        base = Path("/tmp")  # noqa: S108 (the folder is 0700 and its owner is checked)
    return base / f"edurise-{digest}"


def make_socket_folder(data_directory: Path, account: Account) -> Path:
    """Make the socket's folder, private to the account; raises ConfigError when somebody else's is there."""
    folder = socket_folder(data_directory, account)
    try:
        folder.mkdir(mode=0o700)
        if account.switch:
            os.chown(folder, account.uid, account.gid, follow_symlinks=False)
    except FileExistsError:
        state = folder.lstat()
        private = (state.st_uid, state.st_mode & 0o077) == (account.uid, 0)
        if folder.is_symlink() or not folder.is_dir() or not private:
            raise ConfigError(f"{folder} exists and is not the server's private folder", hint="remove it") from None
    return folder


@contextmanager
def opened_directory(path: Path) -> Iterator[int]:
    """Yield a descriptor of the directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_new(
    folder: int, name: str, content: bytes, owner: tuple[int, int] | None, *, mode: int = 0o600, durable: bool = False
) -> None:
    """Write a new file whole into the directory of a descriptor; raises OSError, FileExistsError among it."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]  # a disk that is nearly full takes a part
        if owner is not None:
            os.fchown(descriptor, *owner)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def opened_log(path: Path, account: Account) -> Iterator[int]:
    """Yield a descriptor of the server's log, for appending; a log that grew too long begins anew."""
    with opened_directory(path.parent) as folder:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        log = os.open(path.name, flags, 0o600, dir_fd=folder)
    try:
        if os.fstat(log).st_size > _LOG_LIMIT:
            os.ftruncate(log, 0)
        if account.switch:
            os.fchown(log, account.uid, account.gid)
        yield log
    finally:
        os.close(log)


def log_tail(path: Path) -> str:
    """Return the log's last lines as one, for an error message."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            return _last_lines(file.read().decode("utf-8", "replace"))
    except OSError as error:
        return f"its log cannot be read ({error.strerror})"


@contextmanager
def _in_memory(text: str) -> Iterator[int]:
    descriptor = os.memfd_create("password", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, text.encode() + b"\n")
        yield descriptor
    finally:
        os.close(descriptor)


def _last_lines(text: str, count: int = 5) -> str:
    return " | ".join(line.strip() for line in text.strip().splitlines()[-count:] if line.strip())
