"""Follow a listing from page to page to its end.

A page that is missing would look like objects that are missing, and a prune
acts on that: what does not fit together is an error, never a shorter list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edurise_backup.errors import NotFoundError, TransientError, UnsupportedVersionError
from edurise_backup.s3.perseverance import Perseverance
from edurise_backup.s3.wire import Answer, Wire


def objects_below(wire: Wire, perseverance: Perseverance, prefix: str, *, page: int) -> Iterator[tuple[str, int]]:
    """Yield (name, size) of every object below the folder `prefix`; asks for `page` of them at once."""
    start = len(wire.place.key(""))
    last = ""
    for answer in pages_below(wire, perseverance, prefix, page):
        for found in answer.get("Contents", []):
            key = str(found["Key"])
            if key == last:  # the end of one page, told again at the beginning of the next
                continue
            last = key
            if not key.endswith("/"):  # a folder that a person's tool has drawn
                yield key[start:], int(found["Size"])


def pages_below(wire: Wire, perseverance: Perseverance, prefix: str, most: int) -> Iterator[Answer]:
    """Yield the listing of the folder `prefix` of a store page by page, as the server answers, to its end."""
    return pages(wire, perseverance, f"{wire.place.key(prefix)}/", most)


def pages(wire: Wire, perseverance: Perseverance, below: str, most: int, *, after: str = "") -> Iterator[Answer]:
    """Yield the pages of all objects whose keys begin with `below`, in the order of their keys.

    `after`: what is not behind this key is not wanted; a server that does not know how to begin there tells it, too.
    """
    token = ""
    seen = set[str]()
    while True:
        page = perseverance.run(lambda token=token: _page(wire, below, token, most, after))  # type: ignore[misc]
        yield page
        if not page["IsTruncated"]:
            return
        token = str(page["NextContinuationToken"])
        if token in seen:
            raise TransientError(
                f"the listing of {wire.place.endpoint}/{wire.place.bucket}/{below} goes in circles: "
                "the server repeats a page",
                safe="nothing was done with it",
                hint="run the same command again; if it happens again, this server's listings are broken",
            )
        seen.add(token)


def _page(wire: Wire, below: str, token: str, most: int, after: str) -> Answer:
    following = {"ContinuationToken": token} if token else {"StartAfter": after} if after else {}
    page = wire.ask("ListObjectsV2", Prefix=below, MaxKeys=most, **following)
    count = page.get("KeyCount")
    found = len(page.get("Contents", []))
    if "IsTruncated" not in page or (page["IsTruncated"] and not page.get("NextContinuationToken")):
        raise _broken(wire, below, "the server says neither that it ends nor how it goes on")
    if count is not None and int(count) != found:
        raise _broken(wire, below, f"a page has {found} objects and says {count}")
    if any(not str(one["Key"]).startswith(below) for one in page.get("Contents", [])):
        raise _broken(wire, below, "it names objects of another folder")
    return page


def _broken(wire: Wire, below: str, why: str) -> TransientError:
    return TransientError(f"the listing of {wire.place.endpoint}/{wire.place.bucket}/{below} is not whole: {why}")


def uploads_below(wire: Wire, perseverance: Perseverance, prefix: str) -> list[tuple[str, str]]:
    """Return (name, upload id) of uploads in parts that were begun below `prefix` and not completed."""
    start = len(wire.place.key(""))
    found: list[tuple[str, str]] = []
    marker: dict[str, str] = {}
    while True:
        page = perseverance.run(lambda marker=marker: _uploads(wire, prefix, marker))  # type: ignore[misc]
        found += [(str(one["Key"])[start:], str(one["UploadId"])) for one in page.get("Uploads", [])]
        if not page.get("IsTruncated"):
            return found
        following = {
            name: str(page[f"Next{name}"]) for name in ("KeyMarker", "UploadIdMarker") if page.get(f"Next{name}")
        }
        if not following or following == marker:
            raise _broken(wire, prefix, "the server does not say how it goes on")
        marker = following


def _uploads(wire: Wire, prefix: str, marker: Mapping[str, str]) -> Answer:
    try:
        return wire.ask("ListMultipartUploads", Prefix=f"{wire.place.key(prefix)}/", **marker)
    except UnsupportedVersionError:
        return {}  # who cannot list them leaves it to a lifecycle rule to remove them
    except NotFoundError as error:
        if error.hint:  # the bucket is not there
            raise
        return {}  # as some servers say that none was ever begun


def version_pages(
    wire: Wire, perseverance: Perseverance, below: str, most: int, *, after: str = ""
) -> Iterator[Answer]:
    """Yield the pages of all versions and delete markers below, in the order of their keys, a key's newest first."""
    marker = {"KeyMarker": after} if after else {}
    while True:
        page = perseverance.run(
            lambda marker=marker: wire.ask("ListObjectVersions", Prefix=below, MaxKeys=most, **marker)  # type: ignore[misc]
        )
        yield page
        if not page.get("IsTruncated"):
            return
        following = {
            name: str(page[f"Next{name}"]) for name in ("KeyMarker", "VersionIdMarker") if page.get(f"Next{name}")
        }
        if not following or following == marker:
            raise _broken(wire, below, "the server does not say how it goes on")
        marker = following
