"""Refuse a recovery's target that is in use or too small, before a byte is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edurise_backup.config import is_name
from edurise_backup.errors import ConflictError, InputError, SpaceError
from edurise_backup.model.database import DatabaseRecord
from edurise_backup.model.jobs import PartResult
from edurise_backup.operations.servers import look_at
from edurise_backup.postgres.connection import Address

_SAFE = "nothing was changed"
_NAME_BYTES = 63  # NAMEDATALEN - 1: the server would cut a longer name
_OTHER_NAME = "choose another --database-suffix"


@dataclass(frozen=True, slots=True)
class NewDatabase:
    """A database that is to be made, on the configured server `server`."""

    record: DatabaseRecord
    name: str
    server: str
    address: Address

    @property
    def bytes(self) -> int:
        """What its tables had on disk; indexes come on top."""
        return sum(table.bytes for table in self.record.tables)


@dataclass(slots=True)
class Needs:
    """Bytes that will be written, by the disk that gets them."""

    _disks: dict[int, tuple[Path, int]] = field(default_factory=dict)

    def add(self, place: Path, count: int) -> None:
        """Count bytes that go to `place`, which may not exist yet."""
        there = next(path for path in (place, *place.parents) if path.exists())
        disk = there.stat().st_dev
        first, already = self._disks.get(disk, (there, 0))
        self._disks[disk] = (first, already + count)

    def refuse_without_room(self) -> None:
        """Raise SpaceError for a disk that has less."""
        for place, count in self._disks.values():
            free = shutil.disk_usage(place).free
            if count > free:
                raise SpaceError(
                    f"the recovery needs at least {count:,} bytes on the disk of {place}, {free:,} are free there",
                    safe=_SAFE,
                    hint="free space, choose a larger disk, or recover a part with --part",
                )


def refuse_used_directory(directory: Path) -> None:
    """Raise ConflictError unless the directory is new or empty, InputError when it is not named from the root."""
    if not directory.is_absolute():
        raise InputError(f"{directory} is not an absolute path", hint="name the target directory from the root")
    try:
        used = directory.exists() and (not directory.is_dir() or any(directory.iterdir()))
    except OSError as error:
        raise InputError(
            f"{directory} cannot be read: {error.strerror}", safe=_SAFE, hint="choose a new directory"
        ) from error
    if used:
        raise ConflictError(f"{directory} is not an empty directory", safe=_SAFE, hint="choose a new directory")


def make_private_directory(directory: Path) -> None:
    """Make the target unless it is there, for its owner only: what is restored is as secret as what was backed up.

    A directory that somebody has made keeps its mode. Raises InputError.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{directory} cannot be made: {error.strerror}", safe=_SAFE, hint="choose another directory"
        ) from error


def part_directory(directory: Path, part: PartResult) -> Path:
    """Return where a part's files go: DIRECTORY/PART/SOURCE.

    The source comes from the repository, and whoever can write there could name
    a way out of the directory: raises InputError for anything that is no name.
    """
    if part.source and not is_name(part.source):  # none: a snapshot that is not of this product
        raise InputError(
            f"the backup's {part.part.value} part is of a source {part.source!r}, which is no source's name",
            safe=_SAFE,
            hint=f"find out who wrote it; `edurise-backup repo restore {part.snapshot_id[:8]}` restores it alone",
        )
    return directory / part.part.value / part.source


def refuse_names(new: Sequence[NewDatabase]) -> None:
    """Raise InputError for a name that cannot be, or is wanted twice."""
    seen: dict[tuple[str, int, str], NewDatabase] = {}
    for database in new:
        name = database.name
        if not name or "\0" in name or len(os.fsencode(name)) > _NAME_BYTES:
            raise InputError(
                f"{name!r} cannot be a database's name: it has {len(os.fsencode(name))} bytes of at most {_NAME_BYTES}",
                safe=_SAFE,
                hint=_OTHER_NAME,
            )
        other = seen.setdefault((database.address.host, database.address.port, name), database)
        if other is not database:
            raise InputError(
                f"two databases of the backup would be {name} on {database.server}",
                safe=_SAFE,
                hint="recover one source after the other, each with a --database-suffix of its own",
            )


def refuse_taken(new: Sequence[NewDatabase], needs: Needs) -> list[str]:
    """Raise ConflictError for a name that a server has already; count the bytes that go to disks of this host.

    Returns a note for each server whose disk cannot be seen from here.
    """
    notes = []
    for server in dict.fromkeys(database.server for database in new):
        coming = [database for database in new if database.server == server]
        found = look_at(coming[0].address)
        for database in coming:
            if database.name in found.names:
                raise ConflictError(
                    f"a database named {database.name} exists on {server}",
                    safe=_SAFE,
                    hint=f"{_OTHER_NAME}, or drop that database yourself first",
                )
        if found.directory is None:
            notes.append(f"the room on the disk of {server} was not checked: it cannot be seen from here")
        else:
            needs.add(found.directory, sum(database.bytes for database in coming))
    return notes
