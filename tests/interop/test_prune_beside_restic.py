"""Stock restic beside our forget, prune and undo; and our prune after stock restic's."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edurise_backup.errors import DamageError
from edurise_backup.repository.locks import read_locks
from edurise_backup.stores.local import LocalStore
from tests.support.engine import (
    NOTHING_UNUSED,
    ONE_PACK,
    back_up,
    bring_back,
    check,
    create,
    forget,
    opened,
    prune,
    restored_differences,
)
from tests.support.restic import Restic
from tests.support.trees import NOON, describe, differences, small_tree, write

WAITING = replace(NOTHING_UNUSED, grace=timedelta(days=1))


class Shared:
    """A repository of ours with three snapshots, and stock restic beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = LocalStore(folder / "repository")
        create(self.store)
        self.restic = Restic(folder / "repository", folder / "restic")
        self.tree = small_tree(folder / "tree")
        self.ids = []
        for number in range(3):
            write(self.tree / "folder 0" / "file 0", os.urandom(100_000), mtime=NOON + number)
            write(self.tree / f"new {number}", os.urandom(5000))
            self.ids.append(back_up(opened(self.store), self.tree, settings=ONE_PACK).id)

    def assert_newest_restores(self, name: str) -> None:
        self.restic.check()
        self.restic.restore(self.folder / name, self.ids[-1])
        restored = self.folder / name / str(self.tree).lstrip("/")
        assert differences(describe(self.tree), describe(restored)) == []
        assert check(opened(self.store)).findings == []


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    """Give a repository that both work on."""
    return Shared(tmp_path)


def test_stock_restic_reads_what_each_step_of_ours_leaves(shared: Shared) -> None:
    opened(shared.store).forget(shared.ids[0])
    forget(opened(shared.store), shared.ids[1])
    prune(opened(shared.store), WAITING)
    shared.assert_newest_restores("waiting")
    later = datetime.now(UTC) + timedelta(minutes=4)
    prune(opened(shared.store), replace(NOTHING_UNUSED, grace=timedelta(minutes=3)), now=lambda: later)
    shared.assert_newest_restores("deleted")
    bring_back(opened(shared.store), shared.ids[0])
    shared.assert_newest_restores("brought back")
    assert {str(shot["id"]) for shot in shared.restic.snapshots()} == {shared.ids[0], shared.ids[2]}
    shared.restic.restore(shared.folder / "first", shared.ids[0])
    assert not (shared.folder / "first" / str(shared.tree).lstrip("/") / "new 1").exists()
    assert read_locks(opened(shared.store).box) == {}


def test_a_stock_prune_after_ours_and_ours_after_it_agree(shared: Shared) -> None:
    forget(opened(shared.store), shared.ids[0])
    prune(opened(shared.store), WAITING)
    shared.restic.run("forget", shared.ids[1], "--prune", "--max-unused", "0", "--repack-small")
    shared.assert_newest_restores("after theirs")
    done = prune(opened(shared.store))
    assert done.departure.due_bytes < 20_000
    shared.assert_newest_restores("after ours")
    assert [name for name, _ in shared.store.list("edurise") if not name.startswith("edurise/verified/")] == []
    before = sorted(shared.store.list("data"))
    shared.restic.run("prune", "--max-unused", "0")
    assert sorted(shared.store.list("data")) == before


def test_a_stock_prune_takes_the_data_of_what_we_forgot_and_undo_says_so(shared: Shared) -> None:
    opened(shared.store).forget(shared.ids[0])
    shared.restic.run("prune", "--max-unused", "0")
    with pytest.raises(DamageError, match="not in the repository any more"):
        bring_back(opened(shared.store), shared.ids[0])
    shared.assert_newest_restores("newest")
    done = prune(opened(shared.store), WAITING)
    assert any("cannot all be brought back" in warning for warning in done.plan.warnings)
    assert (
        restored_differences(
            opened(shared.store), opened(shared.store).snapshots()[shared.ids[2]], shared.tree, shared.folder / "ours"
        )
        == []
    )
