"""Run PostgreSQL's server programs as a user without privileges.

The server refuses to run as root. As root we start it under a user that
exists already. That user may be unable to reach our folders (a checkout in
root's home): a data directory is then handed over as an open descriptor, and
the programs are copied once to a place that everybody can read and only root
can write.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from edurise_backup.errors import ConfigError, ToolError
from edurise_backup.postgres.tools import ServerBinaries, embedded_root

PROGRAM_CACHE = Path("/var/cache/edurise-backup")
_CANDIDATES = ("postgres", "nobody")
_NOT_NEEDED = ("include", "pkgconfig")
_ran: set[tuple[Path, Account]] = set()
"""Where this process has seen a server's program run, as whom."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a server runs as."""

    uid: int
    gid: int
    switch: bool
    """Whether we run as root and change to it for the server."""

    @property
    def owner(self) -> tuple[int, int] | None:
        """To whom files are given that we make for the server; None where they are his already."""
        return (self.uid, self.gid) if self.switch else None


class Identity(TypedDict, total=False):
    """The arguments of `subprocess.Popen` that change the user."""

    user: int
    group: int
    extra_groups: list[int]


def identity(account: Account) -> Identity:
    """Return how a child is started as the account."""
    if not account.switch:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def server_account(data_directory: Path) -> Account:
    """Return who runs the server: ourselves, or as root the directory's owner, `postgres` or `nobody`.

    Raises ConfigError when the directory belongs to somebody else.
    """
    owner = data_directory.stat() if data_directory.is_dir() else None
    if os.geteuid() != 0:
        if owner and owner.st_uid != os.geteuid():
            raise ConfigError(
                f"the data directory {data_directory} belongs to another user (id {owner.st_uid})",
                hint="run as that user, or choose another directory",
            )
        return Account(os.geteuid(), os.getegid(), switch=False)
    if owner and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid, switch=True)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, switch=True)
    raise ConfigError(
        "PostgreSQL does not run as root, and there is no user `postgres` or `nobody`",
        hint="run as an ordinary user",
    )


def reachable(binaries: ServerBinaries, account: Account, *, cache: Path = PROGRAM_CACHE) -> ServerBinaries:
    """Return programs that the account can run: these, or a copy of them below `cache`.

    Raises ConfigError when they cannot be reached and are not ours to copy.
    """
    if not account.switch or _runs(binaries.bindir, account):
        return binaries
    if not binaries.embedded:
        raise ConfigError(
            f"user id {account.uid} cannot run the programs in {binaries.bindir}",
            hint="make the folder readable for it, or choose another one",
        )
    folders = embedded_root(binaries)
    top = Path(os.path.commonpath([folder.parent for folder in folders]))
    digest = _digest(top, folders)
    copy = cache / f"postgresql-{binaries.version}-{digest[:16]}"
    if not copy.is_dir():
        _copy_programs(top, folders, copy)
    _refuse_foreign(copy)
    found = replace(binaries, bindir=copy / binaries.bindir.relative_to(top))
    if not _runs(found.bindir, account):
        raise ToolError(f"the copied server programs in {found.bindir} do not run")
    return found


def _runs(bindir: Path, account: Account) -> bool:
    if (bindir, account) in _ran:
        return True
    try:
        answer = subprocess.run(
            [bindir / "postgres", "--version"],
            capture_output=True,
            cwd="/",
            env={"LC_ALL": "C"},
            timeout=30,
            check=False,
            **identity(account),
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    if answer.returncode == 0:
        _ran.add((bindir, account))
    return answer.returncode == 0


def _program_files(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            wanted = not set(_NOT_NEEDED) & set(path.relative_to(folder).parts) and path.suffix != ".a"
            if wanted and path.is_file():
                yield path


def _digest(top: Path, folders: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in _program_files(folders):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(top)}\0{content}\0".encode())
    return digest.hexdigest()


def _copy_programs(top: Path, folders: list[Path], copy: Path) -> None:
    """Copy completely, then rename: a copy that exists is whole."""
    copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _refuse_foreign(copy.parent)
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=copy.parent))
    try:
        unfinished.chmod(0o755)
        for path in _program_files(folders):
            target = unfinished / path.relative_to(top)
            _make_folders(unfinished, target.parent)
            shutil.copyfile(path, target)
            target.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        try:
            unfinished.rename(copy)
        except OSError:
            if not copy.is_dir():  # otherwise another process was quicker with the same content
                raise
    except OSError as error:
        raise ToolError(f"the server programs could not be copied to {copy}: {error.strerror}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _make_folders(base: Path, folder: Path) -> None:
    for part in [*reversed(folder.relative_to(base).parents), folder.relative_to(base)]:
        path = base / part
        if not path.is_dir():
            path.mkdir()
            path.chmod(0o755)  # whatever the umask is


def _refuse_foreign(folder: Path) -> None:
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & 0o022:
        raise ConfigError(
            f"{folder} is not a folder that only its owner, root, can write",
            hint="remove it; it is made again",
        )
