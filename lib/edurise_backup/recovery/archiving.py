"""Write a directory as a tar archive: pax, so that names, times and attributes keep every bit."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from edurise_backup.errors import DamageError
from edurise_backup.model.content import Node, nanoseconds, unix_permissions
from edurise_backup.ports import Progress
from edurise_backup.recovery.drains import Drain
from edurise_backup.recovery.dumping import pieces_of
from edurise_backup.recovery.planning import walk_files
from edurise_backup.repository.repository import Repository


@dataclass(frozen=True, slots=True)
class Archive:
    """What an archive holds; `problems` says what it has no place for."""

    entries: int
    bytes: int
    problems: tuple[str, ...]


def dump_tar(repository: Repository, tree: str, drain: Drain, *, progress: Progress) -> Archive:
    """Write all below a tree as a tar archive, with names relative to it; the index must be loaded.

    Raises DamageError, CancelledError, and what the drain raises: the archive then has no end mark.
    """
    entries = written = 0
    problems = []
    links: dict[tuple[int, int], tuple[str, list[str] | None]] = {}
    progress.phase("dump")
    with tarfile.open(fileobj=_Counted(drain), mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, node in walk_files(repository, tree):
            progress.raise_if_cancelled()
            if node.type not in _TYPES:
                problems.append(f"{path}: a tar archive has no place for a {node.type or 'nameless kind of file'}")
                continue
            entries += 1
            entry = _entry(path.lstrip("/"), node)
            if node.type == "file" and node.links > 1:
                first = links.setdefault((node.device_id, node.inode), (entry.name, node.content))
                if first != (entry.name, node.content) and first[1] == node.content:
                    entry.type, entry.linkname, entry.size = tarfile.LNKTYPE, first[0], 0
            if entry.isreg():
                archive.addfile(entry, _Stream(pieces_of(repository, node, path, progress)))
                written += node.size
            else:
                archive.addfile(entry)
    return Archive(entries, written, tuple(problems))


class _Stream(io.RawIOBase):
    """Pieces as a file that tarfile reads from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def read(self, size: int = -1, /) -> bytes:
        """Return exactly `size` bytes, fewer only at the end."""
        taken = []
        wanted = size
        while wanted > 0:
            if not self._left:
                self._left = memoryview(next(self._pieces, b""))
                if not self._left:
                    break
            taken.append(self._left[:wanted])
            self._left = self._left[len(taken[-1]) :]
            wanted -= len(taken[-1])
        return b"".join(taken)


class _Counted(io.RawIOBase):
    """A drain as the file that tarfile writes to: it wants to know where it is."""

    def __init__(self, drain: Drain) -> None:
        self._drain = drain
        self._at = 0

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # tarfile gives bytes only
        """Pass on."""
        self._drain.write(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        """Return the bytes written so far."""
        return self._at


_TYPES = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "fifo": tarfile.FIFOTYPE,
    "dev": tarfile.BLKTYPE,
    "chardev": tarfile.CHRTYPE,
}


def _entry(name: str, node: Node) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = _TYPES[node.type]
    entry.mode = unix_permissions(node.mode)
    entry.uid, entry.gid, entry.uname, entry.gname = node.uid, node.gid, node.user, node.group
    entry.size = node.size if node.type == "file" else 0
    if node.type == "symlink":
        entry.linkname = os.fsdecode(node.linktarget_raw) if node.linktarget_raw is not None else node.linktarget
    if node.type in ("dev", "chardev"):
        entry.devmajor, entry.devminor = os.major(node.device), os.minor(node.device)
    try:
        mtime = nanoseconds(node.mtime)
    except ValueError as error:
        raise DamageError(f"/{name} is described impossibly: {error}") from error
    entry.mtime = mtime // 10**9
    headers = {f"SCHILY.xattr.{one.name}": os.fsdecode(one.value or b"") for one in node.extended_attributes}
    if mtime % 10**9:  # a float would round it
        headers["mtime"] = format(Decimal(mtime).scaleb(-9), "f")
    entry.pax_headers = headers
    return entry
