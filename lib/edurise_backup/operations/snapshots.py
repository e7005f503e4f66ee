"""How a person chooses snapshots: words, filters, subfolders and spans of time, with stock restic's meaning.

Source: restic's `internal/data/snapshot_find.go`, `tag_list.go` and `duration.go`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edurise_backup.errors import InputError, NotFoundError
from edurise_backup.model.snapshot import Snapshot, SnapshotId, choose_snapshot
from edurise_backup.repository.repository import Repository

Found = dict[SnapshotId, Snapshot]


@dataclass(frozen=True, slots=True)
class SnapshotFilter:
    """Which snapshots are meant; what is empty lets every snapshot pass."""

    hosts: tuple[str, ...] = ()
    """One of them."""
    paths: tuple[str, ...] = ()
    """All of them, as they were backed up."""
    tags: tuple[str, ...] = ()
    """One of them; `a,b` means both, an empty text a snapshot without tags."""

    def apply(self, found: Found) -> Found:
        """Return the snapshots that pass, in their order."""
        return {key: snapshot for key, snapshot in found.items() if self._passes(snapshot)}

    def _passes(self, snapshot: Snapshot) -> bool:
        paths = set(map(os.path.abspath, self.paths))
        return (
            (not self.hosts or snapshot.hostname in self.hosts)
            and paths <= set(snapshot.paths)
            and (not self.tags or any(_has_tags(snapshot, wanted) for wanted in self.tags))
        )


def _has_tags(snapshot: Snapshot, wanted: str) -> bool:
    there = set(snapshot.tags or [])
    return {tag.strip() for tag in wanted.split(",")} <= there if wanted else not there


@dataclass(frozen=True, slots=True)
class Chosen:
    """A snapshot, or a folder in it."""

    id: SnapshotId
    snapshot: Snapshot
    folder: str = ""

    @property
    def paths(self) -> list[str]:
        """What was backed up, as paths in the folder; what lies above it is no part of it."""
        top = "/".join(["", *filter(None, self.folder.split("/"))])
        return [path.removeprefix(top) for path in self.snapshot.paths if path.startswith(f"{top}/")]


def choose(repository: Repository, word: str, among: SnapshotFilter) -> Chosen:
    """Return what `latest`, an id, its beginning, or one of them with `:/FOLDER` names.

    The filter says what `latest` is of; an id is an id. Raises NotFoundError, AmbiguousError, and for `latest`
    DamageError when a snapshot is not readable: it may be the one that is meant.
    """
    name, _, folder = word.partition(":")
    found = repository.snapshots() if name == "latest" else repository.readable_snapshots()
    if name == "latest" and found:
        found = among.apply(found)
        if not found:
            raise NotFoundError(
                "no snapshot passes the filter", hint="`edurise-backup repo snapshots` lists hosts, paths and tags"
            )
    snapshot_id = choose_snapshot(name, found)
    return Chosen(snapshot_id, found[snapshot_id], folder)


def tree_of(repository: Repository, chosen: Chosen) -> str:
    """Return the id of the tree that was chosen; the index must be loaded. Raises NotFoundError, DamageError."""
    tree = chosen.snapshot.tree
    for name in filter(None, chosen.folder.split("/")):
        node = next((node for node in repository.read_tree(tree) if node.name == name), None)
        if node is None or node.type != "dir" or node.subtree is None:
            raise NotFoundError(
                f"the snapshot {chosen.id[:8]} has no directory {chosen.folder}",
                hint=f"`edurise-backup repo ls {chosen.id[:8]}` lists what it has",
            )
        tree = node.subtree
    return tree


@dataclass(frozen=True, slots=True)
class Span:
    """A span of the calendar: a month back from 31 March is 3 March, as in stock restic."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0

    def before(self, moment: datetime) -> datetime:
        """Return the moment that lies this far before `moment`, or the earliest there is."""
        month = moment.year * 12 + moment.month - 1 - self.years * 12 - self.months
        try:
            first = moment.replace(year=month // 12, month=month % 12 + 1, day=1)
            return first + timedelta(days=moment.day - 1 - self.days, hours=-self.hours)
        except (ValueError, OverflowError):
            return datetime.min.replace(tzinfo=UTC)


def parse_span(text: str) -> Span:
    """Return the span that e.g. `1y2m3d4h` means; raises InputError."""
    parts = {unit: int(count) for count, unit in re.findall(r"([0-9]+)([ymdh])", text)}
    if not re.fullmatch(r"(?:[0-9]+[ymdh])+", text) or len(parts) != len(re.findall("[ymdh]", text)):
        raise InputError(
            f"{text!r} is no span of time", hint="write years, months, days and hours, e.g. 7d or 1y2m3d4h"
        )
    return Span(parts.get("y", 0), parts.get("m", 0), parts.get("d", 0), parts.get("h", 0))
