"""Locks: who holds the repository, who is dead, and what happens to one that lost its lock."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from edurise_backup.errors import LockedError, TransientError
from edurise_backup.model.content import rfc3339
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import Buffer
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.locks import DEAD_AFTER, Lock, LockFile, read_locks, remove_all, remove_dead
from edurise_backup.repository.pruner import apply_prune, prepare_prune
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Label, save_snapshot
from edurise_backup.sources.files import FilesSource
from tests.support.engine import (
    AT_ONCE,
    NOTHING_UNUSED,
    ONE_PACK,
    PASSPHRASE,
    TINY,
    back_up,
    check,
    count,
    create,
    forget,
    opened,
    prune,
    restored_differences,
)
from tests.support.stores import Fault, FaultyStore, MemoryStore
from tests.support.trees import small_tree, write


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def pass_by(self, span: timedelta) -> None:
        self.time += span


@pytest.fixture
def store() -> MemoryStore:
    """Give a new repository's store."""
    store = MemoryStore()
    create(store)
    return store


@pytest.fixture
def clock() -> Watch:
    """Give a clock that only the test moves."""
    return Watch()


def foreign(repository: Repository, clock: Watch, *, exclusive: bool, age: timedelta = AT_ONCE) -> str:
    """Leave a lock of another host in the repository."""
    moment = int((clock() - age).timestamp() * 10**9)
    lock = LockFile(time=rfc3339(moment), exclusive=exclusive, hostname="elsewhere", username="ann", pid=77)
    return repository.box.save(Kind.LOCK, msgspec.json.encode(lock))


def acquire(repository: Repository, clock: Watch, *, exclusive: bool = False) -> Lock:
    """Take a lock at the clock's time."""
    return Lock.acquire(repository.box, exclusive=exclusive, now=clock, settle=AT_ONCE)


def test_readers_and_writers_share_the_repository(store: MemoryStore) -> None:
    with opened(store).lock(settle=AT_ONCE), opened(store).lock(settle=AT_ONCE):
        assert count(store, Kind.LOCK) == 2
    assert count(store, Kind.LOCK) == 0


@pytest.mark.parametrize(("mine", "theirs"), [(True, False), (True, True), (False, True)])
def test_an_exclusive_lock_is_held_alone_and_the_refusal_names_the_holder(
    store: MemoryStore, clock: Watch, mine: bool, theirs: bool
) -> None:
    repository = opened(store)
    foreign(repository, clock, exclusive=theirs)
    with pytest.raises(LockedError, match=r"ann on elsewhere .process 77. since 2024-05-01T12:00:00Z"):
        acquire(repository, clock, exclusive=mine)
    assert count(store, Kind.LOCK) == 1


def test_a_lock_that_was_not_refreshed_for_half_an_hour_is_dead_and_goes(store: MemoryStore, clock: Watch) -> None:
    repository = opened(store)
    foreign(repository, clock, exclusive=True, age=DEAD_AFTER - timedelta(seconds=1))
    with pytest.raises(LockedError):
        acquire(repository, clock)
    clock.pass_by(timedelta(seconds=2))
    acquire(repository, clock, exclusive=True).release()
    assert count(store, Kind.LOCK) == 0


def test_a_lock_of_a_process_of_this_host_that_has_ended_is_dead(store: MemoryStore, clock: Watch) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    repository = opened(store)
    moment = int(clock().timestamp() * 10**9)
    lock = LockFile(time=rfc3339(moment), exclusive=True, hostname=socket.gethostname(), pid=ended.pid)
    repository.box.save(Kind.LOCK, msgspec.json.encode(lock))
    assert remove_dead(repository.box, now=clock()) == 1
    assert read_locks(repository.box) == {}


def test_unlocking_leaves_a_lock_that_is_held_unless_all_are_to_go(store: MemoryStore, clock: Watch) -> None:
    repository = opened(store)
    foreign(repository, clock, exclusive=True)
    assert remove_dead(repository.box, now=clock()) == 0
    store.objects["locks/not readable"] = b"junk"
    assert remove_all(repository.box) == 2
    assert count(store, Kind.LOCK) == 0


def test_two_that_start_at_once_never_both_get_the_exclusive_lock(store: MemoryStore, clock: Watch) -> None:
    """The second look, after writing one's own lock, sees the other."""

    class Racing(MemoryStore):
        def put(self, name: str, pieces: object) -> None:
            super().put(name, pieces)  # type: ignore[arg-type]
            if not hasattr(self, "raced"):
                self.raced = True
                foreign(opened(self), clock, exclusive=True)

    racing = Racing(store.objects)
    with pytest.raises(LockedError):
        acquire(opened(racing), clock, exclusive=True)
    assert count(racing, Kind.LOCK) == 1  # the other's; ours was taken back


def test_a_refresh_moves_the_lock_to_the_present(store: MemoryStore, clock: Watch) -> None:
    repository = opened(store)
    with acquire(repository, clock) as lock:
        clock.pass_by(timedelta(minutes=20))
        lock.refresh()
        (found,) = read_locks(repository.box).values()
        assert found.time == "2024-05-01T12:20:00Z"
        clock.pass_by(timedelta(minutes=20))
        lock.confirm()
    assert count(store, Kind.LOCK) == 0


# S-12, S-13: a lock that was lost


def test_s12_a_lock_that_somebody_removed_is_noticed_before_anything_is_published(
    store: MemoryStore, tmp_path: Path
) -> None:
    tree = small_tree(tmp_path / "tree")
    repository = opened(store)
    source = FilesSource([str(tree)])
    with repository.lock(settle=AT_ONCE) as lock, pytest.raises(LockedError, match="somebody removed it"):
        remove_all(repository.box)
        save_snapshot(repository, source, Label(source.paths), lock, progress=SilentProgress(), settings=TINY)
    assert count(store, Kind.SNAPSHOT) == 0


def test_s12_a_prune_that_lost_its_lock_deletes_nothing(store: MemoryStore, tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    first = back_up(opened(store), tree, settings=ONE_PACK)
    write(tree / "folder 0" / "file 0", b"changed" * 700)
    back_up(opened(store), tree, settings=ONE_PACK)
    repository = opened(store)
    forget(repository, first.id)
    before = set(store.objects)
    with repository.lock(settle=AT_ONCE) as lock:
        plan = prepare_prune(repository, lock, NOTHING_UNUSED, progress=SilentProgress())
    with repository.lock(exclusive=True, settle=AT_ONCE) as lock:
        remove_all(repository.box)
        with pytest.raises(LockedError):
            apply_prune(repository, plan, lock, progress=SilentProgress())
    assert before <= set(store.objects)


def test_s13_a_lock_that_could_not_be_refreshed_is_not_confirmed_once_others_may_call_it_dead(
    store: MemoryStore, clock: Watch
) -> None:
    """The failed refreshes must not count: the lock in the repository is as old as the last one that worked."""
    faulty = FaultyStore(store, Fault("put", Kind.LOCK, lambda: TransientError("offline"), first=1, times=9))
    repository = Repository.open(faulty, PASSPHRASE)
    with faulty, acquire(repository, clock) as lock:
        for _ in range(6):
            clock.pass_by(timedelta(minutes=5))
            with pytest.raises(TransientError):
                lock.refresh()
        clock.pass_by(timedelta(minutes=5))
        assert all(found.dead(clock()) for found in read_locks(repository.box).values())
        with pytest.raises(LockedError, match="not refreshed"):
            lock.confirm()


@pytest.mark.parametrize("removed", [False, True], ids=["still there", "removed"])
def test_s10_a_process_that_was_frozen_for_an_hour_publishes_nothing(
    store: MemoryStore, clock: Watch, removed: bool
) -> None:
    """Not even when its refresher wakes up first: while it slept, the lock was dead and a prune may have run."""
    repository = opened(store)
    with acquire(repository, clock) as lock:
        clock.pass_by(timedelta(hours=1))
        if removed:
            assert remove_dead(repository.box, now=clock()) == 1
        with pytest.raises(LockedError):
            lock.refresh()
        with pytest.raises(LockedError):
            lock.confirm()


class FrozenOnce(MemoryStore):
    """After the third pack, the writer sleeps: its lock is removed as dead, and another process prunes."""

    packs = 0
    pruned = False

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        super().put(name, pieces)
        self.packs += name.startswith("data/")
        if self.packs == 3 and not self.pruned:
            self.pruned = True
            other = MemoryStore()
            other.objects = self.objects
            remove_all(opened(other).box)
            prune(opened(other))


def test_s10_a_backup_that_slept_through_a_prune_leaves_no_index_of_packs_that_are_gone(tmp_path: Path) -> None:
    """Its first packs were removed as unknown; an index that lists them would make later backups trust them."""
    tree = small_tree(tmp_path / "tree")
    store = FrozenOnce()
    create(store)
    back_up(opened(store), write(tmp_path / "other", b"so that there is a snapshot"))
    store.packs = 0
    with pytest.raises(LockedError):
        back_up(opened(store), tree)
    assert store.pruned
    assert check(opened(store)).findings == []
    saved = back_up(opened(store), tree)
    assert restored_differences(opened(store), saved.snapshot, tree, tmp_path / "target") == []


def test_a_lock_that_was_removed_is_not_brought_back_by_a_refresh(store: MemoryStore, clock: Watch) -> None:
    repository = opened(store)
    with acquire(repository, clock) as lock:
        remove_all(repository.box)
        clock.pass_by(timedelta(minutes=5))
        with pytest.raises(LockedError):
            lock.refresh()
        assert count(store, Kind.LOCK) == 0
        with pytest.raises(LockedError):
            lock.confirm()


def test_a_lock_says_who_holds_it(store: MemoryStore) -> None:
    repository = opened(store)
    with repository.lock(exclusive=True, settle=AT_ONCE):
        (found,) = read_locks(repository.box).values()
    assert (found.pid, found.uid, found.hostname, found.exclusive) == (
        os.getpid(),
        os.getuid(),
        socket.gethostname(),
        True,
    )
