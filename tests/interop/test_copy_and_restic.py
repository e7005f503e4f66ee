"""Copies between our repositories and stock restic's: its check is clean, both restore them, neither copies twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.recovery.comparing import Comparison
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.stores.local import LocalStore
from tests.interop.test_restic_reads_ours import without_raw_links
from tests.support.engine import PASSPHRASE, back_up, check, copy_all, create, opened, restored_differences
from tests.support.restic import Restic
from tests.support.trees import describe, differences, odd_tree, small_tree, write

NORMAL = WriterSettings(workers=2)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a tree with every odd thing in it."""
    return without_raw_links(odd_tree(tmp_path / "tree"))


def open_quick(place: Path) -> Repository:
    repository = Repository.open(LocalStore(place), "quick")
    repository.load_index()
    return repository


def test_stock_restic_checks_and_restores_our_copy(tmp_path: Path, tree: Path) -> None:
    source = create()
    back_up(source, tree, settings=NORMAL)
    write(tree / "later", b"later" * 1000)
    back_up(source, tree, settings=NORMAL)
    create(LocalStore(tmp_path / "copy"))
    done = copy_all(source, opened(LocalStore(tmp_path / "copy")), settings=NORMAL)
    assert (len(done.snapshots), done.problems) == (2, [])
    restic = Restic(tmp_path / "copy", tmp_path / "restic")
    restic.check()
    assert len(restic.snapshots()) == 2
    restic.restore(tmp_path / "target")
    assert differences(describe(tree), describe(tmp_path / "target" / str(tree).lstrip("/"))) == []


@pytest.mark.parametrize("version", [1, 2])
def test_a_repository_of_stock_restic_is_copied_compressed(tmp_path: Path, tree: Path, version: int) -> None:
    theirs = Restic.with_quick_key(tmp_path / "theirs", tmp_path / "restic", version=version)
    theirs.back_up(tree)
    store = LocalStore(tmp_path / "ours")
    create(store)
    done = copy_all(open_quick(tmp_path / "theirs"), opened(store), settings=NORMAL)
    assert done.problems == []
    assert done.stored_bytes < done.plain_bytes
    ours = opened(store)
    assert check(ours).findings == []
    latest = ours.find_snapshot("latest")[1]
    assert latest.original == theirs.snapshots()[0]["id"]
    assert restored_differences(ours, latest, tree, tmp_path / "target") == []
    Restic(tmp_path / "ours", tmp_path / "restic 2").check()


def test_a_copy_into_version_1_is_not_compressed(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    source = create()
    back_up(source, tree)
    theirs = Restic.with_quick_key(tmp_path / "theirs", tmp_path / "restic", version=1)
    assert copy_all(source, open_quick(tmp_path / "theirs")).problems == []
    theirs.check()
    theirs.restore(tmp_path / "target")
    assert differences(describe(tree), describe(tmp_path / "target" / str(tree).lstrip("/"))) == []


def test_neither_client_copies_what_the_other_has_copied(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    store = LocalStore(tmp_path / "source")
    create(store)
    back_up(opened(store), tree)
    theirs = Restic.with_quick_key(tmp_path / "copy", tmp_path / "restic")
    (tmp_path / "password").write_text(PASSPHRASE)
    words = ("copy", "--from-repo", str(tmp_path / "source"), "--from-password-file", str(tmp_path / "password"))
    theirs.run(*words)
    skipped = copy_all(opened(store), open_quick(tmp_path / "copy"))
    assert (len(skipped.skipped), skipped.snapshots) == (1, [])

    write(tree / "later", b"later")
    back_up(opened(store), tree)
    assert len(copy_all(opened(store), open_quick(tmp_path / "copy")).snapshots) == 1
    before = theirs.snapshots()
    theirs.run(*words)
    assert theirs.snapshots() == before
    theirs.check()


def test_a_difference_is_counted_as_stock_restic_counts_it(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    store = LocalStore(tmp_path / "repository")
    create(store)
    first = back_up(opened(store), tree).id
    write(tree / "folder 0" / "file 0", b"changed" * 500)
    write(tree / "new" / "below" / "file", b"new" * 1000)
    write(tree / "copied", (tree / "folder 1" / "file 1").read_bytes())
    (tree / "folder 1" / "file 3").unlink()
    (tree / "nothing here").rmdir()
    second = back_up(opened(store), tree).id
    restic = Restic(tmp_path / "repository", tmp_path / "restic")
    theirs = [json.loads(line) for line in restic.run("diff", "--json", first, second).stdout.splitlines()]
    repository = opened(store)
    trees = [repository.snapshots()[key].tree for key in (first, second)]
    comparison = Comparison(repository, *trees, progress=SilentProgress(), exact=True)
    changes = [(change.path, change.mark) for change in comparison.changes()]
    listed = [(line["path"], line["modifier"]) for line in theirs if line["message_type"] == "change"]
    assert sorted(changes) == sorted(listed)
    summary = comparison.summary
    assert summary.changed_files == theirs[-1]["changed_files"]
    for side, ours in (("added", summary.added), ("removed", summary.removed)):
        counted = {
            name: getattr(ours, name) for name in ("files", "dirs", "others", "data_blobs", "tree_blobs", "bytes")
        }
        assert {name: theirs[-1][side][name] for name in counted} == counted
