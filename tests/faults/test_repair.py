"""Repair: the plan is shown first, whole data is never lost, and a later backup of the same data heals the rest."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from edurise_backup.errors import (
    AmbiguousError,
    BackupError,
    CancelledError,
    DamageError,
    LockedError,
    NotFoundError,
    SpaceError,
    TransientError,
)
from edurise_backup.model.content import BlobId, BlobKind, blob_id
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.pipeline.codec import open_blob
from edurise_backup.repository.index_files import encode_index
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.packs import PackedBlob
from edurise_backup.repository.repairing.affected import AffectedPath
from edurise_backup.repository.repairing.index_repair import apply_index_repair, plan_index_repair
from edurise_backup.repository.repairing.pack_repair import apply_pack_repair, plan_pack_repair
from edurise_backup.repository.repairing.writing import keep_copy
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.verification.choosing import choose_packs
from edurise_backup.verification.suspects import load_suspects, note_suspects
from tests.faults.test_crashes import crashes
from tests.support.engine import AT_ONCE, PASSPHRASE, back_up, check, count, create, opened, prune
from tests.support.repairs import (
    Contents,
    back_up_below,
    below,
    contents,
    flip,
    flip_in_pack,
    indexed,
    intact,
    packs_of,
    repair_index,
    repair_packs,
)
from tests.support.stores import Fault, FaultyStore, MemoryStore
from tests.support.trees import small_tree, write

FEW = WriterSettings(pack_size=7000, workers=1)
"""Packs of two or three files: one damaged blob has whole neighbours."""


def changing(number: int) -> bytes:
    """Return what the changing file holds in one snapshot."""
    return random.Random(f"changing {number}").randbytes(3000)


class Histories:
    """A repository with three snapshots of a tree that changes, and what each one holds."""

    def __init__(self, folder: Path) -> None:
        self.live = small_tree(folder / "live")
        self.store = MemoryStore()
        create(self.store)
        self.expected: dict[SnapshotId, Contents] = {}
        for number in range(3):
            write(self.live / "folder 1" / "changing", changing(number))
            self.back_up(self.store)
        self.newest = list(self.expected)[-1]

    def back_up(self, store: MemoryStore) -> SnapshotId:
        saved = back_up_below(opened(store), self.live, settings=FEW)
        self.expected[saved.id] = contents(store, saved.id)
        return saved.id

    def assert_heals(self, store: MemoryStore) -> None:
        """A backup of the same data stores what is missing; the newest snapshot is whole again, too."""
        saved = back_up_below(opened(store), self.live, settings=FEW)
        assert contents(store, saved.id) == self.expected[self.newest]
        assert self.newest in intact(store, self.expected)


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Histories:
    """Give a repository; whoever crashed is gone, with its locks."""
    monkeypatch.setattr(os, "kill", _no_such_process)
    return Histories(tmp_path)


def _no_such_process(pid: int, signal: int) -> None:
    raise ProcessLookupError


def objects(store: MemoryStore, folder: str) -> list[str]:
    return sorted(name for name in store.objects if name.startswith(f"{folder}/"))


# The index


@pytest.mark.parametrize("harm", ["empty", "lost", "flipped", "cut short"])
def test_s05_every_index_file_may_be_gone_and_a_repair_brings_all_snapshots_back(history: Histories, harm: str) -> None:
    """S-05: a power loss leaves index files of length zero."""
    store = history.store
    for name in objects(store, "index"):
        content = store.objects.pop(name)
        if harm != "lost":
            flipped = content[:30] + bytes([content[30] ^ 1]) + content[31:]
            store.objects[name] = {"empty": b"", "flipped": flipped, "cut short": content[:-7]}[harm]
    assert intact(store, history.expected) == set()
    plan = repair_index(store)
    assert (len(plan.found), plan.affected.count) == (count(store, Kind.PACK), 0)
    assert check(opened(store)).findings == []
    assert intact(store, history.expected) == set(history.expected)
    kept = objects(store, "edurise/damaged")
    assert len(kept) == (3 if harm in ("flipped", "cut short") else 0)
    assert not repair_index(store).changes


def test_a_dry_run_says_the_same_and_changes_nothing(history: Histories) -> None:
    store = history.store
    store.objects[objects(store, "index")[0]] = b""
    flip_in_pack(store, packs_of_broken(store)[0], 40)
    before = dict(store.objects)
    dry = repair_index(store, apply=False)
    assert store.objects == before
    done = repair_index(store)
    assert (dry.found.keys(), dry.unreadable, dry.affected) == (done.found.keys(), done.unreadable, done.affected)
    before = dict(store.objects)
    dry_packs = repair_packs(store, apply=False)
    assert dry_packs.packs
    assert store.objects == before
    assert repair_packs(store).affected == dry_packs.affected


def packs_of_broken(store: MemoryStore) -> list[str]:
    """Return the data packs of a repository whose index may be damaged: the largest objects first."""
    sizes = sorted(((-size, name) for name, size in store.list(Kind.PACK)))
    return [name.rpartition("/")[2] for _, name in sizes]


def test_packs_that_no_index_lists_are_listed_and_nothing_else_is_touched(history: Histories) -> None:
    store = history.store
    gone = objects(store, "index")[0]
    del store.objects[gone]
    others = below(store, "index")
    repair_index(store)
    assert below(store, "index").items() >= others.items()
    assert intact(store, history.expected) == set(history.expected)


def test_missing_packs_drop_out_and_the_files_they_cost_are_named_in_each_snapshot(history: Histories) -> None:
    store = history.store
    wanted = blob_id((history.live / "twice").read_bytes())
    (pack,) = [pack for pack, blobs in indexed(store).items() if wanted in {blob.id for blob in blobs}]
    del store.objects[object_name(Kind.PACK, pack)]
    plan = repair_index(store)
    assert plan.missing == [pack]
    twice = {
        AffectedPath(snapshot_id, f"/{name}")
        for snapshot_id in history.expected
        for name in ("twice", "folder 0/twice")
    }
    assert set(plan.affected.paths) >= twice
    assert set(plan.affected.snapshots) == set(history.expected)
    assert pack not in indexed(store)
    history.assert_heals(store)
    left = check(opened(store)).affected  # what no source has any more
    assert set(left.snapshots) == set(history.expected) - intact(store, history.expected)
    assert {one.path for one in left.paths} <= {"/folder 1/changing"}


def test_a_listing_that_is_cut_short_costs_the_index_nothing(history: Histories) -> None:
    """S-09: what the store has but does not list is no missing pack."""
    short = Fault("list", "data", answer=lambda found: found[:2])  # type: ignore[index]
    with FaultyStore(history.store, short) as store, pytest.raises(TransientError, match="does not list"):
        plan_index_repair(Repository.open(store, PASSPHRASE), progress=SilentProgress())


def test_a_listing_that_fails_is_no_empty_one(history: Histories) -> None:
    """S-08."""
    before = dict(history.store.objects)
    failing = Fault("list", "data", error=lambda: TransientError("the store is away"), times=9)
    with FaultyStore(history.store, failing) as store, pytest.raises(TransientError):
        repair_index(store)
    assert history.store.objects == before


def test_a_pack_without_header_is_not_indexed_and_what_it_costs_is_named(history: Histories) -> None:
    store = history.store
    pack = packs_of(store, BlobKind.DATA)[0]
    store.objects[object_name(Kind.PACK, pack)] = store.objects[object_name(Kind.PACK, pack)][:-1] + b"\xff"
    for name in objects(store, "index"):
        del store.objects[name]
    plan = repair_index(store)
    assert list(plan.headless) == [pack]
    assert plan.affected.count > 0
    assert object_name(Kind.PACK, pack) in store.objects  # somebody may yet make something of it
    history.assert_heals(store)


def test_all_headers_are_compared_when_asked_and_what_the_index_knows_stays(history: Histories) -> None:
    store = history.store
    one, other = packs_of(store, BlobKind.DATA)[:2]
    flip_in_pack(store, one, -1)
    listed = indexed(store)
    shifted = [(pack, blobs if pack != other else blobs[:-1]) for pack, blobs in listed.items()]
    for name in objects(store, "index"):
        del store.objects[name]
    opened(store).box.save(Kind.INDEX, encode_index(shifted))
    before = below(store, "index")
    assert not repair_index(store).disagreeing
    plan = repair_index(store, read_all_packs=True)
    assert sorted(plan.disagreeing) == sorted([one, other])
    assert below(store, "index") == before
    repair_packs(store, one, other)
    assert intact(store, history.expected) == set(history.expected)
    assert check(opened(store)).findings == []


def test_a_header_longer_than_the_first_read_is_read_whole(tmp_path: Path) -> None:
    store = MemoryStore()
    tree = tmp_path / "tree"
    rng = random.Random(2)
    for number in range(2000):
        write(tree / str(number), rng.randbytes(8))
    back_up(create(store), tree, settings=WriterSettings(workers=2))
    for name in objects(store, "index"):
        del store.objects[name]
    repair_index(store)
    assert max(len(blobs) for blobs in indexed(store).values()) == 2000
    assert check(opened(store)).findings == []


# Packs


def test_whole_blobs_are_salvaged_and_the_damaged_packs_bytes_are_kept(history: Histories) -> None:
    store = history.store
    pack = packs_of(store, BlobKind.DATA)[0]
    broken, blobs = indexed(store)[pack][0], len(indexed(store)[pack])
    name = flip_in_pack(store, pack, broken.offset + 20)
    damaged = store.objects[name]
    result = check(opened(store))
    plan = repair_packs(store, read_data=False)  # the check has noted which
    (examined,) = plan.packs
    assert [blob.id for blob in examined.broken] == [broken.id]
    assert len(examined.whole) == blobs - 1
    assert plan.affected == result.affected
    assert name not in store.objects
    assert store.objects[f"edurise/damaged/{pack}"] == damaged
    listed = indexed(store)
    assert pack not in listed
    ids = {blob.id for blobs in listed.values() for blob in blobs}
    assert ids >= {blob.id for blob in examined.whole}
    assert broken.id not in ids
    assert load_suspects(opened(store).box).notes == ()
    history.assert_heals(store)
    assert intact(store, history.expected) == set(history.expected)
    assert check(opened(store)).findings == []


@pytest.mark.parametrize("kind", list(BlobKind))
@pytest.mark.parametrize("harm", ["length", "header", "cut short", "longer"])
def test_a_pack_whose_header_is_gone_is_salvaged_through_the_index(
    history: Histories, harm: str, kind: BlobKind
) -> None:
    store = history.store
    pack = packs_of(store, kind)[0]
    name = object_name(Kind.PACK, pack)
    content = store.objects[name]
    store.objects[name] = {
        "length": content[:-4] + b"\0\0\0\0",
        "header": content[:-30] + bytes(30),
        "cut short": content[:-100],
        "longer": content + b"more",
    }[harm]
    plan = repair_packs(store)
    assert (len(plan.packs), plan.packs[0].broken, plan.affected.count) == (1, (), 0)
    assert intact(store, history.expected) == set(history.expected)
    assert check(opened(store)).findings == []


def test_two_packs_that_were_exchanged_lose_nothing(history: Histories) -> None:
    store = history.store
    one, other = (object_name(Kind.PACK, pack) for pack in packs_of(store, BlobKind.DATA)[:2])
    store.objects[one], store.objects[other] = store.objects[other], store.objects[one]
    assert intact(store, history.expected) != set(history.expected)
    plan = repair_packs(store)
    assert (len(plan.packs), plan.lost) == (2, frozenset())
    assert intact(store, history.expected) == set(history.expected)
    assert check(opened(store)).findings == []


def test_a_whole_copy_elsewhere_counts_only_when_it_proves_whole(history: Histories) -> None:
    """The copy may be damaged as well: only reading it says so."""
    store = history.store
    pack = packs_of(store, BlobKind.DATA)[0]
    copied = indexed(store)[pack][0]
    repository = opened(store)
    with repository.lock(settle=AT_ONCE) as lock:
        plaintext = repository.read_blob(BlobKind.DATA, copied.id)
        repository.index = type(repository.index)()
        with repository.writer(lock, FEW) as sink:
            sink.store(BlobKind.DATA, [plaintext]).result()
    flip_in_pack(store, pack, copied.offset + 20)
    (second,) = [other for other, blobs in indexed(store).items() if [blob.id for blob in blobs] == [copied.id]]
    damaged = store.copy()
    flip_in_pack(damaged, second, 20)
    assert repair_packs(store, pack).lost == frozenset()
    assert intact(store, history.expected) == set(history.expected)
    assert repair_packs(damaged, pack).lost == {(BlobKind.DATA, copied.id)}
    assert intact(damaged, history.expected) != set(history.expected)


def test_a_pack_that_is_not_damaged_is_left_alone_whoever_names_it(history: Histories) -> None:
    store = history.store
    before = dict(store.objects)
    pack = packs_of(store, BlobKind.DATA)[0]
    plan = repair_packs(store, pack[:10])
    assert (plan.sound, plan.packs) == ([pack], [])
    assert store.objects == before


def test_a_note_of_a_pack_that_a_prune_has_removed_since_is_no_work_and_goes(history: Histories) -> None:
    store = history.store
    note_suspects(opened(store).box, ["ab" * 32])
    plan = repair_packs(store, read_data=False)
    assert (plan.missing, plan.packs) == ([], [])
    assert load_suspects(opened(store).box).notes == ()


@pytest.mark.parametrize("plain", [b"{}", b"[]", b'{"packs":["zz"]}', b"{\xff"])
def test_a_note_of_damaged_packs_that_says_nonsense_is_told_and_no_crash(history: Histories, plain: bytes) -> None:
    opened(history.store).box.save_note("suspects/nonsense", plain)
    found = choose_packs(opened(history.store), [], read_data=False, progress=SilentProgress())
    assert (len(found.suspects.damage), found.packs) == (1, ())


def test_names_of_packs_are_judged_before_anything_is_done(history: Histories) -> None:
    repository = opened(history.store)
    for word, error in (("nonsense", NotFoundError), ("", (NotFoundError, AmbiguousError))):
        with pytest.raises(error):
            choose_packs(repository, [word], read_data=False, progress=SilentProgress())
    crowd = history.store.copy()
    for number in range(2):
        crowd.objects[f"data/00/{'0' * 63}{number}"] = b""
    with pytest.raises(AmbiguousError):
        choose_packs(opened(crowd), ["000"], read_data=False, progress=SilentProgress())


def test_packs_are_not_repaired_beside_an_index_that_cannot_be_read(history: Histories) -> None:
    store = history.store
    pack = packs_of(store, BlobKind.DATA)[0]
    flip_in_pack(store, pack, 40)
    flip(store, objects(store, "index")[0], 30)
    before = dict(store.objects)
    for work in (
        lambda: repair_packs(store),
        lambda: plan_pack_repair(Repository.open(store, PASSPHRASE), [pack], progress=SilentProgress()),
    ):
        with pytest.raises(DamageError) as caught:
            work()
        assert "repair index" in caught.value.hint
    assert store.objects == before


def test_a_pack_that_the_store_cannot_read_now_stays_and_its_note_too(history: Histories) -> None:
    store = history.store
    pack = packs_of(store, BlobKind.DATA)[0]
    name = object_name(Kind.PACK, pack)
    before = dict(store.objects)
    failing = Fault("get", name, error=lambda: TransientError("a bad sector"), times=99)
    with FaultyStore(store, failing) as faulty:
        plan = repair_packs(faulty, pack)
    assert list(plan.unread) == [pack]
    assert store.objects == before


def test_a_missing_pack_is_told_and_left_to_the_repair_of_the_index(history: Histories) -> None:
    store = history.store
    pack = packs_of(store, BlobKind.DATA)[0]
    del store.objects[object_name(Kind.PACK, pack)]
    plan = repair_packs(store, pack)
    assert (plan.missing, plan.changes) == ([pack], False)
    assert plan.affected.count > 0
    assert pack in indexed(store)


def test_a_pack_that_decays_further_between_plan_and_act_stops_the_repair_with_everything_in_place(
    history: Histories,
) -> None:
    store = history.store
    pack = packs_of(store, BlobKind.DATA)[0]
    first, second = indexed(store)[pack][:2]
    name = flip_in_pack(store, pack, first.offset + 20)
    repository = opened(store)
    with repository.lock(exclusive=True, settle=AT_ONCE) as lock:
        plan = plan_pack_repair(repository, [pack], progress=SilentProgress())
        flip_in_pack(store, pack, second.offset + 20)
        with pytest.raises(DamageError):
            apply_pack_repair(repository, plan, lock, progress=SilentProgress())
    assert name in store.objects
    assert pack in indexed(store)
    assert len(repair_packs(store, pack).packs[0].broken) == 2


def test_the_same_damaged_bytes_are_kept_once_and_other_bytes_under_another_name() -> None:
    store = MemoryStore()
    first = keep_copy(store, "id", b"one")
    assert keep_copy(store, "id", b"one") == first == "edurise/damaged/id"
    second = keep_copy(store, "id", b"two")
    assert keep_copy(store, "id", b"two") == second != first
    assert [store.objects[name] for name in (first, second)] == [b"one", b"two"]


# Crashes, full disks, cancellation, others beside us


def pack_with(store: MemoryStore, content: bytes) -> tuple[str, PackedBlob]:
    """Return the pack that holds a small file's content, and the blob in it."""
    wanted = blob_id(content)
    return next((pack, blob) for pack, blobs in indexed(store).items() for blob in blobs if blob.id == wanted)


def damaged_history(history: Histories) -> MemoryStore:
    """Damage what only the first snapshot needs, in a pack with what all need; lose what the second needs.

    Of the newest snapshot's own pack the header is cut off, which costs nothing.
    """
    store = history.store
    first, blob = pack_with(store, changing(0))
    assert len(indexed(store)[first]) > 1
    flip_in_pack(store, first, blob.offset + 20)
    flip_in_pack(store, pack_with(store, changing(2))[0], -1)
    del store.objects[object_name(Kind.PACK, pack_with(store, changing(1))[0])]
    assert intact(store, history.expected) == {history.newest}
    return store


def join_index_files(store: MemoryStore) -> None:
    """Have one index file that lists everything, and one that cannot be read."""
    listed = indexed(store)
    for name in objects(store, "index"):
        del store.objects[name]
    opened(store).box.save(Kind.INDEX, encode_index(listed.items()))
    store.objects[f"index/{'a' * 64}"] = b"x"


@pytest.mark.parametrize("what", ["index", "packs"])
def test_s01_s22_a_crash_at_every_write_of_a_repair_harms_nothing_and_no_later_backup_trusts_what_is_gone(
    history: Histories, what: str
) -> None:
    """S-22: what was intact stays so. S-01: what the repair took out does not count as stored."""
    store = damaged_history(history)
    if what == "index":
        join_index_files(store)
    before = intact(store, history.expected)
    assert before == {history.newest}

    def work(repository: Repository) -> None:
        repair = repair_index if what == "index" else repair_packs
        repair(repository.store)

    for disk in crashes(store, work, at_least=6):
        assert before <= intact(disk, history.expected)
        repair_index(disk)
        repair_packs(disk)
        assert before <= intact(disk, history.expected)
        history.assert_heals(disk)


def test_s01_a_backup_right_after_a_crashed_repair_restores(history: Histories) -> None:
    """S-01: missing and cut-off packs are distrusted by the backup itself, without a further repair."""
    store = history.store
    pack = packs_of(store, BlobKind.DATA)[0]
    store.objects[object_name(Kind.PACK, pack)] = store.objects[object_name(Kind.PACK, pack)][:-60]
    for disk in crashes(store, lambda repository: repair_packs(repository.store), at_least=5):
        saved = back_up_below(opened(disk), history.live, settings=FEW)
        assert contents(disk, saved.id) == history.expected[history.newest]


def test_a_full_disk_while_blobs_are_salvaged_leaves_the_damaged_pack_where_it_is(history: Histories) -> None:
    store = history.store
    pack = packs_of(store, BlobKind.DATA)[0]
    name = flip_in_pack(store, pack, 40)
    for prefix in ("edurise/damaged", "data", "index"):
        full = Fault("put", prefix, error=lambda: SpaceError("the disk is full"))
        with FaultyStore(store, full) as faulty, pytest.raises(SpaceError):
            repair_packs(faulty, pack)
        assert name in store.objects
        assert pack in indexed(store)
    repair_packs(store, pack)
    assert name not in store.objects


class LosesLock(SilentProgress):
    """Has somebody remove all locks when a phase begins, or at the first progress in it."""

    def __init__(self, store: MemoryStore, moment: str) -> None:
        super().__init__()
        self._store = store
        self._moment = moment

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        if name == self._moment:
            self._remove()

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        if self._moment == "while salvaging":
            self._remove()

    def _remove(self) -> None:
        for held in objects(self._store, "locks"):
            del self._store.objects[held]


@pytest.mark.parametrize("moment", ["salvage", "while salvaging", "index"])
def test_a_lock_that_was_lost_meanwhile_ends_a_repair_before_anything_goes(history: Histories, moment: str) -> None:
    store = history.store
    pack = packs_of(store, BlobKind.DATA)[0]
    flip_in_pack(store, pack, 40)
    before = below(store, "data", "index")
    repository = opened(store)
    progress = LosesLock(store, moment)
    with repository.lock(exclusive=True, settle=AT_ONCE) as lock:
        plan = plan_pack_repair(repository, [pack], progress=progress)
        with pytest.raises(LockedError):
            apply_pack_repair(repository, plan, lock, progress=progress)
    assert below(store, "data").items() >= {name: before[name] for name in before if name.startswith("data")}.items()
    assert below(store, "index") == below(MemoryStore(before), "index")


def test_a_lock_that_was_lost_meanwhile_leaves_the_index_as_it_is(history: Histories) -> None:
    store = history.store
    join_index_files(store)
    before = below(store, "index")
    repository = Repository.open(store, PASSPHRASE)
    progress = LosesLock(store, "index")
    with repository.lock(exclusive=True, settle=AT_ONCE) as lock:
        plan = plan_index_repair(repository, progress=SilentProgress())
        with pytest.raises(LockedError):
            apply_index_repair(repository, plan, lock, progress=progress)
    assert below(store, "index") == before


def test_a_repair_waits_for_nobody_and_excludes_everybody(history: Histories, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "kill", lambda pid, signal: None)  # the other one lives
    with opened(history.store).lock(settle=AT_ONCE):
        for work in (repair_index, repair_packs):
            with pytest.raises(LockedError):
                work(history.store)
            assert not work(history.store, apply=False).changes


class CancelledIn(SilentProgress):
    """Asks to stop as soon as a phase begins."""

    def __init__(self, phase: str) -> None:
        super().__init__()
        self._phase = phase

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        if name == self._phase:
            self.cancel()


@pytest.mark.parametrize("phase", ["packs", "affected", "salvage"])
def test_a_repair_that_is_cancelled_leaves_everything_in_place(history: Histories, phase: str) -> None:
    store = history.store
    pack = packs_of(store, BlobKind.DATA)[0]
    flip_in_pack(store, pack, 40)
    before = below(store, "data", "index")
    repository = opened(store)
    progress = CancelledIn(phase)
    with repository.lock(exclusive=True, settle=AT_ONCE) as lock, pytest.raises(CancelledError):
        plan = plan_pack_repair(repository, [pack], progress=progress)
        apply_pack_repair(repository, plan, lock, progress=progress)
    assert below(store, "data", "index") == before


def test_a_prune_after_repair_and_healing_removes_what_is_there_twice(history: Histories) -> None:
    store = damaged_history(history)
    repair_index(store)
    repair_packs(store)
    history.assert_heals(store)
    for snapshot_id in set(history.expected) - intact(store, history.expected):
        opened(store).forget(snapshot_id)
    sound = intact(store, history.expected)
    prune(opened(store))
    assert check(opened(store)).findings == []
    assert intact(store, history.expected) == sound
    repository = opened(store)
    assert list(repository.index.copies()) == []


def test_a_salvaged_blob_decodes_to_its_id(history: Histories) -> None:
    store = history.store
    pack = packs_of(store, BlobKind.DATA)[0]
    flip_in_pack(store, pack, -1)
    repair_packs(store, pack)
    key = opened(store).box.key
    for name, blobs in indexed(store).items():
        content = store.objects[object_name(Kind.PACK, name)]
        for blob in blobs:
            sealed = content[blob.offset : blob.offset + blob.length]
            assert open_blob(key, sealed, wanted=BlobId(blob.id), raw_length=blob.raw_length)


def test_every_error_of_a_repair_says_what_is_safe_or_what_to_do(history: Histories) -> None:
    store = history.store
    flip(store, objects(store, "index")[0], 30)
    with pytest.raises(BackupError) as caught:
        choose_packs(Repository.open(store, PASSPHRASE), [], read_data=False, progress=SilentProgress())
    assert caught.value.safe
    assert caught.value.hint
