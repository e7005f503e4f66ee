"""Change names below a directory that is in use, and nothing outside of it, whatever lies there.

Every directory is opened by its own name in the one above, without following
links. What is new is made under a temporary name and then renamed over the
old, so a name shows the old or the new at every moment, and other names of an
old file keep it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from edurise_backup.errors import BackupError, InputError, SpaceError
from edurise_backup.machine.linux import exchange, sync_file_system
from edurise_backup.recovery.delta.comparing import OPEN_FILE
from edurise_backup.recovery.delta.plan import DescribeStep, FolderStep, LinkStep, OtherStep
from edurise_backup.recovery.delta.temporary import aside_name, unfinished_name
from edurise_backup.recovery.extraction import make_special
from edurise_backup.recovery.folders import OPEN_FOLDER, Folders
from edurise_backup.recovery.metadata import FATAL, Metadata, closed
from edurise_backup.recovery.planning import Names

_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_SAFE = "the backup; each name shows the old or the new file, and what was completed stays"


class Overlay:
    """The directory; what could not be done to one name is in `failed`, and the work goes on.

    Directories in `foreign` keep their mode, also while something in them is changed.
    """

    def __init__(self, target: Path, *, foreign: Collection[Names]) -> None:
        self.metadata = Metadata()
        self.failed: dict[Names, str] = {}
        self.refused: set[Names] = set()
        """Links, fifos and devices that this user may not make."""
        self.touched: set[Names] = set()
        """Directories in which names were changed: their times are not what they were."""
        self.set_aside: list[tuple[Names, Names]] = []
        """(where it lies now, where it was) of what made way."""
        self._target = target
        self._foreign = {(), *foreign}
        self._root = -1
        self._folders = Folders(-1)

    def __enter__(self) -> Overlay:
        try:
            self._target.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._root = os.open(self._target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(
                f"{self._target}: {error.strerror}", hint="choose a directory that can be written"
            ) from error
        self._folders = Folders(self._root)
        return self

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
        held = self._folders.hold(names)
        try:
            yield held[0]
        finally:
            self._folders.let_go(held)

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
        """Return the bytes that this user may still write where a directory lies."""
        with self.folder(names) as descriptor:
            status = os.fstatvfs(descriptor)
        return status.f_bavail * status.f_frsize

    def sync(self, folders: Collection[Names]) -> None:
        """Make durable what was written to the file systems of these directories; raises BackupError."""
        for names in folders:
            try:
                with self.folder(names) as descriptor:
                    sync_file_system(descriptor)
            except OSError as error:
                raise self._fatal(error, names) from error

    def make_folder(self, step: FolderStep) -> None:
        """Make a directory, for its owner only until `finish_folder`."""
        with self.attempt(step.names), self.changing(step.names[:-1]) as above:
            if step.displaces:
                made = aside_name()
                os.mkdir(made, 0o700, dir_fd=above)
                self.put(step.names, made, displaces=True)
            else:
                os.mkdir(step.names[-1], 0o700, dir_fd=above)

    def finish_folder(self, step: FolderStep) -> None:
        """Give a directory its owner, mode, times and attributes, after everything in it is there."""
        with self.attempt(step.names), self.folder(step.names[:-1]) as above:
            descriptor = os.open(step.names[-1], OPEN_FOLDER, dir_fd=above)
            try:
                self.metadata.strip(descriptor, step.node, step.names)
                self.metadata.describe(descriptor, step.node, step.names, mind_owner=step.mind_owner)
            finally:
                os.close(descriptor)

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

    def link(self, step: LinkStep) -> None:
        """Make a further name of a file."""
        if step.to in self.failed:
            self.fail(step.names, f"is the same file as /{'/'.join(step.to)}")
            return
        made = _name(step)
        with (
            self.attempt(step.names),
            self.folder(step.to[:-1]) as source,
            self.changing(step.names[:-1]) as above,
            _removed_on_error(above, made),
        ):
            os.link(step.to[-1], made, src_dir_fd=source, dst_dir_fd=above, follow_symlinks=False)
            self.put(step.names, made, displaces=step.displaces)

    def make_other(self, step: OtherStep) -> None:
        """Make a symbolic link, fifo or device; what this user may not make is a problem."""
        path = "/".join(step.names)
        with self.attempt(step.names), self.changing(step.names[:-1]) as above:
            made = _name(step)
            try:
                make_special(above, made, step.node)
            except OSError as error:
                self.metadata.tell_refusal(error, f"{path}: {step.node.type}")
                self.refused.add(step.names)
                return
            with _removed_on_error(above, made):
                self.metadata.strip(closed(above, made), step.node, step.names)
                self.metadata.describe_other(above, made, step.node, step.names)
                self.put(step.names, made, displaces=step.displaces)

    def describe(self, step: DescribeStep) -> None:
        """Describe something in its place, unless it has changed since it was compared."""
        with self.attempt(step.names), self.folder(step.names[:-1]) as above:
            name = step.names[-1]
            if stat.S_ISREG(step.status.st_mode):
                descriptor = os.open(name, OPEN_FILE, dir_fd=above)
                try:
                    if not _is_still(os.fstat(descriptor), step.status):
                        raise OSError(errno.EBUSY, "it changed meanwhile")
                    if not step.status.st_mode & stat.S_IWUSR:  # attributes are given to what may be written
                        os.fchmod(descriptor, stat.S_IMODE(step.status.st_mode) | stat.S_IWUSR)
                    self.metadata.strip(descriptor, step.node, step.names)
                    self.metadata.describe(descriptor, step.node, step.names)
                finally:
                    os.close(descriptor)
            else:
                if not _is_still(os.stat(name, dir_fd=above, follow_symlinks=False), step.status):
                    raise OSError(errno.EBUSY, "it changed meanwhile")
                self.metadata.strip(closed(above, name), step.node, step.names)
                self.metadata.describe_other(above, name, step.node, step.names)

    def remove(self, names: Names, *, folder: bool) -> bool:
        """Remove a name, a directory only when it is empty; say whether it is gone by this."""
        try:
            with self.changing(names[:-1]) as above:
                if folder:
                    os.rmdir(names[-1], dir_fd=above)
                else:
                    os.unlink(names[-1], dir_fd=above)
        except FileNotFoundError:
            return False
        except OSError as error:
            self.metadata.tell_refusal(error, f"{'/'.join(names)}: cannot be removed")
            return False
        return True

    def _fatal(self, error: OSError, names: Names) -> BackupError:
        path = "/".join(names)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return SpaceError(
                f"no room left in {self._target} while writing {path}",
                safe=_SAFE,
                hint="free space, and run the same command again: what is done is not done twice",
            )
        return BackupError(f"{self._target}/{path}: {error.strerror}", safe=_SAFE, hint="run the same command again")


def _name(step: LinkStep | OtherStep) -> str:
    return aside_name() if step.displaces else unfinished_name()


@contextmanager
def _removed_on_error(above: int, made: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):
            os.unlink(made, dir_fd=above)
        raise


def _let_in(folder: int) -> None:
    """Let the owner of a directory change names in it; its mode is set in the end."""
    if not os.access(f"/proc/self/fd/{folder}", os.W_OK | os.X_OK, effective_ids=True):
        os.fchmod(folder, stat.S_IMODE(os.fstat(folder).st_mode) | stat.S_IRWXU)


def _is_still(now: os.stat_result, before: os.stat_result) -> bool:
    return (now.st_dev, now.st_ino, now.st_mode, now.st_size, now.st_mtime_ns, now.st_ctime_ns) == (
        before.st_dev,
        before.st_ino,
        before.st_mode,
        before.st_size,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


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
