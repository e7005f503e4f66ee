"""A crash at every write of forget, its undo, and a prune with a grace; and a month of backups in virtual time."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.policy import RetentionPolicy
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.pruning import PruneWish, forget_snapshots
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.undoing import list_forgotten
from edurise_backup.repository.writer import WriterSettings
from tests.faults.test_crashes import History, crashes, history
from tests.support.engine import (
    AT_ONCE,
    NOTHING_UNUSED,
    ONE_PACK,
    PASSPHRASE,
    TINY,
    back_up,
    bring_back,
    check,
    count,
    create,
    forget,
    opened,
    prune,
    restore,
)
from tests.support.stores import MemoryStore
from tests.support.trees import Described, describe, differences, small_tree, write

__all__ = ["history"]

DAY = timedelta(days=1)
NOW = datetime.now(UTC)
WAITING = replace(NOTHING_UNUSED, grace=DAY)


def clean_up(disk: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prune twice, days apart, as the next process does; the one that crashed is gone, with its locks."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", _no_such_process)
        for days in (10, 20):
            prune(opened(disk), WAITING, now=lambda days=days: NOW + days * DAY)  # type: ignore[misc]


def _no_such_process(pid: int, signal: int) -> None:
    raise ProcessLookupError


@pytest.mark.parametrize("settings", [TINY, ONE_PACK], ids=["packs are removed", "packs are written again"])
@pytest.mark.parametrize("due", [False, True], ids=["un-indexes", "deletes what an earlier one un-indexed"])
def test_a_crash_of_a_prune_with_a_grace_loses_nothing_and_the_next_ones_finish_it(
    history: History, settings: WriterSettings, due: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.settings = settings
    first = history.back_up()
    history.change(1)
    second = history.back_up()
    history.change(2)
    third = history.back_up()
    forget(opened(history.store), first)
    if due:
        prune(opened(history.store), WAITING, now=lambda: NOW)
        forget(opened(history.store), third)
    shutil.rmtree(history.live)
    small_tree(history.live)  # what was forgotten comes back: a backup must not trust what has been un-indexed
    kept = {second} if due else {second, third}
    for disk in crashes(
        history.store, lambda repository: prune(repository, WAITING, now=lambda: NOW + 2 * DAY), at_least=6
    ):
        history.assert_sound(disk, kept)
        clean_up(disk, monkeypatch)
        assert count(disk, Kind.PACK) == len(opened(disk).index.packs)
        assert [name for name, _ in disk.list("edurise") if not name.startswith("edurise/verified/")] == []
        history.assert_sound(disk, kept)


def test_a_crash_of_forget_leaves_a_snapshot_that_is_listed_or_can_be_brought_back(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = history.back_up()
    history.change(1)
    second = history.back_up()

    def forget_by_policy(repository: Repository) -> None:
        policy = RetentionPolicy(last=1)
        prune = PruneWish(NOTHING_UNUSED)
        forget_snapshots(repository, [], policy, progress=SilentProgress(), prune=prune, settle=AT_ONCE)

    for disk in crashes(history.store, forget_by_policy, at_least=4):
        history.assert_sound(disk, {second})
        with monkeypatch.context() as patch:
            patch.setattr(os, "kill", _no_such_process)
            prune(opened(disk))
            if first not in opened(disk).snapshots():
                bring_back(opened(disk), first)
        history.assert_sound(disk, {first, second})


def test_a_crash_of_an_undo_leaves_the_snapshot_forgotten_or_back(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = history.back_up()
    history.change(1)
    second = history.back_up()
    opened(history.store).forget(first)
    for disk in crashes(history.store, lambda repository: bring_back(repository, first), at_least=4):
        history.assert_sound(disk, {second})
        repository = opened(disk)
        assert (first in repository.snapshots()) != (first in list_forgotten(repository))
        with monkeypatch.context() as patch:
            patch.setattr(os, "kill", _no_such_process)
            prune(opened(disk))
        if first in list_forgotten(repository):
            bring_back(repository, first)
        history.assert_sound(disk, {first, second})


# Forget


def test_a_forgotten_snapshot_comes_back_as_it_was_until_its_grace_is_over(history: History) -> None:
    first = history.back_up()
    before = history.store.objects[f"snapshots/{first}"]
    history.change(1)
    second = history.back_up()
    opened(history.store).forget(first, grace=7 * DAY, now=NOW)
    assert list(opened(history.store).snapshots()) == [second]
    prune(opened(history.store), now=lambda: NOW + 7 * DAY - timedelta(seconds=1))
    bring_back(opened(history.store), first)
    assert history.store.objects[f"snapshots/{first}"] == before
    assert list_forgotten(opened(history.store)) == {}
    history.assert_sound(history.store.copy(), {first, second})
    opened(history.store).forget(first, grace=7 * DAY, now=NOW)
    prune(opened(history.store), now=lambda: NOW + 7 * DAY)
    assert list_forgotten(opened(history.store)) == {}
    history.assert_sound(history.store, {second})


def test_a_snapshot_that_is_forgotten_twice_waits_for_the_later_end(history: History) -> None:
    first = history.back_up()
    history.change(1)
    history.back_up()
    stored = history.store.objects[f"snapshots/{first}"]
    opened(history.store).forget(first, grace=DAY, now=NOW)
    history.store.objects[f"snapshots/{first}"] = stored  # the first forget was cut short
    opened(history.store).forget(first, grace=3 * DAY, now=NOW)
    prune(opened(history.store), now=lambda: NOW + 2 * DAY)
    bring_back(opened(history.store), first)
    assert list(history.store.list("edurise")) == []


def test_an_undo_without_the_data_fails_and_publishes_nothing(history: History) -> None:
    """A stock prune does not know of forgotten snapshots."""
    first = history.back_up()
    history.change(1)
    history.back_up()
    opened(history.store).forget(first)
    notes = {name: content for name, content in history.store.objects.items() if name.startswith("edurise/")}
    for name in notes:
        del history.store.objects[name]
    prune(opened(history.store))
    history.store.objects.update(notes)
    with pytest.raises(DamageError, match="not in the repository any more"):
        bring_back(opened(history.store), first)
    assert first not in opened(history.store).snapshots()
    with pytest.raises(NotFoundError):
        opened(history.store).load_snapshot(first)


# A month


class Month:
    """A tree that changes every hour, and a calendar."""

    def __init__(self, folder: Path) -> None:
        self.rng = random.Random(17)
        self.tree = small_tree(folder / "tree")
        self.store = MemoryStore()
        create(self.store)
        self.states: dict[SnapshotId, dict[bytes, Described]] = {}
        self.now = NOW - timedelta(days=31)

    def clock(self) -> datetime:
        return self.now

    def hour(self) -> None:
        """An hour's work: a file that changes, one that comes, one that goes, now and then one that comes back."""
        number = self.rng.randrange(12)
        write(self.tree / f"changing {number}", b"%d " % self.rng.randrange(40) * 500)
        (self.tree / f"changing {self.rng.randrange(12)}").unlink(missing_ok=True)
        saved = back_up(opened(self.store), self.tree, now=self.clock)
        self.states[saved.id] = describe(self.tree)

    def evening(self) -> None:
        """Forget by policy, and prune."""
        repository = Repository.open(self.store, PASSPHRASE)
        done = forget_snapshots(
            repository,
            [],
            RetentionPolicy(hourly=24, daily=7, weekly=2),
            grace=2 * DAY,
            prune=PruneWish(replace(WAITING, max_removed=0.5)),
            progress=SilentProgress(),
            now=self.clock,
            settle=AT_ONCE,
        )
        for snapshot_id in done.gone:
            self.states.pop(snapshot_id)


@pytest.mark.in_memory_only
@pytest.mark.parametrize("hours", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_s17_a_month_of_backups_and_daily_prunes_loses_nothing(tmp_path: Path, hours: int) -> None:
    """S-17: 30 days in virtual time; every snapshot that the policy kept restores, and what goes does go."""
    month = Month(tmp_path)
    waited = set()
    for _ in range(30):
        for _ in range(24 // hours):
            month.now += timedelta(hours=hours)
            month.hour()
        month.evening()
        repository = opened(month.store)
        assert check(repository, read_data=False).findings == []
        assert set(repository.snapshots()) == month.states.keys()
        waited |= list_forgotten(repository).keys()
        assert count(month.store, Kind.PACK) - len(repository.index.packs) < 240
    assert len(waited) > 20
    repository = opened(month.store)
    assert check(repository).findings == []
    for number, (snapshot_id, snapshot) in enumerate(repository.snapshots().items()):
        restore(repository, snapshot.tree, tmp_path / str(number))
        restored = describe(tmp_path / str(number) / str(month.tree).lstrip("/"))
        assert differences(month.states[snapshot_id], restored) == []
