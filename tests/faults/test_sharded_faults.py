"""Workers and whoever joins them die, freeze and come twice, prunes come between: nothing wrong is published."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from edurise_backup.errors import BackupError, DamageError, LockedError
from edurise_backup.model.shards import Shard, ShardGoal
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import utc_now
from edurise_backup.recovery.planning import plan_restore, walk_files
from edurise_backup.recovery.restorer import restore
from edurise_backup.recovery.sharding import Brought, PackOrder, bring_packs, restore_sharded
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.locks import remove_all
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.sharded_saving import ShardAnswer, ShardWork
from tests.support import engine
from tests.support.sharding import Worker, back_up_sharded, below, files_at, work_at
from tests.support.stores import Crash, CrashingStore, MemoryStore
from tests.support.trees import describe, differences, small_tree, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tree = small_tree(tmp_path / "tree")
    rng = random.Random(5)
    for number in range(30):
        write(tree / "flat" / f"file {number:02}", rng.randbytes(1500))
    os.link(tree / "flat" / "file 03", tree / "folder 0" / "linked")
    return tree


def plain_tree(root: Path) -> str:
    repository = engine.create()
    return below(repository, engine.back_up(repository, root), root)


class Twice:
    """A worker that does each shard again after its first try died, as Dask does."""

    def __init__(self, first: Worker, then: Worker) -> None:
        self.first, self.then = first, then
        self.died = 0

    def __call__(self, task: ShardWork, shard: Shard) -> ShardAnswer:
        try:
            return self.first(task, shard)
        except Crash:
            self.died += 1
            return self.then(task, shard)


def sound(store: MemoryStore, root: Path, published: int) -> None:
    """The store has so many snapshots of the tree, each whole, and takes one more once the dead's locks are gone."""
    repository = engine.opened(store)
    remove_all(repository.box)
    assert engine.check(repository).findings == []
    assert [below(repository, shot, root) for shot in repository.snapshots().values()] == [plain_tree(root)] * published
    assert below(repository, back_up_sharded(repository, root), root) == plain_tree(root)


def test_a_worker_that_dies_at_any_write_is_done_again_and_the_snapshot_is_whole(root: Path) -> None:
    survived = 0
    while True:
        store = MemoryStore()
        engine.create(store)
        dying = work_at(CrashingStore(store, survived), files_at(root))
        worker = Twice(dying, work_at(store, files_at(root)))
        saved = back_up_sharded(engine.opened(store), root, work=worker)
        assert below(engine.opened(store), saved, root) == plain_tree(root)
        if not worker.died:
            break
        sound(store, root, published=1)
        survived += 1
    assert survived > 20  # locks, packs and index files of four shards


def test_whoever_joins_dies_at_any_write_and_publishes_the_whole_or_nothing(root: Path) -> None:
    survived = published = 0
    while True:
        store = MemoryStore()
        engine.create(store)
        try:
            back_up_sharded(engine.opened(CrashingStore(store, survived)), root, work=work_at(store, files_at(root)))  # type: ignore[arg-type]
        except Crash:
            published = len(engine.opened(store).snapshots())
            sound(store, root, published=published)
            survived += 1
            continue
        break
    assert survived > 4  # the lock, packs of the joined trees, their index, the snapshot, the lock's end
    assert published == 1  # the last crash came after the snapshot


def test_a_worker_that_comes_twice_changes_nothing(root: Path) -> None:
    store = MemoryStore()
    repository = engine.create(store)
    work = work_at(store, files_at(root))

    def twice(task: ShardWork, shard: Shard) -> ShardAnswer:
        first, second = work(task, shard), work(task, shard)
        assert first.archived.tree == second.archived.tree
        assert second.added.data_blobs == 0  # what is there already is not stored again
        return second

    assert below(repository, back_up_sharded(repository, root, work=twice), root) == plain_tree(root)
    assert engine.check(repository).findings == []


def test_two_workers_at_the_same_shard_leave_duplicates_and_no_damage(root: Path) -> None:
    store = MemoryStore()
    repository = engine.create(store)
    work = work_at(store, files_at(root))
    late: list[ShardAnswer] = []

    def late_worker(task: ShardWork, shard: Shard) -> ShardAnswer:
        """The frozen one read the index before the other one wrote; both store all of it."""
        frozen = MemoryStore(dict(store.objects))
        late.append(work_at(frozen, files_at(root))(task, shard))
        answer = work(task, shard)
        store.objects.update({name: content for name, content in frozen.objects.items() if name not in store.objects})
        return answer

    saved = back_up_sharded(repository, root, work=late_worker)
    assert below(engine.opened(store), saved, root) == plain_tree(root)
    assert sum(answer.added.data_blobs for answer in late) > 0
    assert engine.check(engine.opened(store)).findings == []


@pytest.mark.parametrize("how", ["removed", "moved into one that was done", "replaced by a file", "all of it removed"])
def test_what_was_read_of_a_directory_that_goes_away_is_kept(tmp_path: Path, how: str) -> None:
    """It is cut, so no shard has it whole: what its shards have read must not be in no tree at all."""
    root = tmp_path / "root"
    write(root / "archive" / "x", b"a")
    rng = random.Random(2)
    for number in range(60):
        write(root / "big" / f"{number % 3}" / f"{number:03}", rng.randbytes(2000))

    def go_away() -> None:
        match how:
            case "moved into one that was done":
                (root / "big").rename(root / "archive" / "big")
            case "all of it removed":
                shutil.rmtree(root)
                write(root / "other", b"new")
            case _:
                shutil.rmtree(root / "big")
        if how == "replaced by a file":
            write(root / "big", b"a file")

    repository = engine.create()
    saved = back_up_sharded(repository, root, goal=ShardGoal(count=5), between=go_away)
    assert [problem for problem in saved.archived.problems if f"{root}/big: " in problem]
    repository.load_index()
    held = {path: node.type for path, node in walk_files(repository, saved.snapshot.tree)}
    if how == "replaced by a file":
        assert held[f"{root}/big"] == "file"
    else:
        assert len([path for path, kind in held.items() if kind == "file" and f"{root}/big/" in path]) == 60
    assert engine.check(repository).findings == []


def test_a_prune_waits_for_the_one_who_joins(root: Path) -> None:
    store = MemoryStore()
    repository = engine.create(store)
    engine.back_up(repository, write(root.parent / "other" / "file", b"something to keep"))

    def prune() -> None:
        with pytest.raises(LockedError):
            engine.prune(engine.opened(store))

    saved = back_up_sharded(engine.opened(store), root, between=prune)
    assert below(engine.opened(store), saved, root) == plain_tree(root)


def test_after_a_lost_lock_and_a_prune_nothing_is_published(root: Path) -> None:
    store = MemoryStore()
    engine.back_up(engine.create(store), write(root.parent / "other" / "file", b"something to keep"))

    def lose_the_lock_and_prune() -> None:
        remove_all(engine.opened(store).box)
        engine.prune(engine.opened(store))

    with pytest.raises(LockedError):
        back_up_sharded(engine.opened(store), root, between=lose_the_lock_and_prune)
    found = engine.opened(store)
    assert len(found.snapshots()) == 1
    assert engine.check(found).findings == []


def test_blobs_that_were_un_indexed_in_spite_of_the_lock_are_noticed(root: Path) -> None:
    """Somebody who minds no locks takes the index files away that a shard relied on."""
    store = MemoryStore()
    repository = engine.create(store)

    def un_index() -> None:
        for name, _ in list(store.list(Kind.INDEX)):
            if name.rpartition("/")[2] in known:
                store.delete(name)

    known: set[str] = set()
    work = work_at(store, files_at(root))

    def remembered(task: ShardWork, shard: Shard) -> ShardAnswer:
        answer = work(task, shard)
        known.update(answer.index_files)
        return answer

    published = len(repository.snapshots())
    taken = False

    def publish_hook() -> None:
        nonlocal taken
        taken = True
        un_index()

    original = repository.box.save

    def save(kind: Kind, plaintext: bytes) -> str:
        saved = original(kind, plaintext)
        if kind is Kind.INDEX and not taken:
            publish_hook()
        return saved

    repository.box.save = save  # type: ignore[method-assign]
    with pytest.raises(BackupError):
        back_up_sharded(repository, root, work=remembered)
    assert taken
    assert len(engine.opened(store).snapshots()) == published


def test_a_file_that_is_renamed_into_a_range_that_was_done_is_not_missed(root: Path) -> None:
    store = MemoryStore()
    repository = engine.create(store)
    done = 0
    work = work_at(store, files_at(root))

    def renaming(task: ShardWork, shard: Shard) -> ShardAnswer:
        nonlocal done
        answer = work(task, shard)
        done += 1
        if done == 1:  # from the last range into the first one, which is done
            (root / "flat" / "file 29").rename(root / "flat" / "a new name")
            write(root / "aaa new" / "inside", b"came late")
        return answer

    saved = back_up_sharded(repository, root, work=renaming)
    assert saved.archived.problems == ()
    assert below(engine.opened(store), saved, root) == plain_tree(root)


def test_a_directory_that_vanishes_meanwhile_is_told(root: Path) -> None:
    store = MemoryStore()
    repository = engine.create(store)
    work = work_at(store, files_at(root))
    gone = root.parent / "gone"

    def vanishing(task: ShardWork, shard: Shard) -> ShardAnswer:
        if (root / "flat").exists() and shard is not task.plan.shards[0]:
            (root / "flat").rename(gone)
        return work(task, shard)

    saved = back_up_sharded(repository, root, work=vanishing)
    assert any("flat: was no directory any more" in problem for problem in saved.archived.problems)
    found = engine.opened(store)
    found.load_index()
    restored = root.parent / "restored"
    restore(found, plan_restore(found, saved.snapshot.tree), restored, progress=SilentProgress())
    kept = restored / (root / "flat").relative_to("/")
    assert {path.name: path.read_bytes() for path in kept.iterdir()}.items() <= {
        path.name: path.read_bytes() for path in gone.iterdir()
    }.items()
    shutil.rmtree(kept)
    assert {path.split(b"/")[0] for path in describe(root)} == {
        path.split(b"/")[0] for path in describe(restored / root.relative_to("/"))
    }


def test_packs_that_are_missing_are_stored_again_by_the_shards(root: Path) -> None:
    store = MemoryStore()
    back_up_sharded(engine.create(store), root, now=lambda: utc_now() + timedelta(minutes=1))
    lost = [name for name, _ in store.list(Kind.PACK)][:6]
    for name in lost:
        store.delete(name)
    saved = back_up_sharded(engine.opened(store), root)
    assert below(engine.opened(store), saved, root) == plain_tree(root)
    remaining = [finding for finding in engine.check(engine.opened(store)).findings if "is missing" not in finding]
    assert remaining == []
    assert engine.restored_differences(engine.opened(store), saved.snapshot, root, root.parent / "restored") == []


def doubled(root: Path) -> tuple[MemoryStore, str]:
    """Return a repository in which every blob lies in two packs, and the tree of its snapshot."""
    store = MemoryStore()
    repository = engine.create(store)
    twin = MemoryStore(dict(store.objects))
    saved = engine.back_up(repository, root)
    engine.back_up(engine.opened(twin), root)
    store.objects.update({name: content for name, content in twin.objects.items() if name not in store.objects})
    return store, saved.snapshot.tree


def test_a_blob_that_is_damaged_in_one_pack_is_brought_from_another(root: Path, tmp_path: Path) -> None:
    store, tree = doubled(root)
    repository = engine.opened(store)
    plan = plan_restore(repository, tree)
    for pack in list(plan.packs)[:4]:
        name = object_name(Kind.PACK, pack)
        store.objects[name] = bytes(len(store.objects[name]))
    damaged: list[bytes] = []

    def bring(orders: Sequence[PackOrder]) -> Iterator[Brought]:
        for order in orders:  # each by a worker that knows no index
            worker = Repository.open(store, engine.PASSPHRASE)
            brought = bring_packs(worker, [order], tmp_path / "restored", progress=SilentProgress())
            damaged.extend(brought.damaged)
            yield brought

    restore_sharded(repository, plan, tmp_path / "restored", bring, progress=SilentProgress())
    assert damaged
    there = tmp_path / "restored" / str(root).lstrip("/")
    assert differences(describe(root), describe(there)) == []


def test_a_blob_that_is_damaged_everywhere_ends_the_recovery_with_its_file_s_name(root: Path, tmp_path: Path) -> None:
    store, tree = doubled(root)
    repository = engine.opened(store)
    plan = plan_restore(repository, tree)
    for name, _ in list(store.list(Kind.PACK)):
        store.objects[name] = bytes(len(store.objects[name]))

    def bring(orders: Sequence[PackOrder]) -> Iterator[Brought]:
        worker = Repository.open(store, engine.PASSPHRASE)
        yield bring_packs(worker, orders, tmp_path / "restored", progress=SilentProgress())

    with pytest.raises(DamageError, match="cannot be restored"):
        restore_sharded(repository, plan, tmp_path / "restored", bring, progress=SilentProgress())


def test_the_last_snapshot_may_be_forgotten_while_shards_take_unchanged_files_from_it(root: Path) -> None:
    store = MemoryStore()
    first = back_up_sharded(engine.create(store), root, now=lambda: utc_now() + timedelta(minutes=1))
    work = work_at(store, files_at(root))

    def forgetting(task: ShardWork, shard: Shard) -> ShardAnswer:
        if shard is task.plan.shards[0]:
            engine.forget(engine.opened(store), first.id)
        return work(task, shard)

    saved = back_up_sharded(engine.opened(store), root, work=forgetting)
    assert saved.archived.stats.files_unmodified == saved.archived.stats.files
    assert list(engine.opened(store).snapshots()) == [saved.id]
    assert engine.check(engine.opened(store)).findings == []
