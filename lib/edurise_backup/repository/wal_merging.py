"""Make one snapshot of a log where there are several: in a copy, or where the receiver's host may only add.

What the primary has trimmed, or lost with its repository, a base backup of a
copy may still need; so what only an older snapshot names is taken into the
newest one before the older goes. A crash in between leaves both, and the next
run merges them again. Where nothing may be taken away the older stays beside it,
for whoever reads takes the newest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from edurise_backup.errors import BackupError, CancelledError
from edurise_backup.model.content import Node, blob_id
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.model.wal import Lsn, parse_wal_name
from edurise_backup.ports import Clock
from edurise_backup.repository.grafting import Names, graft
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.removals import take_away
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_archive import SETTINGS
from edurise_backup.repository.wal_series import after, described, series_of

_PARTIAL = ".partial"


@dataclass(frozen=True, slots=True)
class MergedLog:
    """What a merge has changed."""

    published: tuple[SnapshotId, Snapshot] | None = None
    gone: tuple[SnapshotId, ...] = ()
    refused: BackupError | None = None
    """Why what is superseded could not be taken away; the newest snapshot names all of it."""


def merge_logs(
    repository: Repository, source: str, lock: Lock, *, needed: Lsn | None, now: Clock, may_delete: bool = True
) -> MergedLog:
    """Leave one snapshot of a source's log, or have the newest name it all where nothing may be taken away.

    One of another cluster stays as it is. `needed`: from where on this repository's own base backups need the log;
    None: there are none, and only the newest snapshot counts. The index must be loaded.
    """
    series = series_of(repository.readable_snapshots(), source)
    if len(series) < 2:
        return MergedLog()
    *before, (name, newest) = series
    older = [(one, snapshot) for one, snapshot in before if snapshot.tag("system") == newest.tag("system")]
    size = int(newest.tag("segment") or 0)
    kept: dict[Names, Node | None] = {}
    if needed is not None:
        for _, snapshot in older:
            only = _only_in(repository, snapshot.tree, newest.tree)
            kept |= {path: node for path, node in only if _reaches(node.name, needed, size)}
    kept = {path: node for path, node in kept.items() if not (path[-1].endswith(_PARTIAL) and _whole(path) in kept)}
    gone, published = [one for one, _ in older], None
    if kept:
        with repository.writer(lock, SETTINGS) as sink:
            tree = graft(
                sink, repository.read_tree, newest.tree, kept, folder=lambda one: described(one, 0o40700, now())
            )
        merged = msgspec.structs.replace(newest, time=after(newest.time), tree=tree, original=newest.original or name)
        published = (repository.publish(merged, lock), merged)
        gone.append(name)
    if not may_delete:
        return MergedLog(published)
    try:
        if gone:
            take_away(repository.box, [object_name(Kind.SNAPSHOT, one) for one in gone], now=now())
    except CancelledError:
        raise
    except BackupError as error:
        return MergedLog(published, refused=error)
    return MergedLog(published, tuple(gone))


def _only_in(repository: Repository, old: str, new: str | None, above: Names = ()) -> Iterator[tuple[Names, Node]]:
    """Yield the files that a tree has and another one has not; a segment's beginning gives way to the whole segment.

    One that is there with other bytes, as after a cluster was set back, comes under a name of its own.
    """
    if old == new:
        return
    there = {node.name: node for node in repository.read_tree(new)} if new else {}
    for node in repository.read_tree(old):
        path, other = (*above, node.name), there.get(node.name)
        if node.type == "dir" and node.subtree:
            yield from _only_in(repository, node.subtree, other.subtree if other else None, path)
        elif node.name.endswith(_PARTIAL):
            if other is None and node.name.removesuffix(_PARTIAL) not in there:
                yield path, node
        elif other is None:
            yield path, node
        elif node.content != other.content:
            digest = blob_id("".join(node.content or ()).encode()).hex()[:8]
            conflict = msgspec.structs.replace(node, name=f"{node.name}.conflict-{digest}")
            if conflict.name not in there:
                yield (*above, conflict.name), conflict


def _whole(path: Names) -> Names:
    return (*path[:-1], path[-1].removesuffix(_PARTIAL))


def _reaches(name: str, needed: Lsn, size: int) -> bool:
    """Whether a file of the log may be needed: all histories, and segments that do not end before."""
    file = parse_wal_name(name.partition(".conflict")[0], size)
    return file is None or file.segment is None or file.segment.end(size) > needed
