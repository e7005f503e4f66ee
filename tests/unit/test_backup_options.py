"""What a backup leaves out by size and by file system, and what it would do without writing."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edurise_backup.errors import InputError
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.engine import BackupOptions, backup_trees, open_trees, try_trees
from edurise_backup.operations.written import parse_moment, parse_size
from edurise_backup.ports import Entry
from edurise_backup.recovery.planning import walk_files
from edurise_backup.repository.repository import Repository
from edurise_backup.sources.files import FilesSource
from tests.support.engine import PASSPHRASE, back_up, create, opened
from tests.support.stores import Fault, FaultyStore, MemoryStore
from tests.support.trees import small_tree, write

QUIET = SilentProgress()


def names_in(repository: Repository, tree: Path) -> set[str]:
    """Return what the newest snapshot holds below `tree`."""
    snapshot = repository.find_snapshot("latest")[1]
    paths = (path for path, _ in walk_files(repository, snapshot.tree))
    return {path.removeprefix(f"{tree}/") for path in paths if path.startswith(f"{tree}/")}


# Size


def test_files_above_the_size_are_left_out_and_counted(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for size in (99, 100, 101, 5000):
        write(tree / "folder" / f"of {size}", bytes(size))
    (tree / "link").symlink_to("folder/of 5000")
    repository = create()
    options = BackupOptions(larger_than=100)
    trees = open_trees([str(tree)], options)
    saved = backup_trees(repository, trees, options, progress=QUIET)
    assert (trees.left_out.files, trees.left_out.bytes) == (2, 5101)
    assert saved.archived.problems == ()
    assert names_in(opened(repository.store), tree) == {"folder", "folder/of 99", "folder/of 100", "link"}


def test_a_large_file_that_is_named_is_left_out_too(tmp_path: Path) -> None:
    large = write(tmp_path / "large", bytes(1000))
    repository = create()
    options = BackupOptions(larger_than=10)
    trees = open_trees([str(large)], options)
    backup_trees(repository, trees, options, progress=QUIET)
    assert trees.left_out.files == 1


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("500", 500), ("10k", 10240), ("3M", 3 << 20), ("2GiB", 2 << 30), ("1tb", 1 << 40)]
)
def test_sizes_are_read_in_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "10X", "1 2", "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no size"):
        parse_size(text)


def test_moments_are_utc_unless_they_name_a_zone() -> None:
    noon = int(datetime(2024, 1, 31, 12, tzinfo=UTC).timestamp()) * 10**9
    assert parse_moment("2024-01-31T12:00") == parse_moment("2024-01-31 13:00+01:00") == noon
    assert parse_moment("2024-01-31") == noon - 12 * 3600 * 10**9
    with pytest.raises(InputError, match="is no date or time"):
        parse_moment("yesterday")


# File systems


def test_another_file_system_is_an_empty_directory() -> None:
    """`/proc` is one on every Linux; nothing of it is looked at."""
    root = FilesSource(["/"], one_file_system=True).root()
    proc = child(root, "proc")
    assert list((proc.children or list)()) == []
    assert list((child(FilesSource(["/"]).root(), "proc").children or list)())


def child(entry: Entry, name: str) -> Entry:
    return next(found for found in (entry.children or list)() if found.node.name == name)


def test_what_is_mounted_below_a_path_is_left_out(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    with mounted(tree / "nothing here"):
        write(tree / "nothing here" / "elsewhere", b"of another file system")
        for one_file_system in (True, False):
            repository = create()
            options = BackupOptions(one_file_system=one_file_system)
            backup_trees(repository, open_trees([str(tree)], options), options, progress=QUIET)
            names = names_in(opened(repository.store), tree)
            assert "nothing here" in names
            assert ("nothing here/elsewhere" in names) is not one_file_system
        both = [str(tree), str(tree / "nothing here")]
        assert FilesSource(both, one_file_system=True).paths == [str(tree)]


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """Have an empty file system in memory at `folder`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, None) != 0:
        pytest.skip(f"this user may not mount: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        libc.umount2(os.fsencode(folder), 2)


# Dry run


def test_a_dry_run_writes_nothing_and_says_what_a_backup_would_add(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    disk = MemoryStore()
    create(disk)
    back_up(opened(disk), tree)
    write(tree / "new", b"new" * 1000)
    write(tree / "folder 0" / "file 0", b"changed")
    refused = [Fault(operation, "", error=lambda: AssertionError("written"), times=100) for operation in WRITES]
    trial_of = Repository.open(FaultyStore(disk, *refused), PASSPHRASE)
    options = BackupOptions(host="tests")
    before = disk.copy().objects
    trial = try_trees(trial_of, open_trees([str(tree)], options), options, progress=QUIET)
    assert disk.objects == before
    assert all(fault.seen == 0 for fault in refused)
    saved = back_up(opened(disk), tree)
    assert trial.parent == saved.snapshot.parent
    assert (trial.archived.stats, trial.archived.problems) == (saved.archived.stats, saved.archived.problems)
    assert (trial.added.data_blobs, trial.added.tree_blobs) == (saved.added.data_blobs, saved.added.tree_blobs)
    # others write into /tmp meanwhile, and its times have more or fewer digits then
    assert abs(trial.added.plain_bytes - saved.added.plain_bytes) < 200


WRITES = ("put", "delete")


def test_a_dry_run_of_what_is_stored_adds_nothing(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    repository = create()
    back_up(repository, tree)
    options = BackupOptions(read_everything=True)
    trial = try_trees(repository, open_trees([str(tree)], options), options, progress=QUIET)
    assert trial.added.data_blobs == 0
    assert trial.added.tree_blobs <= 1, "but for the tree of /tmp, whose time other tests change"
    assert trial.archived.stats.read_bytes > 0


def test_a_dry_run_refuses_what_a_backup_refuses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "missing"))):
        open_trees([str(tmp_path / "missing")], BackupOptions())
