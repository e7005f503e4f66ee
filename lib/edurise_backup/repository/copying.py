"""Copy snapshots into another repository: plan, read in the packs' order, prove, store, publish.

The order is a backup's: packs, index, snapshot. A run that was cut short leaves
whole snapshots, and blobs that the next run finds and does not read again. What
is damaged in the source costs the snapshots that need it; the others are copied.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import msgspec

from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.machine.cores import cores
from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.pipeline.codec import open_blob
from edurise_backup.ports import BlobSink, Progress
from edurise_backup.repository.index import Place
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.runs import runs
from edurise_backup.repository.writer import WriterSettings

BATCH_BYTES = 1024 * 1024 * 1024
"""Snapshots are gathered until they bring this much; then they are made durable and published together."""

Blob = tuple[BlobKind, BlobId]


@dataclass(frozen=True, slots=True)
class CopiedSnapshot:
    """A snapshot of the source, and its copy in the destination."""

    source: SnapshotId
    copy: SnapshotId


@dataclass(slots=True)
class Copied:
    """What a copy did; sizes in bytes. `problems` says which snapshots could not be copied, and why."""

    snapshots: list[CopiedSnapshot] = field(default_factory=list)
    skipped: list[CopiedSnapshot] = field(default_factory=list)
    """What the destination had already."""
    blobs: int = 0
    plain_bytes: int = 0
    stored_bytes: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class WantedBlob:
    """A blob that the destination does not have, and where the source has it."""

    kind: BlobKind
    id: BlobId
    place: Place


def copy_snapshots(
    source: Repository,
    destination: Repository,
    snapshots: Mapping[SnapshotId, Snapshot],
    lock: Lock,
    *,
    progress: Progress,
    settings: WriterSettings | None = None,
    batch_bytes: int = BATCH_BYTES,
    there: Mapping[SnapshotId, Snapshot] | None = None,
) -> Copied:
    """Copy `snapshots` of the source, in their order; `lock` is the destination's.

    Both indexes must be loaded. A snapshot is skipped when the destination has
    it under the same id, or a copy that names it as its `original`, as stock
    restic decides it. `there`: the destination's snapshots, for who has just
    read them. Raises CancelledError, and what the stores raise.
    """
    copy = _Copy(source, destination, lock, progress, settings)
    waiting = deque(copy.missing(snapshots, there))
    while waiting:
        copy.batch(waiting, batch_bytes)
    copy.result.problems += destination.damage
    return copy.result


class _Copy:
    def __init__(
        self,
        source: Repository,
        destination: Repository,
        lock: Lock,
        progress: Progress,
        settings: WriterSettings | None,
    ) -> None:
        self.result = Copied()
        self._source = source
        self._destination = destination
        self._lock = lock
        self._progress = progress
        self._settings = settings
        self._walked: set[BlobId] = set()
        self._lost: dict[Blob, str] = {}
        self._guard = threading.Lock()

    def missing(
        self, snapshots: Mapping[SnapshotId, Snapshot], listed: Mapping[SnapshotId, Snapshot] | None
    ) -> Iterator[tuple[SnapshotId, Snapshot]]:
        """Yield the snapshots that the destination does not have; note the others."""
        there: dict[str, list[tuple[SnapshotId, Snapshot]]] = {}
        if listed is None:
            listed = self._destination.readable_snapshots(self.result.problems)
        for found_id, found in listed.items():
            for name in {found_id, found.original or found_id}:
                there.setdefault(name, []).append((found_id, found))
        for snapshot_id, snapshot in snapshots.items():
            same = [key for key, found in there.get(snapshot.original or snapshot_id, ()) if _alike(found, snapshot)]
            if same:
                self.result.skipped.append(CopiedSnapshot(snapshot_id, same[0]))
            else:
                yield snapshot_id, snapshot

    def batch(self, waiting: deque[tuple[SnapshotId, Snapshot]], batch_bytes: int) -> None:
        """Copy what the next snapshots need, and publish those that came over whole."""
        taken: list[tuple[SnapshotId, Snapshot]] = []
        with self._destination.writer(self._lock, self._settings) as sink:
            plan = _Plan()
            self._progress.phase("trees")
            while waiting and not plan.brought and plan.bytes < batch_bytes:
                taken.append(waiting.popleft())
                for _ in self._plan(taken[-1][1].tree, plan):
                    if plan.bytes >= batch_bytes:  # of a large snapshot a part goes ahead, so memory stays bounded
                        self._bring(plan, sink)
                        self._progress.phase("trees")
            self._bring(plan, sink)
        self.result.blobs += sink.stats.data_blobs + sink.stats.tree_blobs
        self.result.plain_bytes += sink.stats.plain_bytes
        self.result.stored_bytes += sink.stats.stored_bytes
        for snapshot_id, snapshot in taken:
            self._publish(snapshot_id, snapshot)

    def _plan(self, tree: str, plan: _Plan) -> Iterator[None]:
        """Walk what was not walked yet, and yield after each tree; one that is damaged is noted, and passed over."""
        stack = [BlobId(bytes.fromhex(tree))]
        while stack:
            at = stack.pop()
            if at in self._walked:
                continue
            self._progress.raise_if_cancelled()
            self._walked.add(at)
            try:
                nodes = self._source.read_tree(at.hex())
            except (DamageError, NotFoundError) as error:
                self._lose((BlobKind.TREE, at), error.message)
                continue
            self._want((BlobKind.TREE, at), plan)
            for node in nodes:
                for name in node.content or ():
                    self._want((BlobKind.DATA, BlobId(bytes.fromhex(name))), plan)
                if node.subtree is not None:
                    stack.append(BlobId(bytes.fromhex(node.subtree)))
            yield

    def _bring(self, plan: _Plan, sink: BlobSink) -> None:
        """Copy what was planned so far."""
        self._progress.phase("copy", bytes_total=plan.bytes)
        self._copy(plan, sink)
        plan.clear()

    def _want(self, blob: Blob, plan: _Plan) -> None:
        if blob in plan.blobs or blob in self._destination.index:
            return
        place = self._source.index.find(*blob)
        if place is None:
            self._lose(blob, f"{blob[0].word} blob {blob[1].hex()} is in no index")
        else:
            plan.add(WantedBlob(*blob, place))

    def _copy(self, plan: _Plan, sink: BlobSink) -> None:
        workers = cores()
        under_way: set[Future[None]] = set()
        with ThreadPoolExecutor(workers, thread_name_prefix="copy") as pool:
            try:
                for run in plan.runs():
                    if len(under_way) >= 2 * workers:
                        done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                        _raise_first(done)
                    under_way.add(pool.submit(self._copy_run, run, sink))
                _raise_first(under_way)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _copy_run(self, run: list[WantedBlob], sink: BlobSink) -> None:
        self._progress.raise_if_cancelled()
        start = run[0].place.offset
        length = run[-1].place.offset + run[-1].place.length - start
        name = object_name(Kind.PACK, run[0].place.pack)
        try:
            sealed = memoryview(self._source.store.get(name, offset=start, length=length))
        except (NotFoundError, DamageError):
            sealed = memoryview(b"")  # each blob is then looked for elsewhere
        for blob in run:
            self._progress.raise_if_cancelled()
            at = blob.place.offset - start
            plaintext = self._opened(blob, sealed[at : at + blob.place.length])
            if plaintext is not None:
                sink.store(blob.kind, [plaintext])  # a failure of it is raised by the next call, or at the end
            self._progress.advance(bytes_done=blob.place.length)

    def _opened(self, blob: WantedBlob, sealed: memoryview) -> bytes | None:
        try:
            return open_blob(self._source.box.key, sealed, wanted=blob.id, raw_length=blob.place.raw_length)
        except DamageError:
            pass  # perhaps another pack has a whole copy
        try:
            return self._source.read_blob(blob.kind, blob.id)
        except (DamageError, NotFoundError) as error:
            self._lose((blob.kind, blob.id), error.message)
            return None

    def _lose(self, blob: Blob, why: str) -> None:
        with self._guard:
            self._lost[blob] = why

    def _publish(self, snapshot_id: SnapshotId, snapshot: Snapshot) -> None:
        lost = self._lost_of(snapshot.tree) if self._lost else None
        if lost is not None:
            self.result.problems.append(f"snapshot {snapshot_id[:8]} was not copied: {self._lost[lost]}")
            return
        self._progress.raise_if_cancelled()
        copy = msgspec.structs.replace(snapshot, parent=None, original=snapshot.original or snapshot_id)
        self.result.snapshots.append(CopiedSnapshot(snapshot_id, self._destination.publish(copy, self._lock)))

    def _lost_of(self, tree: str) -> Blob | None:
        """Return a blob that this tree needs and that did not come over, or None: asked only when any is lost."""
        stack = [BlobId(bytes.fromhex(tree))]
        seen: set[BlobId] = set()
        while stack:
            at = stack.pop()
            if at in seen:
                continue
            seen.add(at)
            self._progress.raise_if_cancelled()
            if (BlobKind.TREE, at) in self._lost:
                return BlobKind.TREE, at
            for node in self._source.read_tree(at.hex()):
                for name in node.content or ():
                    if (blob := (BlobKind.DATA, BlobId(bytes.fromhex(name)))) in self._lost:
                        return blob
                if node.subtree is not None:
                    stack.append(BlobId(bytes.fromhex(node.subtree)))
        return None


class _Plan:
    """The blobs to read, by pack."""

    def __init__(self) -> None:
        self.bytes = 0
        self.blobs: set[Blob] = set()
        self.brought = False
        """A part of it was, and is forgotten here."""
        self._packs: dict[str, list[WantedBlob]] = {}

    def clear(self) -> None:
        """Forget what was brought."""
        self.bytes, self.brought = 0, True
        self.blobs.clear()
        self._packs.clear()

    def add(self, blob: WantedBlob) -> None:
        """Have a blob read with the others of its pack."""
        self.blobs.add((blob.kind, blob.id))
        self._packs.setdefault(blob.place.pack, []).append(blob)
        self.bytes += blob.place.length

    def runs(self) -> Iterator[list[WantedBlob]]:
        """Yield neighbouring blobs that are worth one read, pack by pack."""
        for blobs in self._packs.values():
            yield from runs(sorted(blobs, key=lambda blob: blob.place.offset))


def _raise_first(done: Iterable[Future[None]]) -> None:
    for future in done:
        future.result()


def _alike(one: Snapshot, other: Snapshot) -> bool:
    """Whether two snapshots differ in parent and original at most (restic's `similarSnapshots`)."""
    return (
        (one.nanoseconds, one.tree, one.hostname, one.username, one.uid, one.gid, one.excludes)
        == (other.nanoseconds, other.tree, other.hostname, other.username, other.uid, other.gid, other.excludes)
        and sorted(one.paths) == sorted(other.paths)
        and sorted(one.tags or []) == sorted(other.tags or [])
    )
