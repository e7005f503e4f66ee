"""A store that fails or lies: nothing is lost, nothing is called a success that is none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from edurise_backup.errors import BackupError, ConflictError, DamageError, SpaceError, TransientError
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.pipeline import codec
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.prune_plan import plan_prune
from edurise_backup.repository.repository import Repository
from tests.support.engine import (
    NOTHING_UNUSED,
    ONE_PACK,
    PASSPHRASE,
    back_up,
    check,
    count,
    create,
    forget,
    opened,
    prune,
    restore,
    restored_differences,
)
from tests.support.stores import Fault, FaultyStore, MemoryStore
from tests.support.trees import content_of, small_tree, write

ERRORS: list[Callable[[], Exception]] = [
    lambda: TransientError("the disk did not answer"),
    lambda: SpaceError("the disk is full"),
    lambda: MemoryError("no memory"),
    lambda: OSError(5, "an error that nobody translated"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a small tree."""
    return small_tree(tmp_path / "tree")


def on_faulty(store: MemoryStore, *faults: Fault) -> tuple[Repository, FaultyStore]:
    """Open the repository of `store` behind the faults, which wait until it is open."""
    faulty = FaultyStore(store, *faults)
    return Repository.open(faulty, PASSPHRASE), faulty


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("kind", [Kind.PACK, Kind.INDEX, Kind.SNAPSHOT, Kind.LOCK])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after the work"])
def test_s26_a_backup_with_a_failed_write_is_no_backup(
    tree: Path, kind: Kind, error: Callable[[], Exception], after: bool
) -> None:
    """S-26: whatever goes wrong with one write, the backup raises, and the next one is whole."""
    store = MemoryStore()
    create(store)
    repository, faulty = on_faulty(store, Fault("put", kind, error, after=after))
    with faulty, pytest.raises(type(error())):
        back_up(repository, tree)
    assert check(opened(store)).findings == []
    assert after or count(store, Kind.SNAPSHOT) == 0
    saved = back_up(opened(store), tree)
    assert check(opened(store)).findings == []
    assert restored_differences(opened(store), saved.snapshot, tree, tree.parent / "target") == []


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("first", [0, 1, 3])
def test_a_backup_with_a_failed_later_pack_is_no_backup(tree: Path, first: int, error: Callable[[], Exception]) -> None:
    store = MemoryStore()
    create(store)
    repository, faulty = on_faulty(store, Fault("put", Kind.PACK, error, first=first))
    with faulty, pytest.raises(type(error())):
        back_up(repository, tree)
    assert count(store, Kind.SNAPSHOT) == 0


# Prune


class Pruned:
    """A repository with something to prune: one of two snapshots was forgotten."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.store = MemoryStore()
        create(self.store)
        first = back_up(opened(self.store), tree, settings=ONE_PACK)
        write(tree / "folder 0" / "file 0", b"changed" * 500)
        (tree / "folder 1" / "file 1").unlink()
        self.saved = back_up(opened(self.store), tree, settings=ONE_PACK)
        forget(opened(self.store), first.id)
        self.before = set(self.store.objects)

    def assert_whole(self, target: Path) -> None:
        repository = opened(self.store)
        assert check(repository).findings == []
        assert restored_differences(repository, self.saved.snapshot, self.tree, target) == []


@pytest.fixture
def pruned(tree: Path) -> Pruned:
    """Give a repository with something to prune."""
    return Pruned(tree)


@pytest.mark.parametrize(("kind", "first"), [(Kind.SNAPSHOT, 0), (Kind.INDEX, 0), (Kind.INDEX, 1), (Kind.PACK, 0)])
def test_s08_a_listing_that_fails_removes_nothing(pruned: Pruned, kind: Kind, first: int, tmp_path: Path) -> None:
    repository, faulty = on_faulty(
        pruned.store, Fault("list", kind, lambda: TransientError("500"), first=first, times=99)
    )
    with faulty, pytest.raises(TransientError):
        prune(repository)
    assert pruned.before <= set(pruned.store.objects)
    pruned.assert_whole(tmp_path / "target")


@pytest.mark.parametrize("kind", [Kind.SNAPSHOT, Kind.INDEX, Kind.PACK])
def test_s08_a_listing_that_comes_back_empty_removes_nothing(pruned: Pruned, kind: Kind, tmp_path: Path) -> None:
    repository, faulty = on_faulty(pruned.store, Fault("list", kind, answer=lambda _: [], times=99))
    with faulty, pytest.raises((ConflictError, DamageError)):
        prune(repository)
    assert set(pruned.store.objects) == pruned.before
    pruned.assert_whole(tmp_path / "target")


@pytest.mark.parametrize("kind", [Kind.INDEX, Kind.PACK])
def test_s09_a_listing_that_is_cut_short_removes_nothing_that_is_needed(
    pruned: Pruned, kind: Kind, tmp_path: Path
) -> None:
    """S-09: what a missing page holds is missed, as soon as a snapshot needs it."""
    needed = pruned.saved.snapshot.tree
    assert needed
    for number in range(count(pruned.store, kind)):
        store = pruned.store.copy()

        def without(found: object, number: int = number) -> object:
            assert isinstance(found, list)
            return found[:number] + found[number + 1 :]

        repository, faulty = on_faulty(store, Fault("list", kind, answer=without, times=99))
        with faulty:
            try:
                prune(repository)
            except DamageError:
                assert set(store.objects) == pruned.before
            except ConflictError:  # two listings contradict each other
                assert {name for name in pruned.before if name.startswith("data/")} <= set(store.objects)
        pruned.store, original = store, pruned.store
        pruned.assert_whole(tmp_path / f"target {number}")
        pruned.store = original


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("kind", [Kind.PACK, Kind.INDEX])
def test_a_prune_with_a_failed_write_removes_nothing(
    pruned: Pruned, kind: Kind, error: Callable[[], Exception], tmp_path: Path
) -> None:
    repository, faulty = on_faulty(pruned.store, Fault("put", kind, error))
    with faulty, pytest.raises(type(error())):
        prune(repository)
    assert pruned.before <= set(pruned.store.objects)
    pruned.assert_whole(tmp_path / "target")


def test_a_prune_whose_compressor_breaks_removes_nothing(
    pruned: Pruned, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An error that no one expected must not look like a blob that was written again."""

    def broken(**_: object) -> object:
        raise zstandard.ZstdError("out of memory")

    repository = opened(pruned.store)
    monkeypatch.setattr(codec._zstd, "compressors", {})
    monkeypatch.setattr(zstandard, "ZstdCompressor", broken)
    with pytest.raises(zstandard.ZstdError):
        prune(repository)
    monkeypatch.undo()
    assert pruned.before <= set(pruned.store.objects)
    pruned.assert_whole(tmp_path / "target")


def test_a_prune_of_a_damaged_pack_removes_nothing(pruned: Pruned) -> None:
    """What is written again is proved first; a prune never buries damage."""
    repository = opened(pruned.store)
    plan = plan_prune(repository, NOTHING_UNUSED, now=datetime.now(UTC), progress=SilentProgress())
    assert plan.fates.repack
    for pack in map(plan.survey.index.pack_id, plan.fates.repack):
        name = f"data/{pack[:2]}/{pack}"
        content = bytearray(pruned.store.objects[name])
        for at in range(0, len(content), 50):
            content[at] ^= 1
        pruned.store.objects[name] = bytes(content)
    with pytest.raises(DamageError):
        prune(opened(pruned.store))
    assert set(pruned.store.objects) == pruned.before


# Reading


def test_s23_a_short_read_is_never_taken_for_the_whole(tree: Path, tmp_path: Path) -> None:
    store = MemoryStore()
    saved = back_up(create(store), tree)

    def shorter(content: object) -> object:
        assert isinstance(content, bytes)
        return content[:-7]

    repository, faulty = on_faulty(store, Fault("get", Kind.PACK, answer=shorter, first=9, times=10**6))
    with faulty, pytest.raises(DamageError):
        repository.load_index()
        restore(repository, saved.snapshot.tree, tmp_path / "target")


def test_s23_a_single_short_read_is_healed_by_reading_again(tree: Path, tmp_path: Path) -> None:
    store = MemoryStore()
    saved = back_up(create(store), tree, settings=ONE_PACK)
    short: list[bytes] = []

    def once(content: object) -> object:
        assert isinstance(content, bytes)
        if len(content) < 10_000 or short:  # a tree, or read again
            return content
        short.append(content)
        return content[:-9000]

    repository, faulty = on_faulty(store, Fault("get", Kind.PACK, answer=once, times=10**6))
    with faulty:
        repository.load_index()
        assert restored_differences(repository, saved.snapshot, tree, tmp_path / "target") == []
    assert short


def test_s23_a_read_of_other_bytes_is_never_written(tree: Path, tmp_path: Path) -> None:
    store = MemoryStore()
    saved = back_up(create(store), tree)

    def flipped(content: object) -> object:
        assert isinstance(content, bytes)
        return bytes([content[0] ^ 1]) + content[1:]

    repository, faulty = on_faulty(store, Fault("get", Kind.PACK, answer=flipped, first=9, times=10**6))
    with faulty, pytest.raises(DamageError):
        repository.load_index()
        restore(repository, saved.snapshot.tree, tmp_path / "target")


def test_s25_a_restore_that_brought_nothing_back_is_no_success(tree: Path, tmp_path: Path) -> None:
    """S-25: when the data is gone, the restore raises; it never ends well with empty files."""
    store = MemoryStore()
    saved = back_up(create(store), tree)
    repository = opened(store)
    repository.read_tree(saved.snapshot.tree)
    for name in [name for name in store.objects if name.startswith("data/")]:
        del store.objects[name]
    with pytest.raises(DamageError):
        restore(repository, saved.snapshot.tree, tmp_path / "target")
    written = [found for found in content_of(tmp_path / "target").values() if found != "folder"]
    assert written == []


def test_s28_a_planned_fault_that_never_strikes_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="never struck"), FaultyStore(MemoryStore(), Fault("put", "data")):
        pass


def test_s28_an_error_of_the_test_itself_is_not_hidden_by_an_idle_fault() -> None:
    with pytest.raises(BackupError), FaultyStore(MemoryStore(), Fault("put", "data")):
        raise BackupError("the real one")
