"""A bucket's listing as a stream of objects in the order of their keys, with one of them in view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edurise_backup.errors import SourceError
from edurise_backup.model.objects import Listed, nanoseconds_of, plain_etag
from edurise_backup.s3.listing import pages, version_pages
from edurise_backup.s3.perseverance import Perseverance
from edurise_backup.s3.wire import Answer, Wire


def list_objects(wire: Wire, perseverance: Perseverance, page: int) -> Iterator[Listed]:
    """Yield every current object below the place."""
    below = wire.place.key("")
    last = b""
    for answer in pages(wire, perseverance, below, page):
        for found in answer.get("Contents", []):
            key = str(found["Key"])
            order = key.encode("utf-8", "surrogatepass")
            if order == last:  # the end of one page, told again at the beginning of the next
                continue
            if order < last:
                raise _out_of_order(wire, key)
            last = order
            if key != below:  # the folder itself, as a person's tool has drawn it
                yield _listed(found, key[len(below) :])


def list_versions(wire: Wire, perseverance: Perseverance, page: int) -> Iterator[Listed]:
    """Yield every version below the place that is not current, and every delete marker."""
    below = wire.place.key("")
    last = b""
    for answer in version_pages(wire, perseverance, below, page):
        for found, marker in _merged(answer):
            key = str(found["Key"])
            order = key.encode("utf-8", "surrogatepass")
            if order < last:
                raise _out_of_order(wire, key)
            last = order
            latest = bool(found.get("IsLatest"))
            if key != below and (marker or not latest):
                yield _listed(found, key[len(below) :], version=str(found["VersionId"]), latest=latest, marker=marker)


def _merged(page: Answer) -> list[tuple[Any, bool]]:
    """Return a page's versions and delete markers, which come apart, in the order of their keys."""
    found = [(one, False) for one in page.get("Versions", [])] + [(one, True) for one in page.get("DeleteMarkers", [])]
    return sorted(found, key=lambda pair: str(pair[0]["Key"]).encode("utf-8", "surrogatepass"))


def _listed(found: Any, key: str, *, version: str = "", latest: bool = True, marker: bool = False) -> Listed:
    modified = nanoseconds_of(found.get("LastModified"))
    return Listed(key, int(found.get("Size", 0)), plain_etag(found.get("ETag")), modified, version, latest, marker)


def _out_of_order(wire: Wire, key: str) -> SourceError:
    return SourceError(
        f"the listing of {wire.place.address} is not in the order of keys: {key!r} comes too late",
        safe="nothing of it was published; what was published before stays whole",
        hint="a bucket of this kind (Amazon's directory buckets) cannot be backed up: copy it into an ordinary one",
    )


class Cursor:
    """The object that comes next; several folders look at one of these, one within the other."""

    def __init__(self, listing: Iterator[Listed]) -> None:
        self._listing = listing
        self.here: Listed | None = None
        self.advance()

    def advance(self) -> None:
        """Look at the next one."""
        self.here = next(self._listing, None)

    def pass_over(self, beginning: str) -> None:
        """Look at the next one whose key does not begin so."""
        while self.here is not None and self.here.key.startswith(beginning):
            self.advance()
