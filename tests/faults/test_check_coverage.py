"""A check with a budget proves what has waited longest, and says how fresh the proof of every byte is."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edurise_backup.errors import CancelledError, SpaceError
from edurise_backup.model.content import BlobKind
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.repository.index import Index
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.repository import Repository
from edurise_backup.verification.budget import Budget
from edurise_backup.verification.checker import CheckResult, check
from edurise_backup.verification.coverage import Coverage, CoverageKeeper, load_coverage
from edurise_backup.verification.packs import prove_pack
from edurise_backup.verification.suspects import load_suspects
from tests.support.engine import ONE_PACK, PASSPHRASE, back_up, count, create, opened
from tests.support.repairs import flip, flip_in_pack, packs_of
from tests.support.stores import Crash, CrashingStore, Fault, FaultyStore, MemoryStore
from tests.support.trees import small_tree

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE = Budget(size=1)
"""Enough for one pack: at least one is read."""


class Tick:
    """A clock that tests move."""

    def __init__(self, moment: datetime = NOON) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment

    def pass_by(self, span: timedelta) -> None:
        self.moment += span


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    """Give a repository with a dozen small packs."""
    store = MemoryStore()
    back_up(create(store), small_tree(tmp_path / "tree"))
    assert count(store, Kind.PACK) > 6
    return store


def check_at(store: MemoryStore, clock: Tick, budget: Budget | None = None, *, record: bool = True) -> CheckResult:
    """Check with a clock of ours."""
    return check(opened(store), progress=SilentProgress(), budget=budget, now=clock, record=record)


def notes(store: MemoryStore) -> list[str]:
    return sorted(name for name in store.objects if name.startswith("edurise/verified/"))


def proved(store: MemoryStore) -> set[str]:
    coverage = load_coverage(opened(store).box, now=NOON + timedelta(days=3650))
    return {pack.hex() for pack in coverage.times}


def test_packs_that_were_never_proved_come_first_and_then_the_oldest(store: MemoryStore) -> None:
    clock = Tick()
    packs = count(store, Kind.PACK)
    order = []
    for _ in range(packs):
        before = proved(store)
        result = check_at(store, clock, ONE)
        assert (result.packs_read, result.coverage.packs - result.coverage.never) == (1, len(before) + 1)
        order += proved(store) - before
        clock.pass_by(timedelta(hours=1))
    assert len(order) == packs
    again = []
    for _ in range(packs):
        box = opened(store).box
        (next_one, *_) = load_coverage(box, now=clock()).oldest(order)
        check_at(store, clock, ONE)
        assert load_coverage(box, now=clock()).proved(next_one) == clock()
        again.append(next_one)
        clock.pass_by(timedelta(hours=1))
    assert again == order


def test_that_every_byte_was_proved_within_30_days_is_shown_and_stops_being_true(store: MemoryStore) -> None:
    clock = Tick()
    first = check_at(store, clock)
    assert (first.coverage.within_percent, first.coverage.never, first.coverage.oldest) == (0.0, first.packs, None)
    done = check_at(store, clock, Budget(share=1.0)).coverage
    assert (done.within_percent, done.never, done.overdue_packs, done.oldest) == (100.0, 0, 0, NOON)
    assert done.bytes == sum(size for _, size in store.list(Kind.PACK))
    clock.pass_by(timedelta(days=30))
    assert check_at(store, clock).coverage.within_percent == 100.0
    clock.pass_by(timedelta(minutes=1))
    late = check_at(store, clock).coverage
    assert (late.within_percent, late.never, late.overdue_bytes) == (0.0, 0, late.bytes)


def test_a_percentage_is_cut_so_that_100_means_every_byte() -> None:
    sizes = {"aa" * 32: 10**12, "bb" * 32: 1}
    coverage = Coverage()
    coverage.add(bytes.fromhex("aa" * 32), int(NOON.timestamp()))
    figures = coverage.figures(sizes, now=NOON)
    assert (figures.within_percent, figures.overdue_packs, figures.overdue_bytes) == (99.99, 1, 1)
    assert Coverage().figures({}, now=NOON).within_percent == 100.0


def test_a_time_budget_ends_after_the_pack_at_which_it_is_spent_but_not_before_the_first(store: MemoryStore) -> None:
    moments = iter(range(1000))

    def read(limit: timedelta) -> int:
        result = check(
            opened(store),
            progress=SilentProgress(),
            budget=Budget(time=limit),
            seconds=lambda: float(next(moments)),
            record=False,
        )
        return result.packs_read

    assert read(timedelta(seconds=0.001)) == 1
    assert read(timedelta(seconds=3)) == 3
    assert read(timedelta(hours=1)) == count(store, Kind.PACK)


def test_only_packs_that_passed_are_noted_and_damaged_ones_are_noted_for_a_repair(store: MemoryStore) -> None:
    damaged = packs_of(store, BlobKind.DATA)[0]
    flip_in_pack(store, damaged, 40)
    result = check(opened(store), progress=SilentProgress(), read_data=True)
    assert result.damaged_packs == [damaged]
    assert damaged not in proved(store)
    assert len(proved(store)) == count(store, Kind.PACK) - 1
    assert load_suspects(opened(store).box).packs == {damaged}
    before = dict(store.objects)
    check(opened(store), progress=SilentProgress())
    assert store.objects == before  # it is not noted twice


def test_a_check_that_must_not_write_leaves_no_trace(store: MemoryStore) -> None:
    flip_in_pack(store, packs_of(store, BlobKind.DATA)[0], 40)
    before = dict(store.objects)
    result = check(opened(store), progress=SilentProgress(), read_data=True, record=False)
    assert result.findings
    assert store.objects == before


def test_the_check_of_one_snapshot_notes_the_packs_that_it_read_whole(store: MemoryStore, tmp_path: Path) -> None:
    other = back_up(opened(store), small_tree(tmp_path / "other", seed=1))
    result = check(opened(store), progress=SilentProgress(), read_data=True, snapshots=[other.id])
    assert result.sound
    assert len(proved(store)) == result.packs == result.packs_read == result.coverage.packs < count(store, Kind.PACK)
    assert result.coverage.within_percent == 100.0


def test_a_damaged_note_is_a_remark_and_costs_only_what_it_knew(store: MemoryStore) -> None:
    clock = Tick()
    check_at(store, clock, ONE)
    (damaged,) = notes(store)
    clock.pass_by(timedelta(hours=1))
    check_at(store, clock, ONE)
    flip(store, damaged, 20)
    result = check_at(store, clock)
    assert result.sound
    assert [remark for remark in result.remarks if "verification times" in remark]
    assert result.coverage.never == result.packs - 1
    assert check_at(store, clock, ONE).sound
    assert check_at(store, clock).remarks == []  # the next note took its place


@pytest.mark.parametrize(
    "plain",
    [b"{}", b"[]", b'{"verified":[{"time":-1,"packs":""}]}', b'{"verified":[{"time":1,"packs":"QUJD"}]}', b"{\xff"],
)
def test_a_note_that_says_nonsense_is_damage_not_a_crash(store: MemoryStore, plain: bytes) -> None:
    opened(store).box.save_note("verified/nonsense", plain)
    assert [remark for remark in check_at(store, Tick()).remarks if "nonsense" in remark]


def test_a_note_from_the_future_counts_as_now_and_is_written_again_so(store: MemoryStore) -> None:
    clock = Tick(NOON + timedelta(days=3650))
    check_at(store, clock, Budget(share=1.0))
    clock.moment = NOON
    coverage = check_at(store, clock).coverage
    assert (coverage.within_percent, coverage.oldest) == (100.0, NOON)
    check_at(store, clock, ONE)
    clock.pass_by(timedelta(days=31))
    assert check_at(store, clock).coverage.within_percent == 0.0  # else it would count as fresh for ten years


def test_many_notes_become_one_that_says_the_same_and_forgets_packs_that_are_gone(store: MemoryStore) -> None:
    clock = Tick()
    box = opened(store).box
    CoverageKeeper(box, load_coverage(box), now=clock).close([])
    assert notes(store) == []  # nothing passed, nothing is noted
    keeper = CoverageKeeper(box, load_coverage(box), now=clock)
    keeper.passed("ab" * 32)
    assert keeper.close([]) == []
    for _ in range(16):
        clock.pass_by(timedelta(hours=1))
        before = load_coverage(box, now=clock()).times
        check_at(store, clock, ONE)
    assert len(notes(store)) == 1
    after = load_coverage(box, now=clock()).times
    assert all(after[pack] >= at for pack, at in before.items() if pack in after)
    assert bytes.fromhex("ab" * 32) in before
    assert bytes.fromhex("ab" * 32) not in after
    assert len(after) >= len(before) - 1


def test_a_crash_while_notes_are_joined_loses_no_time(store: MemoryStore) -> None:
    clock = Tick()
    while len(notes(store)) < 16:
        check_at(store, clock, ONE)
        clock.pass_by(timedelta(hours=1))
    before = load_coverage(opened(store).box, now=clock()).times
    for survive in range(100):
        disk = store.copy()
        try:
            repository = Repository.open(CrashingStore(disk, survive), PASSPHRASE)
            check(repository, progress=SilentProgress(), budget=ONE, now=clock)
        except Crash:
            after = load_coverage(opened(disk).box, now=clock()).times
            assert all(after[pack] >= at for pack, at in before.items())
            continue
        assert survive > 16
        assert len(notes(disk)) == 1
        return
    raise AssertionError("the check never ended")


def test_a_hundred_thousand_packs_fit_into_one_note() -> None:
    store = MemoryStore()
    box = create(store).box
    keeper = CoverageKeeper(box, load_coverage(box), now=Tick())
    packs = [secrets.token_hex(32) for _ in range(100_000)]
    for pack in packs:
        keeper.passed(pack)
    assert keeper.close(packs) == []
    (note,) = notes(store)
    assert len(store.objects[note]) < 100_000 * 36
    assert len(load_coverage(box).times) == 100_000


def test_a_note_that_finds_no_room_hides_nothing_that_the_check_has_found(store: MemoryStore) -> None:
    flip_in_pack(store, packs_of(store, BlobKind.DATA)[0], 40)
    full = Fault("put", "edurise/", error=lambda: SpaceError("the disk is full"), times=2)
    with FaultyStore(store, full) as faulty:
        repository = Repository.open(faulty, PASSPHRASE)
        result = check(repository, progress=SilentProgress(), read_data=True)
    assert result.findings
    assert len([remark for remark in result.remarks if "the disk is full" in remark]) == 2


class CancelledAfter(SilentProgress):
    """Asks to stop once some packs were read."""

    def __init__(self, packs: int) -> None:
        super().__init__()
        self._left = packs

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        self._left -= 1
        if self._left == 0:
            self.cancel()


def test_a_cancelled_check_keeps_the_times_of_what_it_had_proved(store: MemoryStore) -> None:
    with pytest.raises(CancelledError):
        check(opened(store), progress=CancelledAfter(5), read_data=True)
    assert 1 <= len(proved(store)) < count(store, Kind.PACK)


def test_a_check_can_be_stopped_between_the_blobs_of_a_pack(tmp_path: Path) -> None:
    """A large pack of many blobs must not hold up who asks to stop."""
    store = MemoryStore()
    back_up(create(store), small_tree(tmp_path / "tree"), settings=ONE_PACK)
    (pack,) = packs_of(store, BlobKind.DATA)
    repository = opened(store)
    paused = []

    def pause() -> None:
        paused.append(pack)
        if len(paused) == 3:
            raise CancelledError("stopped")

    content = store.objects[object_name(Kind.PACK, pack)]
    with pytest.raises(CancelledError):
        prove_pack(content, pack, key=repository.box.key, index=repository.index, pause=pause)
    assert len(paused) == 3


def test_a_pack_whose_blobs_the_index_puts_elsewhere_does_not_pass(store: MemoryStore) -> None:
    repository = opened(store)
    pack = packs_of(store, BlobKind.DATA)[0]
    content = store.objects[object_name(Kind.PACK, pack)]
    key = repository.box.key
    assert prove_pack(content, pack, key=key, index=repository.index).passed
    other = prove_pack(content, pack, key=key, index=Index())
    assert [finding for finding in other.findings if "header and the index disagree" in finding]
