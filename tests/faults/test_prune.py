"""Prune: what waits, what goes, what is refused, and what runs beside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edurise_backup.errors import (
    CancelledError,
    ConflictError,
    DamageError,
    InputError,
    LockedError,
)
from edurise_backup.model.snapshot import SnapshotId, encode_snapshot
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import Buffer
from edurise_backup.repository.condemned import condemn, read_condemned
from edurise_backup.repository.fates import PruneOptions, UnusedLimit
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.locks import Lock, remove_all
from edurise_backup.repository.prune_plan import plan_prune
from edurise_backup.repository.pruner import apply_prune, finish_prune, prepare_prune
from edurise_backup.repository.repacking import repack
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Saved
from edurise_backup.repository.undoing import list_forgotten
from edurise_backup.repository.writer import WriterSettings
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
    restored_differences,
)
from tests.support.stores import Fault, FaultyStore, MemoryStore
from tests.support.trees import small_tree, write

DAY = timedelta(days=1)
NOW = datetime.now(UTC)
WAITING = replace(NOTHING_UNUSED, grace=DAY)
"""Packs wait a day."""


def at(moment: datetime) -> Callable[[], datetime]:
    """Return a clock that stands still."""
    return lambda: moment


def packs(store: MemoryStore) -> set[str]:
    """Return the names of all packs."""
    return {name for name, _ in store.list(Kind.PACK)}


class Life:
    """A repository of two snapshots; the first one holds what the second one does not."""

    def __init__(self, folder: Path, settings: WriterSettings = TINY) -> None:
        self.folder = folder
        self.settings = settings
        self.tree = small_tree(folder / "tree")
        self.store = MemoryStore()
        create(self.store)
        self.first = self.back_up()
        for number in range(4):
            (self.tree / f"folder {number % 2}" / f"file {number}").unlink()
        self.second = self.back_up()

    @property
    def repository(self) -> Repository:
        return opened(self.store)

    def back_up(self) -> Saved:
        return back_up(self.repository, self.tree, settings=self.settings)

    def prune(self, options: PruneOptions = WAITING, *, after: timedelta = AT_ONCE) -> None:
        prune(self.repository, options, now=at(NOW + after))

    def assert_sound(self, *whole: Saved) -> None:
        """Everything that is listed can be restored, and what is expected is listed."""
        repository = self.repository
        assert check(repository).findings == []
        assert {saved.id for saved in whole} <= set(repository.snapshots())


@pytest.fixture
def life(tmp_path: Path) -> Life:
    """Give a repository of two snapshots."""
    return Life(tmp_path)


# What waits


def test_what_goes_is_un_indexed_now_and_deleted_only_after_the_grace(life: Life) -> None:
    forget(life.repository, life.first.id)
    before = packs(life.store)
    life.prune()
    assert packs(life.store) >= before
    assert len(life.repository.index.packs) < len(before)
    life.prune(after=DAY - timedelta(seconds=1))
    assert packs(life.store) >= before
    life.prune(after=DAY)
    left = packs(life.store)
    assert len(left) == len(life.repository.index.packs) < len(before)
    assert list(life.store.list("edurise")) == []
    life.assert_sound(life.second)


def test_with_no_grace_everything_goes_at_once(life: Life) -> None:
    forget(life.repository, life.first.id)
    done = prune(life.repository)
    assert done.departure.due_bytes > 10_000
    assert (done.departure.waiting, done.departure.until) == ((), None)
    assert len(packs(life.store)) == len(life.repository.index.packs)
    life.assert_sound(life.second)


def test_a_plan_says_what_the_prune_then_does_and_changes_nothing(life: Life) -> None:
    forget(life.repository, life.first.id)
    before = set(life.store.objects)
    plan = plan_prune(life.repository, WAITING, now=NOW, progress=SilentProgress())
    assert set(life.store.objects) == before
    done = prune(life.repository, WAITING, now=at(NOW))
    assert done.plan == plan
    assert done.departure.until == NOW + DAY
    assert set(done.departure.waiting) == set(plan.departure.waiting)
    assert plan.snapshots == 1
    assert plan.freed_bytes > 10_000


def test_a_pack_that_no_index_lists_waits_from_when_a_prune_first_saw_it(life: Life) -> None:
    """S-16: a crashed writer's pack; how old its file is says nothing."""
    left = b"of a crashed writer"
    life.store.objects["data/ab/" + "ab" * 32] = left
    life.prune()
    life.prune(after=DAY - timedelta(seconds=1))
    assert left in life.store.objects.values()
    life.prune(after=DAY)
    assert left not in life.store.objects.values()
    assert read_condemned(life.repository.box).since == {}


def test_a_note_that_has_become_true_of_fewer_packs_keeps_its_time(life: Life) -> None:
    one, other = ("data/ab/" + "ab" * 32, "data/cd/" + "cd" * 32)
    life.store.objects |= {one: b"one", other: b"other"}
    life.prune()
    del life.store.objects[one]
    life.prune(after=DAY / 2)
    assert list(read_condemned(life.repository.box).since) == ["cd" * 32]
    life.prune(after=DAY)
    assert other not in life.store.objects
    assert list(life.store.list("edurise")) == []


def test_a_pack_that_was_indexed_again_is_not_removed_by_its_old_note(life: Life) -> None:
    unlimited = replace(WAITING, max_unused=UnusedLimit())
    forget(life.repository, life.first.id)
    indexes = {name: content for name, content in life.store.objects.items() if name.startswith("index/")}
    life.prune(unlimited)
    life.store.objects.update(indexes)  # somebody put the index files back, and the snapshot, too
    again = SnapshotId(life.repository.box.save(Kind.SNAPSHOT, encode_snapshot(life.first.snapshot)))
    life.prune(unlimited, after=2 * DAY)
    life.assert_sound(replace(life.first, id=again), life.second)
    forget(life.repository, again)
    before = packs(life.store)
    life.prune(unlimited, after=3 * DAY)
    assert packs(life.store) == before  # they wait from now on, not since the first time
    life.prune(unlimited, after=4 * DAY)
    assert packs(life.store) < before
    life.assert_sound(life.second)


def test_a_pack_that_is_un_indexed_again_waits_from_then_on_whatever_an_older_note_says(life: Life) -> None:
    """Between the two, a client may have read the index that listed it."""
    unlimited = replace(WAITING, max_unused=UnusedLimit())
    forget(life.repository, life.first.id)
    indexes = {name: content for name, content in life.store.objects.items() if name.startswith("index/")}
    before = packs(life.store)
    life.prune(unlimited)
    life.store.objects.update(indexes)
    for hours in (48, 50, 71):
        life.prune(unlimited, after=timedelta(hours=hours))
        assert packs(life.store) == before
    life.prune(unlimited, after=timedelta(hours=72))
    assert packs(life.store) < before
    life.assert_sound(life.second)


@pytest.mark.parametrize("deleted", [False, True], ids=["while it waits", "once it has gone"])
def test_s10_a_snapshot_that_needs_what_was_un_indexed_has_it_indexed_again_while_it_waits(
    life: Life, deleted: bool
) -> None:
    """S-10: a writer frozen in the one instant between its last look and its snapshot, and killed after it."""
    forget(life.repository, life.first.id)
    life.prune()
    if deleted:
        life.prune(after=DAY)
    frozen = SnapshotId(life.repository.box.save(Kind.SNAPSHOT, encode_snapshot(life.first.snapshot)))
    if deleted:
        before = set(life.store.objects)
        with pytest.raises(DamageError, match="in no pack"):
            life.prune(after=2 * DAY)
        assert set(life.store.objects) == before
        return
    assert check(life.repository).findings != []
    life.prune(after=2 * DAY)
    life.assert_sound(life.second, replace(life.first, id=frozen))
    life.prune(after=4 * DAY)
    life.assert_sound(life.second, replace(life.first, id=frozen))


# What is refused


def test_a_known_snapshot_that_is_not_listed_stops_the_prune(life: Life) -> None:
    """S-09: the catalog knows it, the listing has it not."""
    forget(life.repository, life.first.id)
    before = set(life.store.objects)
    with pytest.raises(ConflictError, match=life.first.id[:8]):
        prune(life.repository, known=[life.first.id, life.second.id])
    assert set(life.store.objects) == before
    prune(life.repository, known=[life.second.id])


def test_a_known_snapshot_that_was_forgotten_does_not_stop_the_prune(life: Life) -> None:
    life.repository.forget(life.first.id)
    prune(life.repository, known=[life.first.id, life.second.id])
    assert list(list_forgotten(life.repository)) == [life.first.id]


def test_without_snapshots_nothing_is_removed_even_when_forgotten_ones_wait(life: Life) -> None:
    for saved in (life.first, life.second):
        life.repository.forget(saved.id)
    before = set(life.store.objects)
    with pytest.raises(ConflictError, match="no snapshot"):
        prune(life.repository)
    assert set(life.store.objects) == before


def test_more_than_the_set_share_goes_only_when_somebody_says_so(life: Life) -> None:
    forget(life.repository, life.first.id)
    before = set(life.store.objects)
    with pytest.raises(ConflictError, match="at most 10% may go at once") as caught:
        prune(life.repository, replace(NOTHING_UNUSED, max_removed=0.1))
    assert "--max-removed 100%" in caught.value.hint
    assert set(life.store.objects) == before
    prune(life.repository, replace(NOTHING_UNUSED, max_removed=1.0))
    life.assert_sound(life.second)


@pytest.mark.parametrize("skew", [timedelta(minutes=6), -timedelta(minutes=6), timedelta(days=365)])
def test_s15_a_clock_that_disagrees_with_the_store_refuses(life: Life, skew: timedelta) -> None:
    forget(life.repository, life.first.id)
    before = set(life.store.objects)
    life.store.time = NOW + skew
    with pytest.raises(InputError, match="clocks disagree"):
        life.prune(NOTHING_UNUSED)
    assert set(life.store.objects) == before
    life.store.time = NOW + skew / abs(skew) * timedelta(minutes=4)
    life.prune(NOTHING_UNUSED)


def test_s14_s15_what_is_dated_in_the_future_is_told_and_never_makes_anything_go(life: Life) -> None:
    """S-14, S-15: a snapshot, a note of a forgotten one, and a note of packs that a wrong clock wrote."""
    late = NOW + timedelta(days=3650)
    future = back_up(life.repository, life.tree, now=at(late))
    life.repository.forget(life.first.id, grace=AT_ONCE + DAY, now=late)
    condemn(life.repository.box, ["ab" * 32], now=late)
    life.store.objects["data/ab/" + "ab" * 32] = b"x"
    done = prune(life.repository, WAITING, now=at(NOW))
    assert len(done.plan.warnings) == 3
    assert future.id in life.repository.snapshots()
    assert life.first.id in list_forgotten(life.repository)
    life.prune(after=30 * DAY)
    assert "data/ab/" + "ab" * 32 in life.store.objects
    life.assert_sound(life.second, future)


def test_a_note_of_a_forgotten_snapshot_that_is_not_readable_stops_the_prune(life: Life) -> None:
    life.repository.forget(life.first.id)
    (note,) = [name for name in life.store.objects if name.startswith("edurise/")]
    life.store.objects[note] = b"?" + life.store.objects[note][1:]
    before = set(life.store.objects)
    with pytest.raises(DamageError):
        prune(life.repository)
    assert set(life.store.objects) == before


def test_a_note_of_packs_that_is_not_readable_makes_them_wait_anew(life: Life) -> None:
    forget(life.repository, life.first.id)
    life.prune()
    before = packs(life.store)
    (note,) = [name for name in life.store.objects if name.startswith("edurise/")]
    life.store.objects[note] = b"?" + life.store.objects[note][1:]
    life.prune(after=2 * DAY)
    assert packs(life.store) == before
    life.prune(after=3 * DAY)
    assert packs(life.store) < before


# Beside others


class Meanwhile(MemoryStore):
    """When the exclusive lock is about to be written, something else happens first."""

    def __init__(self, objects: dict[str, bytes], act: Callable[[MemoryStore], None], *, locks: int = 2) -> None:
        super().__init__()
        self.objects = objects
        self._act = act
        self._locks = locks

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        if name.startswith("locks/"):
            self._locks -= 1
            if not self._locks:
                behind = MemoryStore()
                behind.objects = self.objects
                self._act(behind)
        super().put(name, pieces)


def on_meanwhile(life: Life, act: Callable[[MemoryStore], None]) -> Repository:
    return Repository.open(Meanwhile(life.store.objects, act), PASSPHRASE)


@pytest.mark.parametrize("options", [NOTHING_UNUSED, WAITING], ids=["at once", "with a grace"])
@pytest.mark.parametrize("settings", [TINY, ONE_PACK], ids=["remove", "repack"])
def test_what_a_backup_needs_that_came_after_the_plan_is_not_removed(
    tmp_path: Path, options: PruneOptions, settings: WriterSettings
) -> None:
    life = Life(tmp_path, settings)
    forget(life.repository, life.first.id)
    shutil.rmtree(life.tree)
    small_tree(life.tree)  # the forgotten content is there again
    late: list[Saved] = []
    repository = on_meanwhile(life, lambda store: late.append(back_up(opened(store), life.tree)))
    done = prune(repository, options)
    assert done.needed_after_all > 0
    life.assert_sound(life.second, *late)
    assert restored_differences(life.repository, late[0].snapshot, life.tree, tmp_path / "out") == []
    life.prune(options, after=3 * DAY)
    life.assert_sound(life.second, *late)


def test_a_snapshot_that_is_forgotten_after_the_plan_keeps_its_data(life: Life) -> None:
    repository = on_meanwhile(life, lambda store: opened(store).forget(life.first.id))
    prune(repository)
    assert list(list_forgotten(life.repository)) == [life.first.id]
    bring_back(life.repository, life.first.id)
    life.assert_sound(life.first, life.second)


def test_s11_a_prune_that_another_one_overtook_removes_nothing(life: Life) -> None:
    forget(life.repository, life.first.id)
    after: list[set[str]] = []

    def other(store: MemoryStore) -> None:
        prune(opened(store), WAITING)
        after.append(set(store.objects))

    with pytest.raises(ConflictError, match="another one has been here"):
        prune(on_meanwhile(life, other), WAITING)
    assert after[0] <= set(life.store.objects)
    life.assert_sound(life.second)
    life.prune(after=2 * DAY)
    assert len(packs(life.store)) == len(life.repository.index.packs)
    life.assert_sound(life.second)


def test_s11_two_prunes_that_wrote_the_same_again_leave_one_copy_in_the_end(tmp_path: Path) -> None:
    life = Life(tmp_path, ONE_PACK)
    forget(life.repository, life.first.id)
    one, two = life.repository, life.repository
    with one.lock(settle=AT_ONCE) as first, two.lock(settle=AT_ONCE) as second:
        plans = [plan_prune(each, NOTHING_UNUSED, now=NOW, progress=SilentProgress()) for each in (one, two)]
        assert all(plan.fates.repack for plan in plans)
        for plan, lock in zip(plans, (first, second), strict=True):
            repack(plan, lock, SilentProgress())
    finish_prune(one, plans[0], progress=SilentProgress(), settle=AT_ONCE)
    with pytest.raises(ConflictError):
        finish_prune(two, plans[1], progress=SilentProgress(), settle=AT_ONCE)
    life.assert_sound()
    prune(life.repository)
    index = life.repository.index
    assert not list(index.copies())
    life.assert_sound()


@pytest.mark.parametrize("moment", ["index/", "data/"])
def test_s12_a_prune_whose_lock_is_removed_stops_before_it_removes_more(life: Life, moment: str) -> None:
    """S-12: `unlock --remove-all` while it un-indexes and deletes."""
    forget(life.repository, life.first.id)

    class Unlocked(MemoryStore):
        def put(self, name: str, pieces: Sequence[Buffer]) -> None:
            super().put(name, pieces)
            if name.startswith("index/") and moment == "index/":
                unlock(self.objects)

        def delete(self, name: str) -> None:
            super().delete(name)
            if name.startswith("index/") and moment == "data/":
                unlock(self.objects)

    store = Unlocked()
    store.objects = life.store.objects
    before = packs(life.store)
    indexes = set(life.store.list(Kind.INDEX))
    nothing_again = replace(NOTHING_UNUSED, max_unused=UnusedLimit())  # so that its first index file is un-indexing
    with pytest.raises(LockedError, match="somebody removed it"):
        prune(Repository.open(store, PASSPHRASE), nothing_again)
    assert before <= packs(life.store)
    assert (indexes <= set(life.store.list(Kind.INDEX))) == (moment == "index/")
    life.assert_sound(life.second)
    prune(life.repository)
    life.assert_sound(life.second)
    assert len(packs(life.store)) == len(life.repository.index.packs)


def unlock(objects: dict[str, bytes]) -> None:
    """Remove all locks, as `unlock --remove-all` does."""
    store = MemoryStore()
    store.objects = objects
    remove_all(opened(store).box)


def test_s13_a_prune_whose_lock_was_not_refreshed_in_time_removes_nothing(life: Life) -> None:
    """S-13: whatever kept the refresher from writing, the lock has been dead for others since."""
    forget(life.repository, life.first.id)
    repository = life.repository
    with repository.lock(settle=AT_ONCE) as shared:
        plan = prepare_prune(repository, shared, NOTHING_UNUSED, progress=SilentProgress())
    before = set(life.store.objects)
    moments = iter([NOW] * 4 + [NOW + timedelta(minutes=31)] * 99)
    lock = Lock.acquire(repository.box, exclusive=True, now=lambda: next(moments), settle=AT_ONCE)
    with pytest.raises(LockedError, match="not refreshed"):
        for _ in range(3):
            apply_prune(repository, plan, lock, progress=SilentProgress())
    lock.release()
    assert set(life.store.objects) == before


def test_a_snapshot_that_appears_while_packs_are_about_to_go_stops_their_deletion(life: Life) -> None:
    forget(life.repository, life.first.id)

    class Thawed(MemoryStore):
        def delete(self, name: str) -> None:
            super().delete(name)
            if name.startswith("index/"):
                behind = MemoryStore()
                behind.objects = self.objects
                opened(behind).box.save(Kind.SNAPSHOT, encode_snapshot(life.first.snapshot))

    store = Thawed()
    store.objects = life.store.objects
    before = packs(life.store)
    with pytest.raises(ConflictError, match="was frozen"):
        prune(Repository.open(store, PASSPHRASE))
    assert before <= packs(life.store)
    prune(life.repository)
    life.assert_sound(life.second)
    assert len(life.repository.snapshots()) >= 2


def test_a_prune_waits_for_nobody_unless_told_to_and_keeps_what_it_wrote(tmp_path: Path) -> None:
    life = Life(tmp_path, ONE_PACK)
    forget(life.repository, life.first.id)
    before = set(life.store.objects)
    with life.repository.lock(settle=AT_ONCE):
        with pytest.raises(LockedError, match="is locked") as caught:
            prune(life.repository)
        assert "--wait" in caught.value.hint
    assert before < set(life.store.objects)
    life.assert_sound()
    prune(life.repository)
    assert not list(life.repository.index.copies())


def test_a_cancelled_prune_stops_and_the_next_one_finishes(life: Life) -> None:
    forget(life.repository, life.first.id)
    repository = life.repository
    progress = SilentProgress()
    with repository.lock(settle=AT_ONCE) as lock:
        plan = prepare_prune(repository, lock, NOTHING_UNUSED, progress=progress)
    progress.cancel()
    before = set(life.store.objects)
    with pytest.raises(CancelledError):
        finish_prune(repository, plan, progress=progress, settle=AT_ONCE)
    with pytest.raises(CancelledError), repository.lock(exclusive=True, settle=AT_ONCE) as lock:
        apply_prune(repository, plan, lock, progress=progress)
    assert set(life.store.objects) == before
    prune(life.repository)
    life.assert_sound(life.second)


# Limits


def test_the_packs_with_the_most_waste_are_written_again_first_and_no_more_than_allowed(tmp_path: Path) -> None:
    life = Life(tmp_path, ONE_PACK)
    forget(life.repository, life.first.id)
    full = plan_prune(life.repository, NOTHING_UNUSED, now=NOW, progress=SilentProgress())
    assert full.fates.repack
    none = replace(NOTHING_UNUSED, max_repack_bytes=10)
    assert plan_prune(life.repository, none, now=NOW, progress=SilentProgress()).fates.repack == ()
    tolerant = replace(NOTHING_UNUSED, max_unused=UnusedLimit())
    assert plan_prune(life.repository, tolerant, now=NOW, progress=SilentProgress()).fates.repack == ()


def test_many_small_packs_and_index_files_are_joined(tmp_path: Path) -> None:
    store = MemoryStore()
    create(store)
    tree = tmp_path / "tree"
    for number in range(24):
        write(tree / f"file {number}", bytes([number]) * 3000)
        saved = back_up(opened(store), tree)
    assert (count(store, Kind.PACK), count(store, Kind.INDEX)) >= (48, 24)
    prune(opened(store))
    assert (count(store, Kind.PACK), count(store, Kind.INDEX)) == (2, 1)
    assert check(opened(store)).findings == []
    assert restored_differences(opened(store), saved.snapshot, tree, tmp_path / "out") == []
    before = set(store.objects)
    prune(opened(store))
    assert set(store.objects) == before


def test_s02_the_index_says_the_same_of_every_blob_that_stays(life: Life) -> None:
    """S-02: rewriting and joining index files loses no entry and changes none."""
    forget(life.repository, life.first.id)
    index = life.repository.index
    before = {index.place(number): index.blob(number) for number in range(len(index))}
    life.prune(replace(WAITING, max_unused=UnusedLimit()))
    index = life.repository.index
    after = {index.place(number): index.blob(number) for number in range(len(index))}
    assert after.items() <= before.items()
    kept = {place.pack for place in after}
    assert {place for place in before if place.pack in kept} == after.keys()


def test_a_pack_that_an_index_lists_and_nobody_has_is_dropped_from_the_index(life: Life) -> None:
    forget(life.repository, life.first.id)
    plan = plan_prune(life.repository, NOTHING_UNUSED, now=NOW, progress=SilentProgress())
    gone = plan.survey.index.pack_id(plan.fates.remove[0])
    del life.store.objects[f"data/{gone[:2]}/{gone}"]
    prune(life.repository)
    assert gone not in life.repository.index.packs
    life.assert_sound(life.second)


def test_a_faulty_deletion_leaves_packs_for_the_next_prune(life: Life) -> None:
    forget(life.repository, life.first.id)
    faulty = FaultyStore(life.store, Fault("delete", "data/", lambda: OSError(5, "broken")))
    with faulty, pytest.raises(OSError, match="broken"):
        prune(Repository.open(faulty, PASSPHRASE))
    life.assert_sound(life.second)
    prune(life.repository)
    assert len(packs(life.store)) == len(life.repository.index.packs)
