"""A directory that is in use, in which names are changed, and nothing outside of it, whatever lies there.

Every directory is opened by its own name in the one above, without following
links. What is new is made under a temporary name and then renamed over the
old, so a name shows the old or the new at every moment, and other names of an
old file keep it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from edurise_backup.errors import BackupError, ConflictError, InputError, SpaceError
from edurise_backup.machine.linux import exchange, sync_file_system
from edurise_backup.recovery.delta.temporary import aside_name
from edurise_backup.recovery.folders import Folders
from edurise_backup.recovery.metadata import FATAL, Metadata
from edurise_backup.recovery.planning import Names

_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_SAFE = "the backup; each name shows the old or the new file, and what was completed stays"


class Target:
    """The directory; what could not be done to one name is in `failed`, and the work goes on.

    Directories in `foreign` keep their mode, also while something in them is changed.
    """

    def __init__(self, path: Path, *, foreign: Collection[Names]) -> None:
        self.metadata = Metadata()
        self.failed: dict[Names, str] = {}
        self.refused: set[Names] = set()
        """Links, fifos and devices that this user may not make."""
        self.touched: set[Names] = set()
        """Directories in which names were changed: their times are not what they were."""
        self.set_aside: list[tuple[Names, Names]] = []
        """(where it lies now, where it was) of what made way."""
        self._path = path
        self._foreign = {(), *foreign}
        self._root = -1
        self._folders = Folders(-1)

    def __enter__(self) -> Target:
        try:
            self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._root = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(
                f"{self._path}: {error.strerror}", hint="choose a directory that can be written"
            ) from error
        self._refuse_company()
        self._folders = Folders(self._root)
        return self

    def _refuse_company(self) -> None:
        """Raise ConflictError when another restore works here: it would take our temporary files for remains."""
        try:
            fcntl.flock(self._root, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._root)
            raise ConflictError(
                f"another restore is at work in {self._path}", safe="nothing was changed", hint="let it finish"
            ) from error
        except OSError:  # a file system without locks
            return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folders.close()
        os.close(self._root)

    def fail(self, names: Names, why: str) -> None:
        """Note that a name stays as it is; the first reason counts."""
        self.failed.setdefault(names, why)

    @contextmanager
    def attempt(self, names: Names) -> Iterator[None]:
        """Note what goes wrong with one name; raises what everything else would meet, too."""
        try:
            yield
        except OSError as error:
            if error.errno in FATAL:
                raise self._fatal(error, names) from error
            self.fail(names, error.strerror or str(error))
        except (ValueError, OverflowError) as error:  # a time that is none, a link to a NUL
            self.fail(names, f"is described impossibly: {error}")

    @contextmanager
    def folder(self, names: Names) -> Iterator[int]:
        """Give the descriptor of a directory; raises OSError."""
        with self._folders.opened(names) as descriptor:
            yield descriptor

    @contextmanager
    def changing(self, names: Names) -> Iterator[int]:
        """Give the descriptor of a directory in which names are changed: its owner may do that from now on."""
        with self.folder(names) as descriptor:
            if names not in self.touched:
                if names not in self._foreign:
                    _let_in(descriptor)
                self.touched.add(names)
            yield descriptor

    def free_bytes(self, names: Names) -> int:
        """Return the bytes that this user may still write where a directory lies; raises BackupError."""
        try:
            with self.folder(names) as descriptor:
                status = os.fstatvfs(descriptor)
        except OSError as error:
            raise self._fatal(error, names) from error
        return status.f_bavail * status.f_frsize

    def sync(self, folders: Collection[Names]) -> None:
        """Make durable what was written to the file systems of these directories; raises BackupError."""
        for names in folders:
            try:
                with self.folder(names) as descriptor:
                    sync_file_system(descriptor)
            except OSError as error:
                raise self._fatal(error, names) from error

    def put(self, names: Names, made: str, *, displaces: bool) -> None:
        """Give what was made beside a name that name; raises OSError.

        A directory that makes way, or makes something else make way, changes
        places with it: the old is then under another name, to be removed in the end.
        """
        with self.changing(names[:-1]) as above:
            if displaces:
                aside = _swap(made, names[-1], above)
                self.set_aside.append(((*names[:-1], aside), names))
            else:
                os.rename(made, names[-1], src_dir_fd=above, dst_dir_fd=above)

    def _fatal(self, error: OSError, names: Names) -> BackupError:
        path = "/".join(names)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return SpaceError(
                f"no room left in {self._path} while writing {path}",
                safe=_SAFE,
                hint="free space, and run the same command again: what is done is not done twice",
            )
        return BackupError(f"{self._path}/{path}: {error.strerror}", safe=_SAFE, hint="run the same command again")


def _let_in(folder: int) -> None:
    """Let the owner of a directory change names in it; its mode is set in the end."""
    if not os.access(f"/proc/self/fd/{folder}", os.W_OK | os.X_OK, effective_ids=True):
        os.fchmod(folder, stat.S_IMODE(os.fstat(folder).st_mode) | stat.S_IRWXU)


def _swap(made: str, name: str, above: int) -> str:
    """Give `made` the name of what lies there, and return the name that the old has now; raises OSError."""
    try:
        exchange(made, name, folder=above)
    except OSError as error:
        if error.errno not in _NO_EXCHANGE:
            raise
    else:
        return made
    aside = aside_name()
    os.rename(name, aside, src_dir_fd=above, dst_dir_fd=above)
    try:
        os.rename(made, name, src_dir_fd=above, dst_dir_fd=above)
    except OSError:
        os.rename(aside, name, src_dir_fd=above, dst_dir_fd=above)
        raise
    return aside
