"""Bring what waits in the spool into the repository, a few segments a publication, and tell the catalog what came.

The order is the promise: read and checked → in the repository, published →
told to the catalog → gone from the spool. Whatever ends it in between leaves
the spool as it was, and the next time it is done again with the same outcome.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from edurise_backup.errors import BackupError, NotFoundError
from edurise_backup.model.wal import Lsn, WalFileKind, parse_wal_name
from edurise_backup.model.wal_status import Arrival, TimelineRow, branch_of
from edurise_backup.operations.wal.mapping import LogMap
from edurise_backup.operations.wal.spool import Spool, Waiting
from edurise_backup.ports import Clock
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_archive import Published, WalArchive, WalContent

AT_ONCE = 8
"""Segments of one publication at most: their bytes are in memory together."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """What one publication brought."""

    published: Published | None
    arrivals: tuple[Arrival, ...]
    branches: tuple[TimelineRow, ...]
    files: dict[str, int]
    """What was read, and as of when (nanoseconds since 1970)."""
    more: bool
    """Whether more whole segments wait."""

    @property
    def end(self) -> Lsn | None:
        """Up to here the log is in the repository now."""
        return max((arrival.segment.end_lsn for arrival in self.arrivals), default=None)

    @property
    def last_commit(self) -> datetime | None:
        """The latest commit among them."""
        times = [one.segment.last_commit_at for one in self.arrivals if one.segment.last_commit_at]
        return max(times, default=None)


class Shipper:
    """Ships one source's log; `open_repository` opens it anew after an error, `confirm` proves that we still may."""

    def __init__(
        self,
        open_repository: Callable[[], Repository],
        make_archive: Callable[[Repository], WalArchive],
        spool: Spool,
        log_map: LogMap,
        *,
        size: int,
        confirm: Callable[[], None],
        now: Clock,
    ) -> None:
        self._open = open_repository
        self._make = make_archive
        self._spool = spool
        self._map = log_map
        self._size = size
        self._confirm = confirm
        self._now = now
        self._opened: tuple[Repository, WalArchive] | None = None
        self._alone = threading.Lock()
        """Held while the archive is used: it is one thread's."""
        self._beside: tuple[str, frozenset[str]] = ("", frozenset())
        """A folder of the archive, and what lies in it: what is asked next lies there, too, nearly always."""
        self._shipped: dict[str, int] = {}
        """What stays in the spool although it was shipped: the newest segment and the growing one, with their times."""

    def anything_new(self) -> bool:
        """Whether something waits that the repository has not; cheap, and asked every second."""
        return any(self._is_new(one) for one in self._spool.waiting())

    def ship(self) -> Shipped:
        """Bring the next part in; raises what the store raises, LockedError while somebody holds the repository."""
        files = [one for one in self._spool.waiting() if self._is_new(one)]
        whole = [one for one in files if one.kind is not WalFileKind.PARTIAL]
        chosen = whole[:AT_ONCE] if len(whole) > AT_ONCE else files
        contents: list[tuple[Waiting, bytes]] = []
        for one in chosen:
            content = self._spool.read(one)
            contents += [] if content is None else [(one, content)]
        behind = len(whole) > AT_ONCE
        published = self._published([WalContent(one.name, content, one.moment) for one, content in contents], behind)
        arrivals, branches = self._read(contents)
        shipped = {one.name: one.changed for one, _ in contents}
        return Shipped(published, tuple(arrivals), tuple(branches), shipped, behind)

    def trim(self, needed: Lsn) -> int:
        """Take segments away that end before a position; histories stay for ever. Returns how many went."""
        with self._alone, self._closed_by_trouble():
            repository, archive = self._opened or self._begin()
            archive.refresh()
            names = [name for name, _ in archive.names() if _ends_before(name, needed, self._size)]
            if names:
                with repository.lock(at_once=True) as lock:
                    lock.tie(self._confirm)
                    archive.refresh()
                    archive.trim(names, lock)
            return len(names)

    def told(self, shipped: Shipped) -> None:
        """The catalog knows of it: what the repository has goes from the spool."""
        folder, names = self._beside
        self._beside = (folder, names | {name for name in shipped.files if _folder(name) == folder})
        self._spool.done([*self._shipped, *shipped.files])  # what was the newest before is not any more
        left = {one.name for one in self._spool.waiting()}
        self._shipped = {name: time for name, time in {**self._shipped, **shipped.files}.items() if name in left}

    def open(self) -> None:
        """Have the repository open, so that `has` and `look` can say what is in it; raises what opening it raises."""
        with self._alone:
            if self._opened is None:
                self._begin()

    def has(self, name: str) -> bool | None:
        """Whether the repository has a file; None: that cannot be told without waiting for it."""
        if self._opened is None or not self._alone.acquire(blocking=False):
            return None
        try:
            return self._has(name)
        finally:
            self._alone.release()

    def look(self, name: str) -> bytes | None:
        """Return a file as the repository has it; None: it has none, or that cannot be told without waiting for it.

        The server's queue must not wait for a store. What is kept without this look is told by its publication, which
        replaces nothing, either.
        """
        if self._opened is None or not self._alone.acquire(blocking=False):
            return None
        try:
            return self._opened[1].read(name) if self._opened is not None and self._has(name) else None
        except NotFoundError:
            return None
        except BackupError:
            self.close()
            return None
        finally:
            self._alone.release()

    def close(self) -> None:
        """Let go of the repository; it is opened anew the next time."""
        self._opened = None
        self._beside = ("", frozenset())

    def _has(self, name: str) -> bool | None:
        if self._opened is None:
            return None
        if self._beside[0] != _folder(name):
            try:
                self._beside = (_folder(name), self._opened[1].beside(name))
            except BackupError:
                self.close()  # the next ones do not wait for it
                return None
        return name in self._beside[1]

    def _published(self, contents: list[WalContent], behind: bool) -> Published | None:
        with self._alone, self._closed_by_trouble():
            repository, archive = self._opened or self._begin()
            with repository.lock(at_once=True) as lock:
                lock.tie(self._confirm)
                archive.refresh()
                return archive.publish(contents, lock, behind=behind) if contents else None

    @contextmanager
    def _closed_by_trouble(self) -> Iterator[None]:
        try:
            yield
        except BackupError:
            self.close()  # what is wrong with it may be gone once it is opened again
            raise

    def _begin(self) -> tuple[Repository, WalArchive]:
        repository = self._open()
        self._opened = (repository, self._make(repository))
        return self._opened

    def _read(self, contents: list[tuple[Waiting, bytes]]) -> tuple[list[Arrival], list[TimelineRow]]:
        arrivals, branches = [], []
        for waiting, content in contents:
            file = parse_wal_name(waiting.name, self._size)
            assert file is not None
            if file.kind is WalFileKind.HISTORY:
                row = branch_of(file.timeline, content)
                branches += [row] if row else []
            elif file.segment is not None and file.kind is not WalFileKind.BACKUP:
                partial = file.kind is WalFileKind.PARTIAL
                if not partial and self._map.knows(file.segment):
                    continue
                arrival = self._map.read(file.segment, content, partial=partial, now=self._now())
                arrivals += [arrival] if arrival else []
        return arrivals, branches

    def _is_new(self, waiting: Waiting) -> bool:
        return self._shipped.get(waiting.name) != waiting.changed


def _ends_before(name: str, needed: Lsn, size: int) -> bool:
    file = parse_wal_name(name, size)
    return file is not None and file.segment is not None and file.segment.end(size) <= needed


def _folder(name: str) -> str:
    """Return which folder of the archive a file lies in."""
    return name[:23] if len(name) >= 24 else "histories"
