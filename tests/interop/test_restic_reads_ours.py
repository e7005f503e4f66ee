"""Stock restic reads, checks, restores, extends and prunes what we write."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec
import pytest

from edurise_backup.errors import DamageError
from edurise_backup.recovery.planning import walk_files
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.stores.local import LocalStore
from tests.support.engine import QUICK, back_up, check, create, forget, opened, prune, restore, restored_differences
from tests.support.restic import Restic
from tests.support.stores import MemoryStore, save_to
from tests.support.trees import NOON, describe, differences, make_socket, odd_tree, small_tree, write

NORMAL = WriterSettings(workers=2)


class Shared:
    """A repository of ours on disk, with stock restic beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = LocalStore(folder / "repository")
        create(self.store)
        self.restic = Restic(folder / "repository", folder / "restic")
        self.tree = folder / "tree"

    def repository(self) -> Repository:
        return opened(self.store)

    def restored(self, target: Path) -> Path:
        """Where the tree lies below a target."""
        return target / str(self.tree).lstrip("/")


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    """Give an empty repository of ours."""
    return Shared(tmp_path)


def without_raw_links(tree: Path) -> Path:
    """Remove links whose target is not UTF-8: restic before 0.16 cannot restore them."""
    for name in os.listdir(os.fsencode(tree)):
        path = os.path.join(os.fsencode(tree), name)
        if os.path.islink(path) and b"\xff" in os.readlink(path):
            os.unlink(path)
    return tree


def test_what_we_write_is_checked_listed_restored_and_dumped(shared: Shared) -> None:
    without_raw_links(odd_tree(shared.tree))
    back_up(shared.repository(), shared.tree, settings=NORMAL)
    shared.restic.check()
    shared.restic.restore(shared.folder / "target")
    assert differences(describe(shared.tree), describe(shared.restored(shared.folder / "target"))) == []
    listed = {str(found["path"]) for found in shared.restic.ls()}
    assert {str(shared.tree / "big"), str(shared.tree / "small" / "twice"), str(shared.tree)} <= listed
    dumped = shared.restic.run("dump", "latest", str(shared.tree / "big")).stdout
    assert dumped == (shared.tree / "big").read_bytes()


def test_stock_diff_sees_our_changes(shared: Shared) -> None:
    small_tree(shared.tree)
    first = back_up(shared.repository(), shared.tree)
    write(shared.tree / "folder 0" / "file 0", b"changed", mtime=NOON + 1)
    write(shared.tree / "added", b"added")
    (shared.tree / "twice").unlink()
    second = back_up(shared.repository(), shared.tree)
    lines = shared.restic.run("diff", first.id, second.id).stdout.decode().splitlines()
    shown = {line for line in lines if line[:1] in "+-M" and str(shared.tree) in line}
    assert shown == {
        f"M    {shared.tree}/folder 0/file 0",
        f"+    {shared.tree}/added",
        f"-    {shared.tree}/twice",
    }


def test_stock_backup_finds_our_snapshot_as_parent_and_stores_nothing_twice(shared: Shared) -> None:
    without_raw_links(odd_tree(shared.tree))
    saved = back_up(shared.repository(), shared.tree, settings=NORMAL)
    summary = shared.restic.back_up(shared.tree)
    files = saved.archived.stats.files
    assert (summary["files_new"], summary["files_changed"], summary["files_unmodified"]) == (0, 0, files)
    assert summary["data_blobs"] == 0
    shared.restic.check()
    assert check(shared.repository()).findings == []


def test_a_stock_backup_of_the_same_directory_has_our_tree(shared: Shared) -> None:
    """The same directory gives the same tree id whichever client stored it; only large files are cut elsewhere."""
    without_raw_links(odd_tree(shared.tree))
    (shared.tree / "big").unlink()
    (shared.tree / "sparse").unlink()
    make_socket_in(shared.tree)
    saved = back_up(shared.repository(), shared.tree, settings=NORMAL)
    shared.restic.back_up(shared.tree, options=["--force"])
    repository = shared.repository()
    theirs = str(shared.restic.snapshots()[-1]["tree"])
    ours = walk(repository, saved.snapshot.tree, shared.tree)
    assert walk(repository, theirs, shared.tree) == ours
    assert any(name == 'quote " and \\ backslash' for name, *_ in ours[1])


def walk(repository: Repository, root: str, folder: Path) -> tuple[str | None, list[tuple[str, object]]]:
    """Return a directory's tree id in a snapshot, and what its files and all else are described by."""
    nodes = [(path, node) for path, node in walk_files(repository, root) if path.startswith(str(folder))]
    (top,) = [node.subtree for path, node in nodes if path == str(folder)]
    below = [(node.name, msgspec.to_builtins(node)) for path, node in nodes if path != str(folder)]
    return top, below


def make_socket_in(tree: Path) -> None:
    """Leave a socket in the tree, bound under a short path."""
    short = Path(tempfile.mkdtemp()) / "s"
    make_socket(short)
    short.rename(tree / "socket")
    short.parent.rmdir()


def test_stock_forget_and_prune_leave_what_we_can_read(shared: Shared) -> None:
    small_tree(shared.tree)
    back_up(shared.repository(), shared.tree)
    write(shared.tree / "folder 0" / "file 0", os.urandom(100_000), mtime=NOON + 1)
    back_up(shared.repository(), shared.tree)
    (shared.tree / "folder 0" / "file 0").unlink()
    saved = back_up(shared.repository(), shared.tree)
    shared.restic.run("forget", "--keep-last", "1", "--prune", "--max-unused", "0", "--repack-small")
    repository = shared.repository()
    assert list(repository.snapshots()) == [saved.id]
    assert check(repository).findings == []
    assert restored_differences(repository, saved.snapshot, shared.tree, shared.folder / "target") == []
    shared.restic.check()


def test_what_our_prune_leaves_stock_restic_reads(shared: Shared) -> None:
    small_tree(shared.tree)
    first = back_up(shared.repository(), shared.tree, settings=NORMAL)
    write(shared.tree / "folder 0" / "file 0", os.urandom(100_000), mtime=NOON + 1)
    back_up(shared.repository(), shared.tree, settings=NORMAL)
    forget(shared.repository(), first.id)
    prune(shared.repository())
    shared.restic.check()
    shared.restic.restore(shared.folder / "target")
    assert differences(describe(shared.tree), describe(shared.restored(shared.folder / "target"))) == []


def test_both_add_to_one_repository_in_turns(shared: Shared) -> None:
    small_tree(shared.tree)
    for number in range(2):
        write(shared.tree / f"ours {number}", b"ours %d" % number * 1000)
        back_up(shared.repository(), shared.tree)
        write(shared.tree / f"theirs {number}", b"theirs %d" % number * 1000)
        summary = shared.restic.back_up(shared.tree)
        assert (summary["files_new"], summary["files_changed"]) == (1, 0)
    last = shared.repository().find_snapshot("latest")[1]
    assert restored_differences(shared.repository(), last, shared.tree, shared.folder / "ours") == []
    shared.restic.restore(shared.folder / "theirs")
    assert differences(describe(shared.tree), describe(shared.restored(shared.folder / "theirs"))) == []
    shared.restic.check()


def test_every_passphrase_of_ours_opens_for_stock_restic(shared: Shared) -> None:
    repository, recovery = Repository.create(LocalStore(shared.folder / "fresh"), "first", cost=QUICK)
    repository.add_key("second phrase, mit Ümlaut")  # at the cost that people get
    for passphrase in ("first", "second phrase, mit Ümlaut", recovery):
        restic = Restic(shared.folder / "fresh", shared.folder / "r", passphrase=passphrase)
        restic.run("list", "keys")
    wrong = Restic(shared.folder / "fresh", shared.folder / "r", passphrase="wrong").run("snapshots", status=1)
    assert b"wrong password" in wrong.stderr


def test_our_sealed_notes_do_not_disturb_stock_restic(shared: Shared) -> None:
    small_tree(shared.tree)
    back_up(shared.repository(), shared.tree)
    shared.repository().box.save_note("holds/one", b'{"a": 1}')
    shared.restic.check()
    assert shared.repository().box.load_note("holds/one") == b'{"a": 1}'


def test_s05_an_index_that_lost_its_bytes_is_rebuilt_from_the_packs_by_the_stock_client(shared: Shared) -> None:
    small_tree(shared.tree)
    saved = back_up(shared.repository(), shared.tree)
    for path in (shared.folder / "repository" / "index").iterdir():
        path.unlink()
        path.write_bytes(b"")
    with pytest.raises(DamageError):
        shared.repository()
    shared.restic.run("rebuild-index")
    assert check(shared.repository()).findings == []
    assert restored_differences(shared.repository(), saved.snapshot, shared.tree, shared.folder / "target") == []


@pytest.mark.slow
def test_stock_restic_finds_every_crash_of_ours_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each disk that a crash leaves, in a backup and in a prune, passes `restic check` after `restic unlock`."""
    from tests.faults.test_crashes import History, crashes

    history = History(tmp_path, monkeypatch)
    first = history.back_up()
    history.change(1)
    history.back_up()
    disks = list(crashes(history.store, lambda repository: back_up(repository, history.live), at_least=3))
    forget(opened(history.store), first)
    disks += list(crashes(history.store, prune, at_least=6))
    for number, disk in enumerate(disks):
        folder = tmp_path / f"disk {number}"
        save_to(folder, disk)
        restic = Restic(folder, tmp_path / f"restic {number}")
        restic.run("unlock", "--remove-all")
        found = restic.run("check", "--read-data", status=None)
        assert found.returncode == 0, found.stderr.decode()


def test_memory_and_directory_hold_the_same_repository(shared: Shared) -> None:
    """What the crash tests do in memory is what lies on a disk."""
    small_tree(shared.tree)
    store = MemoryStore()
    create(store)
    saved = back_up(opened(store), shared.tree)
    save_to(shared.folder / "dumped", store)
    Restic(shared.folder / "dumped", shared.folder / "restic").check()
    restore(opened(LocalStore(shared.folder / "dumped")), saved.snapshot.tree, shared.folder / "target")
