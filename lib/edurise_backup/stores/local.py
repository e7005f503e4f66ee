"""A store in a directory of the local file system.

An object is written under an exclusive temporary name beside its place, made
durable, linked to its name (link never replaces), and the directory is made
durable, too. A crash leaves at most a temporary file, which readers ignore.
A failed fsync kills the object: the kernel may have dropped the dirty pages,
so a second fsync on the same descriptor would lie.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from edurise_backup.errors import (
    BackupError,
    ConflictError,
    DamageError,
    InputError,
    NotFoundError,
    SpaceError,
    TransientError,
    UnreachableError,
)
from edurise_backup.machine.direct import WORTH_IT, write_at
from edurise_backup.ports import Buffer

_TEMPORARY = "-tmp-"  # stock restic uses the same mark for its own unfinished objects
_IOV_MAX = 1024


class LocalStore:
    """Keeps objects as files below `root`; safe for any number of threads and processes."""

    def __init__(self, root: Path, *, create: bool = True) -> None:
        """`create` allows the root itself to be made: a disk that is not mounted must not be written around."""
        self._root = root.absolute()
        self._create = create
        self._known_folders: set[Path] = set()
        self._mounted = None if create else _identity(self._root)
        """Which directory it is; None: there was none yet."""

    @property
    def address(self) -> str:
        """The directory's absolute path."""
        return str(self._root)

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Create the object durably; raises ConflictError, SpaceError."""
        path = self._path(name)
        unfinished = path.with_name(f"{path.name}{_TEMPORARY}{secrets.token_hex(4)}")
        try:
            self._make_folder(path.parent)
            self._write(unfinished, pieces)
            try:
                os.link(unfinished, path)  # unlike rename, link never replaces
            finally:
                unfinished.unlink()
            self._sync_name(path)
        except FileExistsError as error:
            raise ConflictError(f"{name} exists already in {self.address}") from error
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise self._translated(error, name) from error

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the object, or exactly `length` bytes of it from `offset`."""
        try:
            descriptor = os.open(f"{self._root}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                wanted = os.fstat(descriptor).st_size - offset if length is None else length
                data = _read_exactly(descriptor, offset, wanted)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._translated(error, name) from error
        if len(data) != wanted:
            raise DamageError(f"{name} ends after {offset + len(data)} bytes, {offset + wanted} were expected")
        return data

    def size(self, name: str) -> int:
        """Return the object's size in bytes."""
        try:
            return self._path(name).stat().st_size
        except OSError as error:
            raise self._translated(error, name) from error

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield every object below `prefix`; unfinished ones are not objects."""
        try:
            yield from self._list(self._path(prefix), prefix)
        except OSError as error:
            raise self._translated(error, prefix) from error

    def _list(self, folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            if not self._root.is_dir() or self._gone():  # an unmounted disk must not look like an empty repository
                raise
            return
        for entry in entries:
            name = f"{prefix}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from self._list(folder / entry.name, name)
            elif _TEMPORARY not in entry.name:
                try:
                    yield name, entry.stat().st_size
                except FileNotFoundError:  # removed since the directory was read
                    continue

    def delete(self, name: str) -> None:
        """Remove the object durably."""
        path = self._path(name)
        try:
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                _sync_folder(path.parent)
        except OSError as error:
            raise self._translated(error, name) from error

    def _path(self, name: str) -> Path:
        return self._root / name

    def _make_folder(self, folder: Path) -> None:
        if folder in self._known_folders:
            return
        missing = []
        at = folder
        while not at.is_dir():
            if at == self._root and not self._create:
                raise FileNotFoundError(errno.ENOENT, "the directory of the repository is gone", str(at))
            missing.append(at)
            at = at.parent
        if missing and self._gone():
            raise FileNotFoundError(errno.ENOENT, "another directory lies there by now", str(self._root))
        for path in reversed(missing):
            try:
                path.mkdir(mode=0o700, exist_ok=True)
            except FileExistsError as error:
                raise NotADirectoryError(errno.ENOTDIR, "is not a directory", str(path)) from error
            _sync_folder(path.parent)
        self._known_folders.add(folder)

    def _write(self, path: Path, pieces: Sequence[Buffer]) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        try:
            if pieces and len(pieces[0]) >= WORTH_IT:
                first = memoryview(pieces[0]).cast("B")
                write_at(descriptor, first, 0)
                os.lseek(descriptor, len(first), os.SEEK_SET)
                pieces = pieces[1:]
            for start in range(0, len(pieces), _IOV_MAX):
                _write_all(descriptor, pieces[start : start + _IOV_MAX])
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _sync_name(self, path: Path) -> None:
        try:
            _sync_folder(path.parent)
        except OSError:
            path.unlink()  # its name may not survive a crash: whoever tries again must write and sync it anew
            raise

    def file_of(self, name: str) -> str | None:
        """Return the object's file."""
        return f"{self._root}/{name}"

    def sweep(self, prefix: str) -> int:
        """Remove what puts that were cut short left below `prefix`; return how many."""
        left = [path for path in (self._root / prefix).rglob(f"*{_TEMPORARY}*") if path.is_file()]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def now(self) -> datetime | None:
        """Return the time by the clock that stamps this directory's files: another machine's on a network share."""
        import tempfile  # only a prune asks

        try:
            with tempfile.TemporaryFile(dir=self._root) as file:  # has no name where the file system can do that
                file.write(b"?")
                file.flush()
                os.fsync(file.fileno())  # a network share's server has stamped it now
                return datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
        except OSError as error:
            raise self._translated(error, "a file") from error

    def _gone(self) -> bool:
        """Whether the directory is not the one that was there at first, as when its disk was taken away."""
        return self._mounted is not None and _identity(self._root) != self._mounted

    def _translated(self, error: OSError, name: str) -> BackupError:
        where = f"{name} in {self.address}"
        if error.errno == errno.ENOENT and self._gone():
            return UnreachableError(
                f"{self.address} is not the directory any more that it was",
                safe="what was published there before, as long as its disk is whole",
                hint="mount the disk again, then run the same command again",
            )
        match error.errno:
            case errno.ENOTDIR:
                return InputError(f"{self.address} is not a directory", hint="choose a directory for the repository")
            case errno.ENOENT:
                return NotFoundError(f"there is no {where}")
            case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
                return SpaceError(
                    f"no room left while writing {where}",
                    safe="everything that was published before; the unfinished object was removed",
                    hint="free space on that disk and run the same command again: what was stored is not sent twice",
                )
            case errno.EACCES | errno.EPERM | errno.EROFS:
                return InputError(
                    f"{where}: {error.strerror}", hint="run as a user who may read and write that directory"
                )
            case errno.EIO | errno.EMFILE | errno.ENFILE | errno.EINTR | errno.EAGAIN | errno.ESTALE:
                return TransientError(f"{where}: {error.strerror}")
            case _:
                return BackupError(f"{where}: {error.strerror}")


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _write_all(descriptor: int, pieces: Sequence[Buffer]) -> None:
    left = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
    while left:
        written = os.writev(descriptor, left)
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]


def _read_exactly(descriptor: int, offset: int, length: int) -> bytes:
    data = os.pread(descriptor, length, offset)
    if len(data) == length or not data:
        return data
    parts = [data]  # pread returns at most 2 GiB at once
    done = len(data)
    while done < length and (data := os.pread(descriptor, length - done, offset + done)):
        parts.append(data)
        done += len(data)
    return b"".join(parts)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
