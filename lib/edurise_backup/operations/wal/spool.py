"""The folder in which received WAL waits until it is in the repository.

A file goes only when the repository has it. What is no segment of the cluster
is put aside and never shipped (SCENARIOS S-30): what follows must not wait for it.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edurise_backup.errors import InputError, SpaceError
from edurise_backup.model.wal import WalFileKind, parse_wal_name
from edurise_backup.operations.wal.durable import link_durably, sync
from edurise_backup.postgres.wal.pages import check_segment

_ASIDE = "aside"
_CONFLICT = ".conflict-"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file that waits."""

    name: str
    kind: WalFileKind
    path: Path
    changed: int
    """Nanoseconds since 1970, before it was read."""

    @property
    def moment(self) -> datetime:
        """The same as a time."""
        return datetime.fromtimestamp(self.changed / 1e9, UTC)

    @property
    def order(self) -> tuple[bool, str]:
        """Histories first, then the log in its order; the segment that still grows is the last of its timeline."""
        return (self.kind is not WalFileKind.HISTORY, self.name)


class Spool:
    """The files of one source."""

    def __init__(self, folder: Path, *, system: str, size: int, handed: bool = False) -> None:
        """`handed`: the server hands whole files over, and none of them grows here."""
        self.folder = folder
        self.lock = threading.Lock()
        """Held while a file gets its name, or goes: the acceptor and the shipper are two threads."""
        self._handed = handed
        self._system = int(system)
        self._size = size

    def make(self) -> None:
        """Make the folder unless it is there; raises InputError, SpaceError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in _FULL:
                raise SpaceError(f"{self.folder} cannot be made: {error.strerror}") from error
            raise InputError(
                f"{self.folder} cannot be made: {error.strerror}",
                safe="nothing was done",
                hint="set data_directory to a folder that this user may write",
            ) from error

    def waiting(self) -> list[Waiting]:
        """Return what waits, in the order in which it is shipped."""
        found = []
        for path in self.folder.iterdir():
            file = parse_wal_name(path.name, self._size)
            with suppress(FileNotFoundError):  # a partial segment that is completed just now
                if file is not None and path.is_file():
                    found.append(Waiting(path.name, file.kind, path, path.stat().st_mtime_ns))
        return sorted(found, key=lambda one: one.order)

    @property
    def used(self) -> int:
        """Bytes that it takes on the disk."""
        return sum(one.path.stat().st_blocks * 512 for one in self.waiting() if one.path.exists())

    def has_several(self) -> bool:
        """Whether whole segments wait beside the one that stays: then the log grows quickly."""
        return sum(1 for one in self.waiting() if one.kind is WalFileKind.SEGMENT) > 2

    @property
    def put_aside(self) -> int:
        """How many files were put aside that are no whole segments of this cluster."""
        return sum(1 for name in self._aside() if _CONFLICT not in name)

    @property
    def conflicts(self) -> int:
        """How many files were put aside that came with other bytes than before."""
        return sum(1 for name in self._aside() if _CONFLICT in name)

    def holds(self, name: str) -> bool:
        """Whether a file is here, if only among those that were put aside."""
        return (self.folder / name).exists() or any(one.startswith(name) for one in self._aside())

    def take_aside(self, path: Path, name: str) -> None:
        """Keep a durable file aside, durably; what is there under this name stays. Raises OSError."""
        folder = self._aside_folder()
        if not (folder / name).exists():
            with suppress(FileExistsError):
                link_durably(path, folder / name)

    def read(self, waiting: Waiting) -> bytes | None:
        """Return a file's bytes; None for one that is no part of this cluster's log, and is put aside, or has gone."""
        try:
            content = waiting.path.read_bytes()
        except FileNotFoundError:  # a partial segment that was completed meanwhile
            return None
        if waiting.kind is WalFileKind.SEGMENT:
            trouble = check_segment(content, waiting.name, system_identifier=self._system, size=self._size)
            if trouble:
                self._put_aside(waiting)
                return None
        return content

    @property
    def newest(self) -> str:
        """The newest whole segment; none: an empty text."""
        return max((one.name for one in self.waiting() if one.kind is WalFileKind.SEGMENT), default="")

    def done(self, names: list[str]) -> None:
        """Drop complete files that the repository has; the newest segment stays: reception goes on behind it."""
        with self.lock:
            kept = self.newest
            for name in names:
                file = parse_wal_name(name, self._size)
                grows = file is not None and file.kind is WalFileKind.PARTIAL and not self._handed
                if file is not None and not grows and name != kept:
                    (self.folder / name).unlink(missing_ok=True)

    def _aside(self) -> list[str]:
        folder = self.folder / _ASIDE
        return os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208

    def _aside_folder(self) -> Path:
        folder = self.folder / _ASIDE
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
            sync(self.folder)
        return folder

    def _put_aside(self, waiting: Waiting) -> None:
        folder = self._aside_folder()
        target = folder / waiting.name
        number = 1
        while target.exists():
            number += 1
            target = folder / f"{waiting.name}.{number}"
        os.rename(waiting.path, target)  # noqa: PTH104
