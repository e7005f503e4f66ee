"""One damaged or missing object costs what it held, no more; and the next backup of the same data mends it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edurise_backup.errors import DamageError, InputError, NotFoundError, TransientError, UnreachableError
from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import Entry
from edurise_backup.recovery.planning import plan_restore, walk_files
from edurise_backup.recovery.restorer import prove_files
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.locks import read_locks
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Label, Saved, save_snapshot
from edurise_backup.sources.files import FilesSource
from edurise_backup.stores.local import LocalStore
from edurise_backup.stores.retrying import RetryingStore
from tests.support.engine import (
    AT_ONCE,
    PASSPHRASE,
    QUICK,
    TINY,
    back_up,
    back_up_source,
    check,
    create,
    opened,
    prune,
    restore,
    restored_differences,
)
from tests.support.stores import Fault, FaultyStore, MemoryStore
from tests.support.trees import small_tree, write


def data_packs(repository: Repository) -> list[str]:
    """Return the store's names of the packs that files are read from."""
    places = [repository.index.find(BlobKind.DATA, BlobId(blob)) for blob in repository.index.blobs(BlobKind.DATA)]
    return sorted({object_name(Kind.PACK, place.pack) for place in places if place})


def save_again(repository: Repository, tree: Path) -> Saved:
    """Publish a snapshot with the index as it stands in memory, as the parts of one set do."""
    source = FilesSource([str(tree)])
    with repository.lock(settle=AT_ONCE) as lock:
        label = Label(source.paths, "again")
        return save_snapshot(repository, source, label, lock, progress=SilentProgress(), settings=TINY)


@pytest.mark.parametrize("harm", ["missing", "cut short"])
def test_a_backup_does_not_trust_packs_that_are_gone_and_stores_their_blobs_again(tmp_path: Path, harm: str) -> None:
    store = MemoryStore()
    repository = create(store)
    tree = small_tree(tmp_path / "tree")
    back_up(repository, tree)
    for name in data_packs(opened(store)):
        if harm == "missing":
            del store.objects[name]
        else:
            store.objects[name] = store.objects[name][:-1]
    saved = back_up(repository, tree)
    assert any("stored again" in problem for problem in saved.archived.problems)
    assert restored_differences(opened(store), saved.snapshot, tree, tmp_path / "out") == []


def test_a_missing_tree_of_the_parent_makes_the_backup_read_everything_and_say_so(tmp_path: Path) -> None:
    store = MemoryStore()
    repository = create(store)
    tree = small_tree(tmp_path / "tree")
    back_up(repository, tree)
    keep = set(data_packs(opened(store)))
    for name, _ in list(store.list(Kind.PACK)):
        if name not in keep:
            del store.objects[name]
    saved = back_up(opened(store), tree)
    assert any("cannot be read" in problem for problem in saved.archived.problems)
    assert restored_differences(opened(store), saved.snapshot, tree, tmp_path / "out") == []


def test_a_damaged_snapshot_hides_no_other_one(tmp_path: Path) -> None:
    store = MemoryStore()
    repository = create(store)
    tree = small_tree(tmp_path / "tree")
    first = back_up(repository, tree)
    second = back_up(repository, tree)
    sound = store.objects[f"snapshots/{first.id}"]
    store.objects[f"snapshots/{first.id}"] = bytes([sound[0] ^ 1]) + sound[1:]
    unreadable: list[str] = []
    assert list(repository.readable_snapshots(unreadable)) == [second.id]
    assert first.id[:8] in unreadable[0]
    assert repository.find_snapshot("latest")[0] == second.id
    assert repository.find_snapshot(second.id[:10])[0] == second.id
    back_up(repository, tree)
    with pytest.raises(DamageError):
        prune(repository)  # who removes must know every snapshot


def test_a_damaged_index_stops_neither_a_backup_nor_a_restore_of_what_others_know(tmp_path: Path) -> None:
    store = MemoryStore()
    repository = create(store)
    tree = small_tree(tmp_path / "tree")
    back_up(repository, tree)
    (index,) = [name for name, _ in store.list(Kind.INDEX)]
    store.objects[index] = store.objects[index][:-1]
    saved = back_up(Repository.open(store, PASSPHRASE), tree)
    assert any("index" in problem for problem in saved.archived.problems)
    reading = Repository.open(store, PASSPHRASE)
    reading.load_index(strict=False)
    assert restored_differences(reading, saved.snapshot, tree, tmp_path / "out") == []
    assert not any("next prune removes them" in remark for remark in check(reading).remarks)


def test_an_empty_lock_of_a_crashed_client_blocks_nobody(tmp_path: Path) -> None:
    store = MemoryStore()
    repository = create(store)
    store.objects["locks/" + "a" * 64] = b""
    assert read_locks(repository.box) == {}
    with repository.lock(exclusive=True, settle=AT_ONCE):
        pass


def test_an_unreadable_lock_says_how_it_is_removed() -> None:
    store = MemoryStore()
    repository = create(store)
    store.objects["locks/" + "a" * 64] = b"x"
    with pytest.raises(DamageError) as caught:
        repository.lock(settle=AT_ONCE)
    assert "--remove-all" in caught.value.hint


def test_prune_keeps_the_whole_one_of_two_copies(tmp_path: Path) -> None:
    store = MemoryStore()
    repository = create(store)
    tree = tmp_path / "tree"
    write(tree / "file", b"precious" * 50)
    back_up(repository, tree)
    before = set(store.objects)
    ignorant = Repository.open(store, PASSPHRASE)  # its index is empty: a client that does not know the first copy
    save_again(ignorant, tree)
    assert len([name for name in store.objects if name.startswith("data/")]) > len(
        [name for name in before if name.startswith("data/")]
    )
    for name in data_packs(opened(store)):
        content = bytearray(store.objects[name])
        content[3] ^= 1
        store.objects[name] = bytes(content)
    pruned = opened(store)
    prune(pruned)
    after = opened(store)
    for number, shot in enumerate(after.snapshots().values()):
        assert restored_differences(after, shot, tree, tmp_path / f"out{number}") == []


def test_a_writer_that_failed_leaves_no_blobs_that_a_later_snapshot_could_rely_on(tmp_path: Path) -> None:
    inner = MemoryStore()
    create(inner)
    tree = tmp_path / "tree"
    for number in range(20):
        write(tree / str(number), os.urandom(1500))
    fault = Fault("put", "data/", error=lambda: TransientError("the store failed"), first=4)
    with FaultyStore(inner, fault) as store:
        repository = Repository.open(store, PASSPHRASE)
        repository.load_index()
        with pytest.raises(TransientError):
            save_again(repository, tree)
        saved = save_again(repository, tree)
    assert check(opened(inner)).sound
    assert restored_differences(opened(inner), saved.snapshot, tree, tmp_path / "out") == []


def test_a_put_whose_directory_could_not_be_made_durable_leaves_no_object_to_be_taken_for_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    failed: list[int] = []

    def fsync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}") and not failed and (tmp_path / "store/snapshots/a").exists():
            failed.append(descriptor)
            raise OSError(errno.EIO, "the disk failed")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store = RetryingStore(LocalStore(tmp_path / "store"), first_wait=0)
    store.put("snapshots/a", [b"content"])
    assert failed  # the planned fault fired
    assert store.get("snapshots/a") == b"content"


def test_a_repository_whose_disk_is_gone_is_not_written_around(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        LocalStore(tmp_path / "unmounted", create=False).put("locks/a", [b"x"])
    assert not (tmp_path / "unmounted").exists()


@pytest.mark.parametrize("left", ["an empty directory", "nothing"])
def test_a_disk_that_is_taken_away_in_the_middle_is_not_written_around(tmp_path: Path, left: str) -> None:
    """Where its directory was lies another one then, empty: no backup may go on there, no list may tell of nothing."""
    create(LocalStore(tmp_path / "disk"))
    store = LocalStore(tmp_path / "disk", create=False)
    assert store.get("config")
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    if left == "an empty directory":
        (tmp_path / "disk").mkdir()
    for ask in (
        lambda: store.put("data/ab/abcd", [b"x"]),
        lambda: store.put("snapshots/a", [b"x"]),
        lambda: list(store.list("snapshots")),
        lambda: store.get("config"),
    ):
        with pytest.raises(UnreachableError, match="is not the directory any more that it was"):
            ask()
    assert list((tmp_path / "disk").rglob("*")) == []
    (tmp_path / "disk").rmdir() if left == "an empty directory" else None
    (tmp_path / "elsewhere").rename(tmp_path / "disk")  # it is mounted again
    store.put("data/ab/abcd", [b"x"])
    assert store.get("config")


def test_a_file_is_no_place_for_a_repository(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is not a directory"):
        Repository.create(LocalStore(tmp_path / "file"), PASSPHRASE, cost=QUICK)


def test_prune_removes_what_killed_writers_left(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "repository")
    repository = create(store)
    back_up(repository, small_tree(tmp_path / "tree"))
    left = next((tmp_path / "repository/data").iterdir()) / ("b" * 64 + "-tmp-1234")
    left.write_bytes(b"half a pack")
    prune(repository)
    assert not left.exists()


def test_what_lies_below_a_linked_directory_is_stored_and_restored(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "real" / "sub")
    (tmp_path / "link").symlink_to("real")
    store = MemoryStore()
    repository = create(store)
    saved = back_up(repository, tmp_path / "link" / "sub")
    assert check(repository).sound
    target = tmp_path / "out"
    restore(opened(store), saved.snapshot.tree, target)
    restored = target / str(tmp_path / "link" / "sub").lstrip("/")
    assert sorted(path.name for path in restored.iterdir()) == sorted(path.name for path in tree.iterdir())


def test_a_source_that_is_a_link_is_told_to_be_only_that(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    saved = back_up(create(), tmp_path / "link")
    assert [problem for problem in saved.archived.problems if "symbolic link" in problem]


def test_a_file_that_grew_since_it_was_found_is_not_held_in_memory_as_one_piece(tmp_path: Path) -> None:
    """The walk saw a small file; when it is opened it is large: its chunks go to the sink one by one."""
    path = write(tmp_path / "tree" / "log", b"small")
    store = MemoryStore()
    repository = create(store)

    class Grown(FilesSource):
        def root(self) -> Entry:
            return _growing(super().root(), path)

    source = Grown([str(path)])
    saved = back_up_source(repository, source, source.paths)
    (node,) = [node for _, node in walk_files(opened(store), saved.snapshot.tree) if node.type == "file"]
    assert node.size == 3_000_000
    assert len(node.content or []) > 1
    restored = tmp_path / "out"
    restore(opened(store), saved.snapshot.tree, restored)
    assert (restored / str(path).lstrip("/")).read_bytes() == path.read_bytes()


def _growing(entry: Entry, path: Path) -> Entry:
    """Let the file grow between its description and its opening."""
    if entry.children is not None:
        below = entry.children
        entry.children = lambda: [_growing(child, path) for child in below()]
    if entry.path == str(path):
        path.write_bytes(os.urandom(3_000_000))
    return entry


def test_a_restore_goes_on_where_owners_and_times_cannot_be_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = small_tree(tmp_path / "tree")
    store = MemoryStore()
    saved = back_up(create(store), tree)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    for name in ("fchown", "chown", "utime"):
        monkeypatch.setattr(os, name, refuse)
    target = tmp_path / "out"
    restored = restore(opened(store), saved.snapshot.tree, target)
    assert any("times" in problem for problem in restored.problems)
    assert prove_files(opened(store), saved.snapshot.tree, target, progress=SilentProgress())[1] == []


def test_holes_need_no_room(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(40_000_000)
    store = MemoryStore()
    saved = back_up(create(store), path)
    plan = plan_restore(opened(store), saved.snapshot.tree)
    assert plan.bytes == 40_000_000
    assert plan.room < 8_000_000


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_restored_file_that_cannot_be_read_is_a_finding_not_a_crash(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    write(tree / "file", b"x")
    store = MemoryStore()
    saved = back_up(create(store), tree)
    restore(opened(store), saved.snapshot.tree, tmp_path / "out")
    (tmp_path / "out" / str(tree / "file").lstrip("/")).chmod(0)
    _, findings = prove_files(opened(store), saved.snapshot.tree, tmp_path / "out", progress=SilentProgress())
    assert any("cannot be read" in finding for finding in findings)
