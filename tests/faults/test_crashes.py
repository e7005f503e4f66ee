"""A crash at every single write of every operation; the next process finds a sound repository."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edurise_backup.errors import NotARepositoryError
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.writer import WriterSettings
from tests.support.engine import (
    AT_ONCE,
    ONE_PACK,
    PASSPHRASE,
    QUICK,
    TINY,
    back_up,
    check,
    count,
    create,
    forget,
    names_that_lie,
    opened,
    prune,
    restore,
)
from tests.support.stores import Crash, CrashingStore, MemoryStore
from tests.support.trees import NOON, Described, describe, differences, small_tree, write

Work = Callable[[Repository], object]


class History:
    """A tree that changes, and what each snapshot of it must restore to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self.live = small_tree(folder / "live")
        self.store = MemoryStore()
        create(self.store)
        self.settings = TINY
        self.states: dict[SnapshotId, dict[bytes, Described]] = {}

    def back_up(self) -> SnapshotId:
        saved = back_up(opened(self.store), self.live, settings=self.settings)
        self.states[saved.id] = describe(self.live)
        return saved.id

    def change(self, number: int) -> None:
        write(self.live / "folder 0" / "file 0", b"changed %d" % number * 100, mtime=NOON + number)
        write(self.live / f"new {number}", b"new %d" % number * 100)
        (self.live / "folder 1" / f"file {2 * number - 1}").unlink()

    def assert_sound(self, disk: MemoryStore, expected: set[SnapshotId]) -> None:
        """The disk holds the expected snapshots, whole, and takes a new one; others are of the present state."""
        with self._monkeypatch.context() as patch:
            patch.setattr(os, "kill", _no_such_process)  # the process that crashed is gone, with its locks
            self._assert_sound(disk, expected)

    def _assert_sound(self, disk: MemoryStore, expected: set[SnapshotId]) -> None:
        assert names_that_lie(disk) == []
        repository = opened(disk)
        assert check(repository).findings == []
        found = repository.snapshots()
        assert expected <= set(found)
        now = describe(self.live)
        for snapshot_id in found:
            self._assert_restores(repository, snapshot_id, self.states.get(snapshot_id, now))
        again = back_up(opened(disk), self.live)
        assert again.archived.problems == ()
        self._assert_restores(opened(disk), again.id, now)
        assert count(disk, Kind.LOCK) == 0

    def _assert_restores(self, repository: Repository, snapshot_id: SnapshotId, state: dict[bytes, Described]) -> None:
        target = self.folder / "target"
        snapshot = repository.find_snapshot(snapshot_id)[1]
        restore(repository, snapshot.tree, target)
        assert differences(state, describe(target / str(self.live).lstrip("/"))) == []
        shutil.rmtree(target)


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    """Give an empty repository and a tree."""
    return History(tmp_path, monkeypatch)


def _no_such_process(pid: int, signal: int) -> None:
    raise ProcessLookupError


def crashes(store: MemoryStore, work: Work, *, at_least: int) -> Iterator[MemoryStore]:
    """Do the work on copies of the store, each crashing one write later; yield the disk that each crash leaves."""
    for survive in range(1000):
        disk = store.copy()
        try:
            work(Repository.open(CrashingStore(disk, survive), PASSPHRASE))
        except Crash:
            yield disk
            continue
        assert survive >= at_least, f"only {survive} writes were tried"
        return
    raise AssertionError("the work never ended")


def test_a_crash_during_init_leaves_nothing_or_a_repository_and_init_works_then() -> None:
    for survive in range(10):
        disk = MemoryStore()
        try:
            Repository.create(CrashingStore(disk, survive), PASSPHRASE, cost=QUICK)
        except Crash:
            with pytest.raises(NotARepositoryError):
                Repository.open(disk, PASSPHRASE)
            create(disk)
            assert count(disk, Kind.KEY) == 2  # those of the first try are gone
        assert check(opened(disk)).findings == []
    assert survive > 3


def test_a_crash_during_the_first_backup_leaves_a_sound_repository(history: History) -> None:
    for disk in crashes(history.store, lambda repository: back_up(repository, history.live), at_least=8):
        history.assert_sound(disk, set())


def test_a_crash_during_an_incremental_backup_keeps_the_snapshots_before(history: History) -> None:
    first = history.back_up()
    history.change(1)
    for disk in crashes(history.store, lambda repository: back_up(repository, history.live), at_least=6):
        history.assert_sound(disk, {first})


def test_a_crash_during_forget_keeps_all_other_snapshots(history: History) -> None:
    first = history.back_up()
    history.change(1)
    second = history.back_up()

    def forget_one(repository: Repository) -> None:
        with repository.lock(exclusive=True, settle=AT_ONCE):
            repository.forget(first)

    for disk in crashes(history.store, forget_one, at_least=3):
        history.assert_sound(disk, {second})


@pytest.mark.parametrize("settings", [TINY, ONE_PACK], ids=["packs are removed", "packs are written again"])
def test_s01_a_crash_during_prune_keeps_every_snapshot_and_no_later_backup_trusts_what_is_gone(
    history: History, settings: WriterSettings
) -> None:
    """S-01: data that the prune removed must not count as stored when the same data comes again."""
    history.settings = settings
    first = history.back_up()
    history.change(1)
    second = history.back_up()
    history.change(2)
    third = history.back_up()
    forget(opened(history.store), first, third)
    shutil.rmtree(history.live)
    small_tree(history.live)  # the forgotten content comes back: the next backup needs it
    for disk in crashes(history.store, prune, at_least=6):
        history.assert_sound(disk, {second})


def test_a_prune_after_a_crashed_prune_removes_all_that_nothing_refers_to(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = history.back_up()
    history.change(1)
    history.back_up()
    forget(opened(history.store), first)
    whole = history.store.copy()
    prune(opened(whole))
    expected = sum(len(content) for name, content in whole.objects.items() if name.startswith("data/"))
    monkeypatch.setattr(os, "kill", _no_such_process)
    for disk in crashes(history.store, prune, at_least=6):
        prune(opened(disk))
        assert check(opened(disk)).remarks == []
        assert (
            sum(len(content) for name, content in disk.objects.items() if name.startswith("data/")) <= expected * 1.05
        )


def test_a_crash_while_a_key_is_added_or_removed_leaves_a_key_that_opens(history: History) -> None:
    def change_keys(repository: Repository) -> None:
        added = repository.add_key("another", cost=QUICK)
        repository.remove_key(added)

    for disk in crashes(history.store, change_keys, at_least=2):
        assert check(opened(disk)).findings == []
