"""A bucket's listing as a stream of objects in the order of their keys, with one of them in view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edurise_backup.errors import SourceError
from edurise_backup.model.key_ranges import LAST, key_order
from edurise_backup.model.objects import Listed, nanoseconds_of, plain_etag
from edurise_backup.s3.listing import pages, version_pages
from edurise_backup.s3.perseverance import Perseverance
from edurise_backup.s3.wire import Answer, Wire


@dataclass(slots=True)
class Listing:
    """What a place holds, from any key on: its current objects, or all versions that are not current, and markers."""

    wire: Wire
    perseverance: Perseverance
    page: int
    versions: bool = False
    jumps: bool = True
    """False once the server has told what comes before the key that it was to begin behind."""

    def begin(self, folder: str = "", after: str = "") -> Iterator[Listed]:
        """Yield what is below a folder and behind a key; both as the place's folder leaves them."""
        top = self.wire.place.key("")
        start = top + after if after else ""
        last, behind = b"", key_order(start)
        for found, marker in (self._versions if self.versions else self._current)(top + folder, start):
            key = str(found["Key"])
            order = key_order(key)
            if order < last:
                raise self._out_of_order(key)
            if order == last and not self.versions:  # the end of one page, told again at the beginning of the next
                continue
            last = order
            if start and order <= behind:
                self.jumps = False
            elif key != top and (marker or not (self.versions and found.get("IsLatest"))):
                yield self._listed(found, key[len(top) :], marker=marker)

    def _current(self, below: str, after: str) -> Iterator[tuple[Any, bool]]:
        for answer in pages(self.wire, self.perseverance, below, self.page, after=after):
            yield from ((found, False) for found in answer.get("Contents", []))

    def _versions(self, below: str, after: str) -> Iterator[tuple[Any, bool]]:
        for answer in version_pages(self.wire, self.perseverance, below, self.page, after=after):
            yield from _merged(answer)

    def _listed(self, found: Any, key: str, *, marker: bool) -> Listed:
        modified = nanoseconds_of(found.get("LastModified"))
        version = str(found["VersionId"]) if self.versions else ""
        latest = bool(found.get("IsLatest")) if self.versions else True
        return Listed(key, int(found.get("Size", 0)), plain_etag(found.get("ETag")), modified, version, latest, marker)

    def _out_of_order(self, key: str) -> SourceError:
        return SourceError(
            f"the listing of {self.wire.place.address} is not in the order of keys: {key!r} comes too late",
            safe="nothing of it was published; what was published before stays whole",
            hint="a bucket of this kind (Amazon's directory buckets) cannot be backed up: copy it into an ordinary one",
        )


def _merged(page: Answer) -> list[tuple[Any, bool]]:
    """Return a page's versions and delete markers, which come apart, in the order of their keys."""
    found = [(one, False) for one in page.get("Versions", [])] + [(one, True) for one in page.get("DeleteMarkers", [])]
    return sorted(found, key=lambda pair: key_order(str(pair[0]["Key"])))


class Cursor:
    """The object that comes next; several folders look at one of these, one within the other."""

    def __init__(self, listing: Listing, folder: str = "", after: str = "") -> None:
        self.listing = listing
        self._folder = folder
        self._stream = listing.begin(folder, after)
        self.here: Listed | None = None
        self.advance()

    def advance(self) -> None:
        """Look at the next one."""
        self.here = next(self._stream, None)

    def pass_over(self, beginning: str) -> None:
        """Look at the next one whose key does not begin so; what would take many pages is left out by the server."""
        passed = 0
        while self.here is not None and self.here.key.startswith(beginning):
            passed += 1
            if passed > self.listing.page and self.listing.jumps:
                passed = 0
                self._stream = self.listing.begin(self._folder, beginning + LAST)
            self.advance()
