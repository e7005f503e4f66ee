"""A copy that is cut at every write, or reads from a damaged source: no snapshot arrives that does not restore."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edurise_backup.errors import CancelledError, SpaceError, TransientError
from edurise_backup.model.content import BlobKind
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.repository.copying import copy_snapshots
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.repository import Repository
from tests.support.engine import (
    AT_ONCE,
    PASSPHRASE,
    TINY,
    back_up,
    check,
    copy_all,
    count,
    create,
    names_that_lie,
    opened,
    restore,
)
from tests.support.stores import Crash, CrashingStore, Fault, FaultyStore, MemoryStore
from tests.support.trees import NOON, Described, describe, differences, small_tree, write


@dataclass(slots=True)
class Origin:
    """A repository with three snapshots of a changing tree, and what each must restore to."""

    folder: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    states: dict[SnapshotId, dict[bytes, Described]] = field(default_factory=dict)

    @property
    def live(self) -> Path:
        return self.folder / "live"

    def fill(self) -> None:
        create(self.store)
        small_tree(self.live)
        self._back_up()
        for number in (1, 2):
            write(self.live / "folder 0" / "file 0", b"changed %d" % number * 100, mtime=NOON + number)
            write(self.live / f"new {number}" / "below", os.urandom(3000))
            self._back_up()

    def _back_up(self) -> None:
        self.states[back_up(opened(self.store), self.live).id] = describe(self.live)

    def assert_restores(self, disk: MemoryStore) -> int:
        """Every snapshot of `disk` restores to what its original was; return how many there are."""
        repository = opened(disk)
        found = repository.snapshots()
        for snapshot in found.values():
            target = self.folder / "target"
            restore(repository, snapshot.tree, target)
            expected = self.states[SnapshotId(snapshot.original or "")]
            assert differences(expected, describe(target / str(self.live).lstrip("/"))) == []
            shutil.rmtree(target)
        return len(found)


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    """Give a source with three snapshots."""
    made = Origin(tmp_path)
    made.fill()
    return made


@pytest.fixture
def processes_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the locks of crashed runs count as dead."""

    def no_such_process(pid: int, signal: int) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", no_such_process)


@pytest.mark.parametrize("batch", [1, 1 << 30], ids=["a snapshot at a time", "all at once"])
def test_a_crash_at_any_write_leaves_whole_snapshots_only_and_a_second_run_completes(
    origin: Origin, batch: int, processes_are_gone: None
) -> None:
    empty = MemoryStore()
    create(empty)
    for survive in range(1000):
        disk = empty.copy()
        try:
            copy_all(opened(origin.store), Repository.open(CrashingStore(disk, survive), PASSPHRASE), batch_bytes=batch)
        except Crash:
            origin.assert_restores(disk)
            assert check(opened(disk)).findings == []
            again = copy_all(opened(origin.store), opened(disk), batch_bytes=batch)
            assert again.problems == []
            assert len(again.snapshots) + len(again.skipped) == 3
            assert origin.assert_restores(disk) == 3
            assert names_that_lie(disk) == []
            assert check(opened(disk)).findings == []
            assert count(disk, Kind.LOCK) == 0
            continue
        break
    assert survive > 12
    assert origin.assert_restores(disk) == 3


def test_a_second_run_reads_nothing_that_arrived(origin: Origin) -> None:
    destination = create()
    copy_all(opened(origin.store), destination)
    for name in [name for name in destination.store.objects if name.startswith("snapshots/")]:  # type: ignore[attr-defined]
        destination.store.delete(name)
    reads = Fault("get", "data/", answer=lambda content: content, times=10_000)
    trees_only = Repository.open(FaultyStore(origin.store, reads), PASSPHRASE)
    again = copy_all(trees_only, destination)
    assert (len(again.snapshots), again.blobs) == (3, 0)
    assert reads.fired <= len(set(opened(origin.store).index.blobs(BlobKind.TREE)))  # the walk; not one data blob


def test_a_damaged_blob_costs_the_snapshots_that_need_it_and_no_other(origin: Origin) -> None:
    source = opened(origin.store)
    newest = source.find_snapshot("latest")[0]
    changed = next(node for node in tree_nodes(source, newest) if node[0].endswith("/new 2/below"))
    place = source.index.find(BlobKind.DATA, bytes.fromhex(changed[1]))  # type: ignore[arg-type]
    assert place is not None
    damage(origin.store, place.pack, place.offset)
    disk = MemoryStore()
    create(disk)
    done = copy_all(opened(origin.store), opened(disk))
    assert len(done.snapshots) == 2
    assert [problem.startswith(f"snapshot {newest[:8]} was not copied") for problem in done.problems] == [True]
    assert origin.assert_restores(disk) == 2
    assert check(opened(disk)).findings == []


@pytest.mark.parametrize("kind", [BlobKind.TREE, BlobKind.DATA])
def test_no_flipped_byte_of_any_blob_arrives(origin: Origin, kind: BlobKind) -> None:
    blobs = list(opened(origin.store).index.blobs(kind))
    for blob in blobs[:: max(1, len(blobs) // 6)]:
        store = origin.store.copy()
        place = opened(store).index.find(kind, blob)  # type: ignore[arg-type]
        assert place is not None
        damage(store, place.pack, place.offset + 20)
        disk = MemoryStore()
        create(disk)
        done = copy_all(opened(store), opened(disk), batch_bytes=1)
        assert len(done.problems) == 3 - len(done.snapshots) > 0
        assert origin.assert_restores(disk) == len(done.snapshots)
        assert check(opened(disk)).findings == []


def test_a_pack_that_has_gone_costs_what_it_held(origin: Origin) -> None:
    pack = next(name for name in origin.store.objects if name.startswith("data/"))
    origin.store.delete(pack)
    disk = MemoryStore()
    create(disk)
    done = copy_all(opened(origin.store), opened(disk))
    assert done.problems
    assert origin.assert_restores(disk) == len(done.snapshots)


def test_a_blob_that_lies_twice_is_taken_from_the_whole_copy(origin: Origin) -> None:
    source = opened(origin.store)
    blob = next(iter(source.index.blobs(BlobKind.DATA)))
    place = source.index.find(BlobKind.DATA, blob)  # type: ignore[arg-type]
    assert place is not None
    lost = origin.store.objects[object_name(Kind.PACK, place.pack)]
    origin.store.delete(object_name(Kind.PACK, place.pack))
    back_up(opened(origin.store), origin.live, everything=True)  # stores again what is needed and lost
    shutil.rmtree(origin.live)
    origin.store.put(object_name(Kind.PACK, place.pack), [lost])
    damage(origin.store, place.pack, place.offset)
    done = copy_all(opened(origin.store), create())
    assert len(done.snapshots) + len(done.problems) == 4
    assert len(done.snapshots) >= 2  # the new one and the last one need nothing but whole copies


def test_packs_that_the_destination_lost_are_copied_again(origin: Origin) -> None:
    disk = MemoryStore()
    create(disk)
    copy_all(opened(origin.store), opened(disk))
    for name in [name for name in disk.objects if name.startswith("snapshots/")]:
        disk.delete(name)
    disk.delete(next(name for name in disk.objects if name.startswith("data/")))
    done = copy_all(opened(origin.store), opened(disk))
    assert (len(done.snapshots), done.blobs > 0) == (3, True)
    assert origin.assert_restores(disk) == 3


@pytest.mark.parametrize("error", [SpaceError("full"), TransientError("the line broke")])
@pytest.mark.parametrize("prefix", ["data/", "index/", "snapshots/"])
def test_a_failing_write_fails_the_copy_and_leaves_whole_snapshots(
    origin: Origin, error: Exception, prefix: str
) -> None:
    disk = MemoryStore()
    create(disk)
    fault = Fault("put", prefix, error=lambda: error, first=1)
    with FaultyStore(disk, fault) as store, pytest.raises(type(error)):
        copy_all(opened(origin.store), Repository.open(store, PASSPHRASE), batch_bytes=1)
    origin.assert_restores(disk)
    assert check(opened(disk)).findings == []
    assert len(copy_all(opened(origin.store), opened(disk)).problems) == 0
    assert origin.assert_restores(disk) == 3


def test_a_cancelled_copy_publishes_nothing_more(origin: Origin) -> None:
    disk = MemoryStore()
    create(disk)
    source, destination = opened(origin.store), opened(disk)
    progress = CancelledAfter(2000)
    with destination.lock(settle=AT_ONCE) as lock, pytest.raises(CancelledError):
        copy_snapshots(source, destination, source.snapshots(), lock, progress=progress, settings=TINY)
    assert count(disk, Kind.SNAPSHOT) == count(disk, Kind.LOCK) == 0
    assert len(copy_all(source, opened(disk)).snapshots) == 3
    assert origin.assert_restores(disk) == 3


class CancelledAfter(SilentProgress):
    """A person who stops the work after so many bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._left = limit

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Count down."""
        self._left -= bytes_done
        if self._left < 0:
            self.cancel()


def tree_nodes(repository: Repository, snapshot: SnapshotId) -> list[tuple[str, str]]:
    """Return (path, first blob) of every file of one blob or more."""
    from edurise_backup.recovery.planning import walk_files

    tree = repository.snapshots()[snapshot].tree
    return [(path, node.content[0]) for path, node in walk_files(repository, tree) if node.content]


def damage(store: MemoryStore, pack: str, offset: int) -> None:
    """Flip a bit of a pack."""
    name = object_name(Kind.PACK, pack)
    content = bytearray(store.objects[name])
    content[offset] ^= 1
    store.objects[name] = bytes(content)


@pytest.mark.parametrize("cut", [1, 40, 4000])
def test_s23_a_read_that_comes_back_short_is_no_data(origin: Origin, cut: int) -> None:
    """S-23: a store that answers with fewer bytes and no error; the blob is asked for again, or its snapshot stays."""

    def shortened(content: object) -> bytes:
        assert isinstance(content, bytes)
        return content[:-cut]

    reads = Fault("get", "data/", answer=shortened, first=12, times=3)
    disk = MemoryStore()
    create(disk)
    with FaultyStore(origin.store, reads) as store:
        done = copy_all(Repository.open(store, PASSPHRASE), opened(disk))
    assert len(done.snapshots) + len(done.problems) == 3
    assert origin.assert_restores(disk) == len(done.snapshots)
    assert check(opened(disk)).findings == []
