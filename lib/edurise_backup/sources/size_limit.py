"""A source around any source: regular files above a size are left out, and counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edurise_backup.ports import Entry, Source


@dataclass(slots=True)
class LeftOut:
    """What was left out; `bytes` as the walk found the files."""

    files: int = 0
    bytes: int = 0


class SizeLimitedSource:
    """Offers what `source` offers, but no regular file of more than `limit` bytes.

    A file is judged by its size when its directory is walked; one that grows later is read whole.
    """

    def __init__(self, source: Source, limit: int) -> None:
        self.left_out = LeftOut()
        self._source = source
        self._limit = limit

    def root(self) -> Entry:
        """Return the source's root without the large files below it."""
        return self._thinned(self._source.root())

    def problems(self) -> list[str]:
        """Return what the source could not read; a file that is left out on purpose is none."""
        return self._source.problems()

    def _thinned(self, entry: Entry) -> Entry:
        below = entry.children
        if below is None:
            return entry

        def children() -> Iterator[Entry]:
            for child in below():
                size = _size_of(child)
                if size > self._limit:
                    self.left_out.files += 1
                    self.left_out.bytes += size
                else:
                    yield self._thinned(child)

        entry.children, entry.within = children, None
        return entry


def _size_of(entry: Entry) -> int:
    """Return a regular file's size; 0 for anything else."""
    if entry.status is not None:
        return entry.status.st_size
    return entry.node.size if entry.node.type == "file" else 0
