"""A bucket as a source: its objects as the files of a tree, `/buckets/NAME/…`, listed once in the order of their keys.

One listing is followed while the tree is walked, so memory does not grow with it.
An object that the listing shows unchanged costs no request of its own; its
metadata, which no listing has, is that of the parent's node, because S3 changes
neither without a new time. Versions that are not current lie below
`/bucket-versions/NAME/…`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from edurise_backup.errors import InputError, SourceError
from edurise_backup.model.content import ExtendedAttribute, Node, nanoseconds, rfc3339
from edurise_backup.model.key_ranges import BEFORE_SLASH, folders_behind, just_before, key_order
from edurise_backup.model.object_names import name_of, version_name
from edurise_backup.model.objects import (
    ETAG,
    KEY,
    VERSION_ID,
    Listed,
    attributes_by_name,
    key_attribute,
    marker_attributes,
    nanoseconds_of,
    place_of,
)
from edurise_backup.model.shards import ALL_NAMES, NameRange
from edurise_backup.model.traffic import Traffic
from edurise_backup.ports import Entry, Progress
from edurise_backup.s3.perseverance import Patience, Perseverance, Timing
from edurise_backup.s3.wire import Wire
from edurise_backup.sources.bucket_listing import Cursor, Listing
from edurise_backup.sources.bucket_objects import Objects, object_node
from edurise_backup.sources.patterns import matcher

FOLDER, VERSIONS = "/buckets", "/bucket-versions"
READERS = 16
"""Objects that are read at once: a bucket's answer takes longer than its bytes."""
SETTLED = timedelta(seconds=10)
"""An object that was changed later than so long before the listing is read again next time.

Servers tell times in seconds, and their clocks differ: it may have changed once
more in the same second, after it was read.
"""


@dataclass(frozen=True, slots=True)
class BucketOptions:
    """What of a bucket is backed up, and how it is asked; tests bring their own times."""

    exclude: Sequence[str] = ()
    versions: bool = False
    page: int = 1000
    settled: timedelta = SETTLED
    patience: Patience | None = None
    timing: Timing | None = None


class BucketSource:
    """The objects below a place; `exclude` are patterns of keys, matched as paths from the place's folder."""

    def __init__(self, name: str, wire: Wire, options: BucketOptions, *, progress: Progress) -> None:
        """Nothing is asked yet; `name` is the source's."""
        self.name = name
        self._wire = wire
        self._options = options
        self._excluded = matcher(options.exclude) if options.exclude else None
        self._perseverance = Perseverance(
            options.patience or Patience(),
            where=wire.place.address,
            answered=lambda: wire.answered,
            stop=progress.raise_if_cancelled,
            timing=options.timing,
        )
        self._objects = Objects(name, wire, self._perseverance)
        self.afterwards = frozenset({VERSIONS[1:]} if options.versions else ())
        self._began: datetime | None = None
        """The server's time when the first listing began."""

    @property
    def paths(self) -> tuple[str]:
        """Return the path, as a source of directories has several."""
        return (self.path,)

    @property
    def path(self) -> str:
        """Where the objects lie in the snapshot."""
        return f"{FOLDER}/{self.name}"

    def look(self) -> None:
        """Ask for the first line of the listing; raises what stands in the way, and what to do about it."""
        self._perseverance.run(lambda: self._wire.ask("ListObjectsV2", Prefix=self._wire.place.key(""), MaxKeys=1))

    def traffic(self) -> Traffic:
        """Return the requests and bytes so far."""
        return self._wire.traffic()

    def problems(self) -> list[str]:
        """Return nothing: an object that could not be read is told by whoever read it."""
        return []

    def root(self) -> Entry:
        """Return `/`: current objects first, so that one that is replaced meanwhile is then among the versions."""

        def children() -> Iterator[Entry]:
            yield self._top(FOLDER, self._listing())
            if self._options.versions:
                yield self._top(VERSIONS, self._listing(versions=True))

        return _folder("", "/", children)

    def place(self, node: Node) -> bytes:
        """Return by which name a node belongs to a range of its folder: the piece of its key, however it is written."""
        return place_of(node)

    def _top(self, path: str, listing: Listing) -> Entry:
        """Return a folder that holds this source's alone."""
        own = _folder(
            self.name,
            f"{path}/{self.name}",
            lambda: self._children(self._cursor(listing), "", plain=True),
            within=lambda names: self._within(listing, names, "", plain=True),
        )
        return _folder(path[1:], path, lambda: iter([own]))

    def _listing(self, *, versions: bool = False) -> Listing:
        return Listing(self._wire, self._perseverance, self._options.page, versions)

    def _cursor(self, listing: Listing, folder: str = "", after: str = "") -> Cursor:
        with _told_as_failure():
            cursor = Cursor(listing, folder, after)
            if self._began is None:
                self._began = self._wire.time_of_last_answer()  # nobody else has asked yet
            return cursor

    def _within(self, listing: Listing, names: NameRange, folder: str, plain: bool) -> Iterator[Entry]:
        """Yield what is right below a folder and belongs to a range, asking for little else.

        A folder's keys come where its name with a slash belongs, which may be behind the range's end: such folders,
        whose names are beginnings of the end, are asked for one by one.
        """
        before = just_before(names.first)
        behind = {name_of(component): component for component in folders_behind(names)}
        objects = set[str]()
        for child in self._children(self._cursor(listing, folder, before and folder + before), folder, plain, names):
            if child.children is None and child.name in behind:
                objects.add(child.name)
            yield child
        for name, component in behind.items():
            inner = f"{folder}{component}/"
            if self._leaves_out(inner):
                continue
            # whoever keeps keys as paths takes a slash at the beginning, or a second one, for no folder of its own
            cursor = self._cursor(listing, inner) if component else self._cursor(listing, folder, folder + BEFORE_SLASH)
            if cursor.here is not None and cursor.here.key.startswith(inner):
                yield self._folder(cursor, inner, component, plain, beside=name in objects)

    def _children(self, cursor: Cursor, folder: str, plain: bool, names: NameRange = ALL_NAMES) -> Iterator[Entry]:
        """Yield what is right below a folder (empty, or with a slash at its end); `plain`: its path is its key."""
        shorter: list[str] = []  # objects of this folder whose names are beginnings of the next key's
        while (found := cursor.here) is not None and found.key.startswith(folder):
            rest = found.key[len(folder) :]
            if names.end is not None and key_order(rest) >= names.end:
                return
            while shorter and not rest.startswith(shorter[-1]):
                shorter.pop()
            component, slash, _ = rest.partition("/")
            inner = folder + component + slash
            wanted = key_order(component) in names and not self._leaves_out(inner)
            if slash:
                if wanted:
                    yield self._folder(cursor, inner, component, plain, beside=component in shorter)
                with _told_as_failure():
                    cursor.pass_over(inner)  # nothing is left of it, unless nobody has looked into it
            else:
                with _told_as_failure():
                    cursor.advance()
                if wanted:
                    if not found.version:
                        shorter.append(component)
                    yield self._object(found, component, plain=plain)

    def _leaves_out(self, path: str) -> bool:
        return self._excluded is not None and self._excluded(f"/{path.rstrip('/')}")

    def _folder(self, cursor: Cursor, inner: str, component: str, plain: bool, *, beside: bool) -> Entry:
        name = name_of(component, beside=beside)
        plain = plain and name == component
        return _folder(
            name,
            f"{self.name}/{inner}",
            lambda: self._children(cursor, inner, plain),
            [] if plain else [key_attribute(inner)],
            within=lambda names: self._within(cursor.listing, names, inner, plain),
        )

    def _object(self, found: Listed, component: str, *, plain: bool) -> Entry:
        older = bool(found.version)
        name = version_name(component, found.version) if older else name_of(component)
        own = [] if plain and name == component else [key_attribute(found.key)]
        path = f"{self.name}/{found.key}"
        if found.marker:
            return Entry(object_node(name, 0, found.modified, found.modified, [*own, *marker_attributes(found)]), path)
        looked = nanoseconds_of(self._began) or found.modified
        node = object_node(name, found.size, found.modified, looked, own)
        return Entry(node, path, opener=self._objects.opener(found, node), kept=partial(self._kept, found, own))

    def _kept(self, found: Listed, own: Sequence[ExtendedAttribute], before: Node) -> bool:
        """Whether the parent's node still describes an object: ETag, time and size, none of them alone."""
        there = attributes_by_name(before)
        return (
            before.type == "file"
            and before.size == found.size
            and bool(found.etag)
            and there.get(ETAG) == found.etag.encode()
            and (not found.version or there.get(VERSION_ID) == found.version.encode())
            and there.get(KEY) == (own[0].value if own else None)
            and before.mtime == rfc3339(found.modified)
            and found.modified + self._options.settled // timedelta(microseconds=1) * 1000 < nanoseconds(before.ctime)
        )


def _folder(
    name: str,
    path: str,
    children: Callable[[], Iterator[Entry]],
    attributes: Sequence[ExtendedAttribute] = (),
    *,
    within: Callable[[NameRange], Iterator[Entry]] | None = None,
) -> Entry:
    """Return a directory; a bucket knows no time of one, so that an unchanged one stays the same."""
    return Entry(object_node(name, None, 0, 0, attributes), path, children=children, ordered=False, within=within)


class _told_as_failure:  # noqa: N801  reads as what it does
    """Have what a server refuses in the middle of the work end the job as a failure: other snapshots may be there."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, InputError):
            safe = "what was published before it stays whole"
            raise SourceError(error.message, safe=safe, hint=error.hint) from error
