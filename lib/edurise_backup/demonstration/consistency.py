"""Whether the rows of `storage.objects` and the files on disk describe the same objects."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from edurise_backup.demonstration.storage import CONTENT_TYPE
from edurise_backup.errors import SourceError
from edurise_backup.postgres.connection import Address, connect

_MAIN = "edurise"


@dataclass(frozen=True, slots=True)
class _Described:
    size: int
    mimetype: str


def find_inconsistencies(address: Address, storage: Path, *, database: str = _MAIN) -> list[str]:
    """Return what the rows say and the files do not, and the other way round, a sentence each."""
    query = "SELECT bucket_id || '/' || name, (metadata->>'size')::bigint, metadata->>'mimetype' FROM storage.objects"
    with connect(address, database=database) as connection:
        rows = {str(row[0]): _Described(int(str(row[1])), str(row[2])) for row in connection.execute(query)}
        buckets = [str(row[0]) for row in connection.execute("SELECT id FROM storage.buckets ORDER BY id")]
    found: list[str] = []
    for bucket in buckets:
        for folder, _, names in os.walk(storage / bucket):
            for name in names:
                path = Path(folder) / name
                row = rows.pop(str(path.relative_to(storage)), None)
                found += _differences(path, storage, row)
    return found + [f"the row of {name!r} names a file that is not there" for name in sorted(rows)]


def _differences(path: Path, storage: Path, row: _Described | None) -> list[str]:
    name = str(path.relative_to(storage))
    if row is None:
        return [f"the file {name!r} has no row in storage.objects"]
    found = []
    size = path.stat().st_size
    if size != row.size:
        found.append(f"the file {name!r} has {size} bytes, its row says {row.size}")
    mimetype = _content_type(path)
    if mimetype not in (None, row.mimetype):
        found.append(f"the file {name!r} is marked as {mimetype}, its row says {row.mimetype}")
    return found


def _content_type(path: Path) -> str | None:
    """Return the type that the file is marked with, or None where the file system has no such marks."""
    try:
        return os.getxattr(path, CONTENT_TYPE).decode()
    except OSError as error:
        if error.errno == errno.ENODATA:
            return "nothing"
        if error.errno == errno.ENOTSUP:
            return None
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
