"""Write files below one directory and nowhere else, whatever a snapshot's names say.

Every directory is opened by its own name in the one above, without following
links; files are created, never opened over something; links are made last.
So no symbolic link, of the snapshot or of another user, leads out of the target.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edurise_backup.errors import BackupError, ConflictError, DamageError, InputError, SpaceError
from edurise_backup.machine.direct import write_at
from edurise_backup.machine.linux import allocate, sync_file_system
from edurise_backup.model.content import Node, unix_permissions
from edurise_backup.ports import Buffer
from edurise_backup.recovery.folders import OPEN_FOLDER, Folders
from edurise_backup.recovery.metadata import Metadata, Troubles
from edurise_backup.recovery.planning import Names

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HOLE = 4096
_ZEROS = bytes(4 * 1024 * 1024)


class Extraction:
    """The directory that a restore writes to; `problems` collects what could not be applied."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._root = self._beside = -1
        self._folders = Folders(-1)
        self._metadata = Metadata()

    def open(self) -> None:
        """Open the directory, which may be in use by the restore that this is a part of."""
        try:
            self._target.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._root = os.open(self._target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._beside = os.open(self._target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._folders = Folders(self._root)
        except OSError as error:
            raise InputError(
                f"{self._target}: {error.strerror}", hint="choose a directory that can be written"
            ) from error

    def __enter__(self) -> Extraction:
        self.open()
        if os.listdir(self._root):
            os.close(self._root)
            os.close(self._beside)
            raise ConflictError(
                f"{self._target} is not empty",
                safe="nothing was written",
                hint="restore into a new or empty directory; `repo restore --overwrite` goes onto what is there",
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directory."""
        self._folders.close()
        os.close(self._root)
        os.close(self._beside)

    @property
    def problems(self) -> list[str]:
        """What could not be restored as it was, a sentence each."""
        return self._metadata.problems

    def hand_over(self) -> Troubles:
        """Return the problems since the last time, to be told by somebody else, and forget them here."""
        return self._metadata.hand_over()

    def take_over(self, troubles: Troubles) -> None:
        """Tell another one's problems."""
        self._metadata.take_over(troubles)

    def free_bytes(self) -> int:
        """Return the bytes that this user may still write here."""
        status = os.fstatvfs(self._root)
        return status.f_bavail * status.f_frsize

    def sync(self) -> None:
        """Make everything that was written here durable: what was proved must survive a power cut.

        Raises BackupError also for what the system failed to write at any time since the directory was opened.
        """
        self._sync(self._root)

    def sync_beside(self) -> None:
        """Begin to make durable what was written so far; raises BackupError.

        The system tells of a failed write once for each descriptor, so this has one of its own.
        """
        self._sync(self._beside)

    def _sync(self, descriptor: int) -> None:
        try:
            sync_file_system(descriptor)
        except OSError as error:
            raise BackupError(f"{self._target}: {error.strerror}", safe="the backup", hint="restore again") from error

    def make_folder(self, names: Names) -> None:
        """Make a directory, for its owner only until `finish_folder`."""
        with self._translated(names), self._folder(names[:-1]) as above:
            os.mkdir(names[-1], 0o700, dir_fd=above)

    def finish_folder(self, names: Names, node: Node, *, mind_owner: bool = True) -> None:
        """Give a directory its owner, mode and times, after everything in it is there."""
        with self._translated(names), self._folder(names[:-1]) as above:
            descriptor = os.open(names[-1], OPEN_FOLDER, dir_fd=above)
            try:
                self._metadata.describe(descriptor, node, names, mind_owner=mind_owner)
            finally:
                os.close(descriptor)

    def create_file(self, names: Names, size: int, *, dense: bool = False) -> None:
        """Create a file of `size` zero bytes.

        `dense`: with its room, so that several can write to it at once: where there
        is none yet, ext4 lets one direct write after another in. Else it takes none.
        """
        with self._translated(names), self._open_new(names) as descriptor:
            if not (dense and allocate(descriptor, size)):
                os.ftruncate(descriptor, size)

    def write_whole(self, names: Names, data: Buffer, node: Node) -> None:
        """Create a file from its only piece."""
        try:  # spelled out: this is done for every small file
            held = self._folders.hold(names[:-1])
            try:
                descriptor = os.open(names[-1], _NEW, 0o600, dir_fd=held[0])
                try:
                    if len(data) > _HOLE and is_zeros(data):
                        os.ftruncate(descriptor, len(data))
                    else:
                        write_at(descriptor, memoryview(data), 0)
                    self._metadata.describe(descriptor, node, names)
                finally:
                    os.close(descriptor)
            finally:
                self._folders.let_go(held)
        except (OSError, ValueError, OverflowError) as error:
            raise self._translation(error, names) from error

    def write_piece(self, names: Names, data: Buffer, offset: int) -> None:
        """Write one piece of a created file; zeros stay a hole."""
        if is_zeros(data):
            return
        with self._translated(names), self._open_made(names) as descriptor:
            write_at(descriptor, memoryview(data), offset)

    def finish_file(self, names: Names, node: Node) -> None:
        """Give a file its owner, mode and times, after its last piece."""
        with self._translated(names), self._open_made(names) as descriptor:
            self._metadata.describe(descriptor, node, names)

    def link(self, names: Names, to: Names) -> None:
        """Make `names` a further name of the file `to`."""
        with self._translated(names), self._folder(to[:-1]) as source, self._folder(names[:-1]) as above:
            os.link(to[-1], names[-1], src_dir_fd=source, dst_dir_fd=above, follow_symlinks=False)

    def make_other(self, names: Names, node: Node) -> None:
        """Make a symbolic link, fifo or device; what this user may not make is a problem."""
        path = "/".join(names)
        with self._translated(names), self._folder(names[:-1]) as above:
            try:
                made = make_special(above, names[-1], node)
            except OSError as error:
                self._metadata.tell_refusal(error, f"{path}: {node.type}")
                return
            if made:
                self._metadata.describe_other(above, names[-1], node, names)
            else:
                self._metadata.tell(f"{path}: a {node.type or 'nameless kind of file'} cannot be restored")

    @contextmanager
    def _open_new(self, names: Names) -> Iterator[int]:
        with self._folder(names[:-1]) as above:
            descriptor = os.open(names[-1], _NEW, 0o600, dir_fd=above)
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    @contextmanager
    def _open_made(self, names: Names) -> Iterator[int]:
        with self._folder(names[:-1]) as above:
            descriptor = os.open(names[-1], os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    @contextmanager
    def _folder(self, names: Names) -> Iterator[int]:
        """Give the descriptor of a directory below the target; recently used ones stay open."""
        with self._folders.opened(names) as descriptor:
            yield descriptor

    @contextmanager
    def _translated(self, names: Names) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, OverflowError) as error:
            raise self._translation(error, names) from error

    def _translation(self, error: OSError | ValueError | OverflowError, names: Names) -> BackupError:
        path = "/".join(names)
        if not isinstance(error, OSError):  # a time that is none, a link to a NUL: a hostile or broken tree
            return DamageError(f"/{path} is described impossibly: {error}", safe="the backup")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return SpaceError(
                f"no room left in {self._target} while writing {path}",
                safe="the backup; what was restored so far is incomplete",
                hint="free space, remove the incomplete directory, restore again",
            )
        return BackupError(f"{self._target}/{path}: {error.strerror}", safe="the backup")


def make_special(above: int, name: str, node: Node) -> bool:
    """Make a symbolic link, fifo or device in the directory `above`; False for a kind that nobody knows."""
    permissions = unix_permissions(node.mode)
    match node.type:
        case "symlink":
            os.symlink(link_target(node), os.fsencode(name), dir_fd=above)
        case "fifo":
            os.mkfifo(name, permissions, dir_fd=above)
        case "dev" | "chardev":
            kind = stat.S_IFBLK if node.type == "dev" else stat.S_IFCHR
            os.mknod(name, kind | permissions, node.device, dir_fd=above)
        case _:
            return False
    return True


def link_target(node: Node) -> bytes:
    """Return where a symbolic link leads, in the file system's bytes."""
    return node.linktarget_raw if node.linktarget_raw is not None else os.fsencode(node.linktarget)


def is_zeros(data: Buffer) -> bool:
    """Whether there is nothing but zeros: they stay a hole."""
    if not len(data) or data[0] or data[-1]:
        return False
    parts = (data[at : at + len(_ZEROS)] for at in range(0, len(data), len(_ZEROS)))
    return all(bytes(part) == _ZEROS[: len(part)] for part in parts)
