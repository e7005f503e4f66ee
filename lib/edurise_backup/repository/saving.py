"""Make a snapshot of a source: lock, archive, make durable, publish."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from edurise_backup import __version__
from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.content import rfc3339
from edurise_backup.model.snapshot import Snapshot, SnapshotId, Summary
from edurise_backup.pipeline.archiver import GRANULARITY, Archived, Parent, archive
from edurise_backup.ports import Clock, Progress, Source, utc_now
from edurise_backup.repository.keys import user_name
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.writer import WriterSettings, WriterStats

_PROGRAM = f"edurise-backup {__version__}"


@dataclass(frozen=True, slots=True)
class Label:
    """What a snapshot says of itself."""

    paths: Sequence[str]
    host: str = ""
    tags: Sequence[str] = ()
    excludes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Saved:
    """A published snapshot, and what it took."""

    id: SnapshotId
    snapshot: Snapshot
    archived: Archived
    added: WriterStats


def save_snapshot(
    repository: Repository,
    source: Source,
    label: Label,
    lock: Lock,
    *,
    progress: Progress,
    read_everything: bool = False,
    settings: WriterSettings | None = None,
    now: Clock = utc_now,
    started: datetime | None = None,
    readers: int = 0,
) -> Saved:
    """Store what the source offers and publish it; files that did not change since the parent are not read.

    `started`: when the source was first looked at, if that was before now; `readers` as for `archive`. The
    index must be loaded. Raises what the source and the store raise; then nothing is published.
    """
    started = started or now()
    repository.lost_packs()  # before anybody asks the index, which forgets them: what they held is read again
    host = label.host or socket.gethostname()
    parent_id = None if read_everything else find_parent(repository, label.paths, host)
    parent = None if parent_id is None else parent_from(repository, parent_id[1])
    settings = settings or WriterSettings()
    try:
        with repository.writer(lock, settings) as sink:
            archived = archive(source, sink, progress=progress, parent=parent, sizes=settings.sizes, readers=readers)
    except (DamageError, NotFoundError):
        lock.confirm()  # if it was lost, whoever removed it has removed what is missing, too: say that
        raise
    parent_name = parent_id[0] if parent_id else None
    return publish_archived(
        repository, archived, sink.stats, label, lock, progress=progress, parent=parent_name, started=started, now=now
    )


def publish_archived(
    repository: Repository,
    archived: Archived,
    added: WriterStats,
    label: Label,
    lock: Lock,
    *,
    progress: Progress,
    parent: SnapshotId | None,
    started: datetime,
    now: Clock,
) -> Saved:
    """Publish a snapshot of a tree that is durable and indexed."""
    archived = replace(archived, problems=(*archived.problems, *repository.damage))
    progress.raise_if_cancelled()
    snapshot = Snapshot(
        time=_text(started),
        parent=parent,
        tree=archived.tree,
        paths=[_as_go(path) for path in label.paths],
        hostname=label.host or socket.gethostname(),
        username=user_name(),
        uid=os.getuid(),
        gid=os.getgid(),
        excludes=[_as_go(pattern) for pattern in label.excludes],
        tags=list(label.tags) or None,
        program_version=_PROGRAM,
        summary=_summary(archived, added, started, now()),
    )
    return Saved(repository.publish(snapshot, lock), snapshot, archived, added)


def find_parent(repository: Repository, paths: Sequence[str], host: str) -> tuple[SnapshotId, Snapshot] | None:
    """Return the newest snapshot of the same host and paths, as stock restic chooses it."""
    same = [
        (snapshot_id, snapshot)
        for snapshot_id, snapshot in repository.readable_snapshots().items()
        if snapshot.hostname == host and sorted(snapshot.paths) == sorted(map(_as_go, paths))
    ]
    return same[-1] if same else None


def parent_from(repository: Repository, snapshot: Snapshot) -> Parent:
    """Return what unchanged files are taken from; the repository's index must be loaded."""
    return Parent(
        read_tree=repository.read_tree_once,
        tree=snapshot.tree,
        newest=snapshot.nanoseconds - GRANULARITY,
        known=repository.index.has_data,
        alike=snapshot.uid == os.getuid() and snapshot.program_version == _PROGRAM,
    )


def _summary(archived: Archived, added: WriterStats, started: datetime, ended: datetime) -> Summary:
    stats = archived.stats
    return Summary(
        backup_start=_text(started),
        backup_end=_text(ended),
        files_new=stats.files_new,
        files_changed=stats.files_changed,
        files_unmodified=stats.files_unmodified,
        dirs_new=stats.dirs_new,
        dirs_changed=stats.dirs_changed,
        dirs_unmodified=stats.dirs_unmodified,
        data_blobs=added.data_blobs,
        tree_blobs=added.tree_blobs,
        data_added=added.plain_bytes,
        data_added_packed=added.stored_bytes,
        total_files_processed=stats.files,
        total_bytes_processed=stats.source_bytes,
    )


def _as_go(text: str) -> str:
    """Return text as Go writes it into JSON: bytes that are not UTF-8 become U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _text(moment: datetime) -> str:
    return rfc3339((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000)
