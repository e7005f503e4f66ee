"""The comparison of directory trees and of facts: each planted difference is found, and only that one."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edurise_backup.demonstration.export import FOLDER, fill_export
from edurise_backup.demonstration.facts import DatabaseFacts, Facts, FileFacts, TableFacts, compare, compare_trees
from edurise_backup.demonstration.file_facts import describe_files
from edurise_backup.demonstration.platform import remove_tree
from edurise_backup.demonstration.tree import Tree, directories_below
from edurise_backup.errors import SourceError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    filled = Tree(root, seed=1)
    fill_export(filled)
    filled.settle(directories_below(root))
    return root / FOLDER


def test_the_same_seed_gives_the_same_tree(tree: Path, tmp_path: Path) -> None:
    again = Tree(tmp_path / "again", seed=1)
    fill_export(again)
    again.settle(directories_below(again.root))
    assert compare_trees("export", describe_files(tree), describe_files(again.root / FOLDER)) == []


def _flip_a_bit(tree: Path) -> None:
    path = tree / "2024" / "minutes.md"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=times)


def _touch(tree: Path) -> None:
    path = tree / "empty directory"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def _retarget(tree: Path) -> None:
    link = tree / "gone"
    times = link.lstat().st_mtime_ns
    _keeping_time(tree, link.unlink)
    _keeping_time(tree, lambda: link.symlink_to("elsewhere"))
    os.utime(link, ns=(times, times), follow_symlinks=False)


def _part_hard_links(tree: Path) -> None:
    name = tree / "hard" / "register, third name.csv"

    def part() -> None:
        copy = name.with_name("copy")
        shutil.copy2(name, copy)
        copy.replace(name)

    _keeping_time(name.parent, part)


def _replace_by_directory(tree: Path) -> None:
    path = tree / "empty file"

    def swap() -> None:
        path.unlink()
        path.mkdir()

    _keeping_time(tree, swap)


def _keeping_time(folder: Path, act: Callable[[], None]) -> None:
    time = folder.stat().st_mtime_ns
    act()
    os.utime(folder, ns=(time, time))


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (_flip_a_bit, "'2024/minutes.md' has another content"),
        (_touch, "'empty directory' has another time"),
        (lambda tree: (tree / "modes" / "0604").chmod(0o600), "'modes/0604' has another mode: 0604, now 0600"),
        (lambda tree: (tree / "modes" / "sticky").chmod(0o777), "'modes/sticky' has another mode: 1777, now 0777"),
        (_retarget, "'gone' has another target: 2019/minutes.md, now elsewhere"),
        (_part_hard_links, "'hard/register, third name.csv' has another set of hard links"),
        (_replace_by_directory, "'empty file' was a file and is a directory"),
        (lambda tree: _keeping_time(tree, (tree / "loop").unlink), "'loop' is missing"),
        (lambda tree: _keeping_time(tree, (tree / "empty directory").rmdir), "'empty directory' is missing"),
        (lambda tree: _keeping_time(tree, (tree / "new").touch), "'new' was not there before"),
    ],
)
def test_a_planted_difference_is_the_one_that_is_found(tree: Path, plant: Callable[[Path], None], said: str) -> None:
    before = describe_files(tree)
    plant(tree)
    found = compare_trees("export", before, describe_files(tree))
    assert said in found[0]
    # a name that became a directory, or its own file again, may be told in a second sentence about the same name
    assert all(sentence.startswith(found[0].split("' ")[0]) for sentence in found)


def test_a_lost_extended_attribute_is_found(tree: Path) -> None:
    path = tree / "2024" / "minutes.md"
    try:
        os.setxattr(path, "user.supabase.content-type", b"text/markdown")
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        pytest.skip("this file system keeps no extended attributes")
    before = describe_files(tree)
    os.removexattr(path, "user.supabase.content-type")
    (sentence,) = compare_trees("export", before, describe_files(tree))
    assert "another extended attributes" in sentence and "text/markdown" in sentence


def test_another_owner_is_found() -> None:
    one = FileFacts("file", "0644", "0:0", 1)
    found = compare_trees("t", {"a": one}, {"a": replace(one, owner="1:1")})
    assert found == ["t: 'a' has another owner: 0:0, now 1:1"]


def test_names_that_are_not_utf8_and_times_before_1970_are_kept(tree: Path) -> None:
    facts = describe_files(tree)
    assert any(b"\xe9" in os.fsencode(name) for name in facts)
    assert facts["from before 1970.txt"].mtime_ns == -86_400_123_456_789


def test_a_missing_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be described"):
        describe_files(tmp_path / "nowhere")


def test_a_tree_with_read_only_directories_is_removed(tree: Path) -> None:
    remove_tree(tree)
    assert not tree.exists()


def test_differences_of_databases_are_told_by_name() -> None:
    def facts(rows: int, digest: str, sequence: str, role: str) -> Facts:
        database = DatabaseFacts({"public.t": TableFacts(rows, digest)}, {"value of sequence public.s": sequence})
        return Facts({"main": database}, {"role r": role}, {})

    before = facts(2, "aa", "(1, True)", "login")
    assert compare(before, before) == []
    assert compare(before, facts(3, "bb", "(1, True)", "login")) == ["public.t in main had 2 rows and has 3"]
    assert compare(before, facts(2, "bb", "(1, True)", "login")) == [
        "the rows of public.t in main are not the same (2 rows)"
    ]
    assert compare(before, facts(2, "aa", "(2, True)", "login")) == [
        "value of sequence public.s of main was '(1, True)' and is '(2, True)'"
    ]
    assert compare(before, facts(2, "aa", "(1, True)", "none")) == ["role r was 'login' and is 'none'"]
    assert compare(before, replace(before, databases={})) == ["the database main is missing"]
    assert compare(replace(before, databases={}), before) == ["the database main was not there before"]
