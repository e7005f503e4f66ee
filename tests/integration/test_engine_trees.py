"""The engine on real directories: every kind of node and metadata, deep trees, odd paths."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from edurise_backup.errors import InputError
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.recovery.planning import walk_files
from edurise_backup.recovery.restorer import prove_files
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.sources.files import FilesSource
from edurise_backup.stores.local import LocalStore
from tests.support.engine import (
    back_up,
    back_up_source,
    beyond_owners,
    check,
    create,
    opened,
    restore,
    restored_differences,
)
from tests.support.stores import MemoryStore
from tests.support.trees import make_socket, odd_tree, small_tree, write

NORMAL = WriterSettings(workers=2)


def test_every_kind_of_node_and_metadata_comes_back(tmp_path: Path) -> None:
    tree = odd_tree(tmp_path / "tree")
    repository = create(LocalStore(tmp_path / "repository"))
    saved = back_up(repository, tree, settings=NORMAL)
    assert saved.archived.problems == ()
    assert restored_differences(repository, saved.snapshot, tree, tmp_path / "target") == []
    restored = tmp_path / "target" / str(tree).lstrip("/")
    assert (restored / "sparse").stat().st_blocks * 512 < 6_000_000  # holes stay holes
    compared, found = prove_files(repository, saved.snapshot.tree, tmp_path / "target", progress=SilentProgress())
    assert found == []
    assert compared >= 40


def test_a_proof_sees_a_changed_a_longer_and_a_missing_file(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    repository = create()
    saved = back_up(repository, tree)
    restore(repository, saved.snapshot.tree, tmp_path / "target")
    restored = tmp_path / "target" / str(tree).lstrip("/")
    with (restored / "twice").open("ab") as stream:
        stream.write(b"more")
    (restored / "folder 0" / "file 0").write_bytes(b"x" * (restored / "folder 0" / "file 0").stat().st_size)
    (restored / "folder 1" / "file 1").unlink()
    (restored / "link").unlink()
    (restored / "link").symlink_to("elsewhere")
    _, found = prove_files(repository, saved.snapshot.tree, tmp_path / "target", progress=SilentProgress())
    assert len(found) == 4


def deep_tree(root: Path, depth: int) -> Path:
    """Make directories in directories, without a path that grows too long for the kernel."""
    root.mkdir()
    at = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    with os.fdopen(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=at), "wb") as stream:
        stream.write(b"deep down")
    os.close(at)
    return root


def test_a_tree_that_is_deeper_than_pythons_stack_is_backed_up_checked_listed_and_restored(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: remove(tmp_path))
    tree = deep_tree(tmp_path / "tree", 1500)
    repository = create()
    saved = back_up(repository, tree, settings=NORMAL)
    assert saved.archived.problems == ()
    assert check(repository).findings == []
    assert beyond_owners(restore(repository, saved.snapshot.tree, tmp_path / "target").problems) == []
    (found,) = [path for path, node in walk_files(repository, saved.snapshot.tree) if node.type == "file"]
    with open(tmp_path / "target" / found.lstrip("/"), "rb") as stream:
        assert stream.read() == b"deep down"


def remove(folder: Path) -> None:
    """Remove a tree that is too deep for shutil.rmtree, which recurses."""
    subprocess.run(["rm", "-rf", folder], check=True)


def test_what_lies_deeper_than_the_kernels_paths_is_reported_not_dropped(tmp_path: Path) -> None:
    tree = deep_tree(tmp_path / "tree", 30)
    at = tree.joinpath(*["d"] * 30)
    descriptor = os.open(at, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("x" * 250, dir_fd=descriptor)
        below = os.open("x" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    saved = back_up(create(), tree, settings=NORMAL)
    assert len(saved.archived.problems) == 1
    assert os.strerror(errno.ENAMETOOLONG) in saved.archived.problems[0]


def test_sockets_are_left_out_as_stock_restic_leaves_them_out(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        make_socket(folder / "socket")
        write(folder / "file", b"x")
        repository = create()
        saved = back_up(repository, folder)
        assert saved.archived.problems == ()
        assert {Path(path).name for path, _ in walk_files(repository, saved.snapshot.tree)} >= {"file"}
        assert "socket" not in {node.name for _, node in walk_files(repository, saved.snapshot.tree)}
        assert beyond_owners(restore(repository, saved.snapshot.tree, tmp_path / "target").problems) == []
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_an_attribute_whose_name_is_not_utf8_is_reported_and_the_backup_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path / "tree" / "file", b"x")
    try:
        os.setxattr(path, b"user.\xff", b"1")
        os.setxattr(path, b"user.fine", b"2")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    store = MemoryStore()
    create(store)
    saved = back_up(opened(store), path.parent)
    assert len(saved.archived.problems) == 1
    assert "user." in saved.archived.problems[0]
    (node,) = [node for _, node in walk_files(opened(store), saved.snapshot.tree) if node.name == "file"]
    assert [attribute.name for attribute in node.extended_attributes] == ["user.fine"]


def test_a_single_file_and_nested_or_repeated_paths_are_one_tree(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    source = FilesSource(
        [str(tree / "twice"), str(tree / "folder 0"), str(tree / "folder 0" / "file 0"), f"{tree}//twice"]
    )
    assert source.paths == [str(tree / "folder 0"), str(tree / "twice")]
    repository = create()
    saved = back_up_source(repository, source, source.paths)
    names = [path for path, node in walk_files(repository, saved.snapshot.tree) if path.startswith(f"{tree}/")]
    assert sorted(names) == sorted(
        [
            f"{tree}/folder 0",
            *(f"{tree}/folder 0/{name}" for name in ("file 0", "file 2", "file 4", "twice")),
            f"{tree}/twice",
        ]
    )


@pytest.mark.parametrize("paths", [[], ["/no/such/path"]])
def test_paths_that_are_not_there_are_bad_input(paths: list[str]) -> None:
    with pytest.raises(InputError):
        FilesSource(paths)


def test_duplicates_are_stored_once_and_an_unchanged_backup_adds_next_to_nothing(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    content = os.urandom(500_000)
    for number in range(10):
        write(tree / f"copy {number}", content)
    repository = create()
    first = back_up(repository, tree, settings=NORMAL)
    assert first.added.data_blobs <= 3
    assert first.added.stored_bytes < 600_000
    second = back_up(repository, tree, settings=NORMAL)
    assert second.added.data_blobs == 0
