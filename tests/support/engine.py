"""The engine in short words for tests: quick keys, no pause at locks, tiny packs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from edurise_backup.model.content import BlobKind, Node, encode_tree
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import Clock, Source, Store, utc_now
from edurise_backup.recovery.planning import plan_restore
from edurise_backup.recovery.restorer import Restored
from edurise_backup.recovery.restorer import restore as restore_files
from edurise_backup.repository.copying import Copied, copy_snapshots
from edurise_backup.repository.fates import PruneOptions, UnusedLimit
from edurise_backup.repository.keys import ScryptCost
from edurise_backup.repository.layout import Kind, object_id
from edurise_backup.repository.pruner import Pruned
from edurise_backup.repository.pruner import prune as prune_repository
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Label, Saved, save_snapshot
from edurise_backup.repository.undoing import list_forgotten, undo_forget
from edurise_backup.repository.writer import BlobWriter, WriterSettings
from edurise_backup.sources.files import FilesSource
from edurise_backup.verification.checker import CheckResult
from edurise_backup.verification.checker import check as check_repository
from tests.support.stores import MemoryStore
from tests.support.trees import describe, differences

PASSPHRASE = "correct horse battery staple"
QUICK = ScryptCost(n=1 << 10, r=8, p=1)
"""The cheapest key that is not refused: 1 MiB."""
AT_ONCE = timedelta(0)
TINY = WriterSettings(pack_size=2000, workers=2)
"""Packs of a blob or three, so that there are many writes to crash at."""
ONE_PACK = WriterSettings(pack_size=1 << 20, workers=2)
"""Packs that hold all of a small tree, so that a prune has to write them again."""

NOTHING_UNUSED = PruneOptions(grace=AT_ONCE, max_unused=UnusedLimit(size=0), max_removed=1.0)
"""Prunes at once, and leaves nothing that no snapshot refers to."""


def create(store: Store | None = None) -> Repository:
    """Make a repository, in memory unless told otherwise."""
    return Repository.create(store or MemoryStore(), PASSPHRASE, cost=QUICK)[0]


def opened(store: Store) -> Repository:
    """Open the repository of a store and load its index."""
    repository = Repository.open(store, PASSPHRASE)
    repository.load_index()
    return repository


def back_up(
    repository: Repository,
    *paths: Path,
    settings: WriterSettings = TINY,
    everything: bool = False,
    now: Clock = utc_now,
) -> Saved:
    """Publish a snapshot of directory trees."""
    source = FilesSource([str(path) for path in paths])
    return back_up_source(repository, source, source.paths, settings=settings, everything=everything, now=now)


def back_up_source(
    repository: Repository,
    source: Source,
    paths: Iterable[str],
    *,
    settings: WriterSettings = TINY,
    everything: bool = False,
    now: Clock = utc_now,
) -> Saved:
    """Publish a snapshot of any source."""
    with repository.lock(settle=AT_ONCE) as lock:
        repository.load_index(strict=False)  # as `operations.opening.locked` does
        return save_snapshot(
            repository,
            source,
            Label(list(paths), host="tests"),
            lock,
            progress=SilentProgress(),
            read_everything=everything,
            settings=settings,
            now=now,
        )


def check(repository: Repository, *, read_data: bool = True) -> CheckResult:
    """Check everything, every byte too unless told otherwise."""
    return check_repository(repository, progress=SilentProgress(), read_data=read_data)


def forget(repository: Repository, *snapshot_ids: SnapshotId) -> None:
    """Take snapshots away at once and for ever."""
    for snapshot_id in snapshot_ids:
        repository.forget(snapshot_id, grace=AT_ONCE)


def prune(
    repository: Repository,
    options: PruneOptions = NOTHING_UNUSED,
    *,
    now: Clock = utc_now,
    known: Iterable[SnapshotId] = (),
) -> Pruned:
    """Remove what no snapshot refers to; at once, unless told otherwise."""
    return prune_repository(repository, options, progress=SilentProgress(), known=list(known), settle=AT_ONCE, now=now)


def bring_back(repository: Repository, snapshot_id: SnapshotId) -> None:
    """Undo a forget."""
    with repository.lock(settle=AT_ONCE) as lock:
        undo_forget(repository, list_forgotten(repository)[snapshot_id], lock)


def restore(repository: Repository, tree: str, target: Path) -> Restored:
    """Restore a whole tree."""
    return restore_files(repository, plan_restore(repository, tree), target, progress=SilentProgress(), workers=2)


def beyond_owners(problems: Iterable[str]) -> list[str]:
    """Return the problems of a restore but those of owners: an ordinary user cannot give `/tmp` back to root."""
    return [problem for problem in problems if "owner" not in problem]


def restored_differences(repository: Repository, snapshot: Snapshot, source: Path, target: Path) -> list[str]:
    """Restore `source` from a snapshot and return how the result differs from what is there now."""
    restore(repository, snapshot.tree, target)
    return differences(describe(source), describe(target / str(source).lstrip("/")))


def publish_tree(repository: Repository, nodes: Iterable[Node] | bytes, *, blobs: Iterable[bytes] = ()) -> SnapshotId:
    """Publish a snapshot of one tree made by hand: nodes, or the tree's plaintext, which may be hostile."""
    plaintext = nodes if isinstance(nodes, bytes) else encode_tree(nodes)
    with repository.lock(settle=AT_ONCE) as lock:
        with repository.writer(lock, TINY) as sink:
            tree = _store_all(sink, plaintext, blobs)
        shot = Snapshot(time="2024-01-01T00:00:00Z", tree=tree, paths=["/hostile"], hostname="tests")
        return repository.publish(shot, lock)


def _store_all(sink: BlobWriter, plaintext: bytes, blobs: Iterable[bytes]) -> str:
    for blob in blobs:
        sink.store(BlobKind.DATA, [blob]).result()
    return sink.store(BlobKind.TREE, [plaintext]).result()[0].hex()


def names_that_lie(store: MemoryStore) -> list[str]:
    """Return the objects that are not named by the hash of their bytes, as the format demands."""
    return [
        name
        for name, content in store.objects.items()
        if (found := object_id(name)) is not None and found != hashlib.sha256(content).hexdigest()
    ]


def count(store: MemoryStore, kind: Kind) -> int:
    """Return how many objects of one kind there are."""
    return sum(1 for _ in store.list(kind))


def copy_all(
    source: Repository, destination: Repository, *, settings: WriterSettings = TINY, batch_bytes: int = 1 << 30
) -> Copied:
    """Copy every snapshot, as `repo copy` does."""
    with source.lock(settle=AT_ONCE), destination.lock(settle=AT_ONCE) as lock:
        source.load_index(strict=False)
        destination.load_index(strict=False)
        snapshots = source.readable_snapshots()
        progress = SilentProgress()
        return copy_snapshots(
            source, destination, snapshots, lock, progress=progress, settings=settings, batch_bytes=batch_bytes
        )
