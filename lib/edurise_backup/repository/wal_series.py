"""What a log is in a repository: a series of snapshots, each of which supersedes the one before, and their nodes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from edurise_backup import __version__
from edurise_backup.model.content import Node, go_mode, nanoseconds, rfc3339
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.repository.keys import user_name

FOLDER = "/.edurise/wal"
TYPE = "wal"
"""The value of the tag `type` of its snapshots."""


def series_of(snapshots: Mapping[SnapshotId, Snapshot], source: str) -> list[tuple[SnapshotId, Snapshot]]:
    """Return the snapshots of a source's log, oldest first."""
    return [(name, one) for name, one in snapshots.items() if is_wal(one) and one.tag("source") == source]


def ancestors(series: list[tuple[SnapshotId, Snapshot]]) -> list[SnapshotId]:
    """Return what the newest of a series was made from, as far as it is there: all that these name is in it.

    Others, of another cluster or copied from elsewhere, may have what it has not.
    """
    by_name, found = dict(series), []
    parent = series[-1][1].parent if series else None
    while parent is not None and parent in by_name and parent not in found:
        found.append(SnapshotId(parent))
        parent = by_name[SnapshotId(parent)].parent
    return found


def after(time: str) -> str:
    """Return the time of a snapshot that comes right behind one of this time, before any published later."""
    return rfc3339(nanoseconds(time) + 1)


def newest_logs(snapshots: Mapping[SnapshotId, Snapshot]) -> dict[str, tuple[SnapshotId, Snapshot]]:
    """Return the newest snapshot of each source's log; `snapshots` are in their order."""
    return {one.tag("source") or "": (name, one) for name, one in snapshots.items() if is_wal(one)}


def is_wal(snapshot: Snapshot) -> bool:
    """Whether a snapshot is of a log: it belongs to no job, and is superseded by the next one."""
    return snapshot.tag("type") == TYPE and "edurise" in (snapshot.tags or ())


def snapshot_of(
    tree: str,
    source: str,
    system: str,
    size: int,
    *,
    host: str,
    started: datetime,
    parent: tuple[SnapshotId, Snapshot] | None,
) -> Snapshot:
    """Return what a snapshot of a log says of itself."""
    return Snapshot(
        time=_text(started),
        parent=parent[0] if parent else None,
        tree=tree,
        paths=[f"{FOLDER}/{source}"],
        hostname=host,
        username=user_name(),
        uid=os.getuid(),
        gid=os.getgid(),
        tags=["edurise", f"type={TYPE}", f"source={source}", f"system={system}", f"segment={size}"],
        program_version=f"edurise-backup {__version__}",
    )


def described(name: str, st_mode: int, moment: datetime) -> Node:
    """Return the node of a file or folder of a log."""
    kind, mode = go_mode(st_mode)
    time = _text(moment)
    return Node(
        name=name, type=kind, mode=mode, mtime=time, atime=time, ctime=time, uid=os.getuid(), gid=os.getgid(),
        content=[] if kind == "file" else None,
    )  # fmt: skip


def _text(moment: datetime) -> str:
    return rfc3339((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000)
