"""List directories ahead of a walk, in a process of its own: the disk answers slower than the walk asks.

Run as a program this is that process. The pipe is the bound: it gets ahead by
what fits into it, and ends when nobody reads it any more.
"""

from __future__ import annotations

import os
import stat
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from edurise_backup.errors import BackupError
from edurise_backup.machine.crew import Member, Program
from edurise_backup.machine.serving import Messages, serve
from edurise_backup.model.shards import ALL_NAMES, NameRange
from edurise_backup.model.status import Status
from edurise_backup.sources.patterns import matcher


class Listing(msgspec.Struct, array_like=True, gc=False):
    """A directory: its names in the order of their bytes, each with its status or why it has none (an errno)."""

    folder: bytes
    names: list[tuple[bytes, Status | int]]
    error: int = 0
    """Why the directory cannot be read, an errno."""


class Way(msgspec.Struct, array_like=True):
    """Where a walk goes: depth first below `folders`, not into what is excluded or on another device."""

    folders: list[bytes]
    exclude: list[bytes]
    devices: list[int] | None


class _Begun(NamedTuple):
    """A walk that is under way."""

    way: Way
    member: Member
    since: datetime


_begun: list[_Begun] = []
"""What was begun on a guess and not asked for yet; one at most."""


def begin(folders: Sequence[str]) -> None:
    """Begin the walk below all of `folders` that a `Scanner` will probably be asked for."""
    with suppress(BackupError):
        _begun.append(_start(_way(folders, (), None)))


class Scanner:
    """Gives the listings of a walk, which must ask for them in its order."""

    def __init__(self, folders: Sequence[str], exclude: Sequence[str], devices: Sequence[int] | None) -> None:
        way = _way(folders, exclude, devices)
        self._member: Member | None = None
        self.since = datetime.now(UTC)
        """What is listed was so at some moment from then on."""
        with suppress(BackupError):  # no process can be started: listing here takes longer, and no more than that
            begun = _taken(way) or _start(way)
            self._member, self.since = begun.member, begun.since
            self._end = weakref.finalize(self, self._member.end)

    def take(self, folder: str) -> Listing:
        """Return the listing of the directory that the walk has come to."""
        if self._member is not None:
            try:
                listing = self._member.receive(Listing)
            except BackupError:  # it was killed: listing here takes longer, and no more than that
                listing = None
            if listing is not None and listing.folder == os.fsencode(folder):
                return listing
            self._member = None
            self._end()
        return list_folder(folder)


def _way(folders: Sequence[str], exclude: Sequence[str], devices: Sequence[int] | None) -> Way:
    return Way(
        [os.fsencode(folder) for folder in folders],
        [os.fsencode(pattern) for pattern in exclude],
        None if devices is None else list(devices),
    )


def _start(way: Way) -> _Begun:
    since = datetime.now(UTC)
    return _Begun(way, Member(Program(__name__, alone=True), way), since)


def _taken(way: Way) -> _Begun | None:
    """Return what was begun, when it is this walk; another one is ended."""
    begun = _begun.pop() if _begun else None
    if begun is not None and begun.way != way:
        begun.member.end()
        return None
    return begun


def list_folder(folder: str, within: NameRange = ALL_NAMES) -> Listing:
    """List a directory, or the names in a range of it; a name that vanishes meanwhile is left out."""
    try:
        names = [within.single] if within.single else _sorted_names(folder, within)
    except OSError as error:
        return Listing(os.fsencode(folder), [], error.errno or 0)
    prefix = os.fsencode(folder if folder.endswith("/") else folder + "/")
    found: list[tuple[bytes, Status | int]] = []
    for name in names:
        try:
            found.append((name, Status.of(os.lstat(prefix + name))))
        except FileNotFoundError:
            continue
        except OSError as error:
            found.append((name, error.errno or 0))
    return Listing(os.fsencode(folder), found)


def _sorted_names(folder: str, within: NameRange) -> list[bytes]:
    names = os.listdir(os.fsencode(folder))
    return sorted(names if within == ALL_NAMES else filter(within.__contains__, names))


def _listings(way: Way) -> Iterator[Listing]:
    """Yield the listings of a whole walk."""
    excluded = matcher([os.fsdecode(pattern) for pattern in way.exclude])
    ahead = [os.fsdecode(folder) for folder in reversed(way.folders)]
    while ahead:
        folder = ahead.pop()
        listing = list_folder(folder)
        yield listing
        prefix = folder if folder.endswith("/") else folder + "/"
        for name, status in reversed(listing.names):
            if isinstance(status, Status) and stat.S_ISDIR(status.st_mode):
                path = prefix + os.fsdecode(name)
                if (way.devices is None or status.st_dev in way.devices) and not excluded(path):
                    ahead.append(path)


def _work(way: Way, messages: Messages) -> None:
    for listing in _listings(way):
        messages.say(listing)


if __name__ == "__main__":
    serve(Way, _work)
