"""Shards joined are the tree of a backup that was not cut: the same id, so the same bytes."""

from __future__ import annotations

import os
import random
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edurise_backup.model.shards import ShardGoal
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.pipeline.shards.weighing import plan_from_source
from edurise_backup.ports import utc_now
from edurise_backup.sources.files import FilesSource
from tests.support import engine
from tests.support.sharding import back_up_sharded, below
from tests.support.trees import odd_tree, write


def platform(root: Path) -> Path:
    """Make a tree with folders of all sizes, a flat one, links between them, and odd names."""
    rng = random.Random(3)
    for number in range(60):
        write(root / "flat" / f"file {number:03}", rng.randbytes(rng.randrange(2000)))
    for course in range(6):
        for lesson in range(1 + 3 * course):
            write(root / f"course {course}" / f"lesson {lesson}" / "text", rng.randbytes(rng.randrange(3000)))
    write(root / "course 1" / "film", rng.randbytes(40_000))
    os.link(root / "flat" / "file 003", root / "course 5" / "the same")
    os.link(root / "course 1" / "film", root / "zz second name")
    (root / "empty").mkdir()
    odd_tree(root / "odd")
    return root


def later() -> datetime:
    """Tell a time at which no file can have changed just now."""
    return utc_now() + timedelta(minutes=1)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_the_tree_is_that_of_a_plain_backup_and_so_are_the_figures(tmp_path: Path, count: int) -> None:
    root = platform(tmp_path / "platform")
    one, other = engine.create(), engine.create()
    whole = engine.back_up(one, root)
    sharded = back_up_sharded(other, root, goal=ShardGoal(count=count))
    assert below(other, sharded, root) == below(one, whole, root)
    assert sharded.archived.stats == whole.archived.stats
    assert sharded.archived.problems == whole.archived.problems


def test_what_comes_afterwards_reads_what_a_plain_backup_would_read(tmp_path: Path) -> None:
    root = platform(tmp_path / "platform")
    cut, whole = engine.create(), engine.create()
    back_up_sharded(cut, root, now=later)
    engine.back_up(whole, root, now=later)
    write(root / "flat" / "file 007", b"changed")
    write(root / "flat" / "file 007a", b"new")
    (root / "course 2" / "lesson 0" / "text").unlink()
    again, beside = back_up_sharded(cut, root), engine.back_up(whole, root)
    assert again.snapshot.parent is not None
    assert below(cut, again, root) == below(whole, beside, root)
    assert again.archived.stats == beside.archived.stats
    assert again.archived.stats.files_new == 1
    assert again.archived.stats.files_changed < 5


def test_it_restores_with_its_links_and_the_check_finds_nothing(tmp_path: Path) -> None:
    root = platform(tmp_path / "platform")
    repository = engine.create()
    saved = back_up_sharded(repository, root)
    assert engine.check(repository).findings == []
    assert engine.restored_differences(repository, saved.snapshot, root, tmp_path / "restored") == []


def test_the_plan_cuts_a_flat_directory_and_says_so(tmp_path: Path) -> None:
    root = platform(tmp_path / "platform")
    plan = plan_from_source(FilesSource([str(root / "flat")]), ShardGoal(count=4), SilentProgress())
    assert len(plan.shards) == 4
    assert all("flat: " in line for line in plan.lines())
