"""Random lives of a repository: backups, forgets, undos, prunes, crashes; a model says what must be there."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.repository.fates import UnusedLimit
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.undoing import list_forgotten
from tests.support.engine import (
    AT_ONCE,
    NOTHING_UNUSED,
    ONE_PACK,
    PASSPHRASE,
    TINY,
    back_up,
    bring_back,
    check,
    create,
    opened,
    prune,
    restore,
)
from tests.support.stores import Crash, CrashingStore, MemoryStore
from tests.support.trees import Described, describe, differences, write

HOUR = timedelta(hours=1)


class Model:
    """A repository, and what it must hold by the rules alone."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng = folder, rng
        self.tree = folder / "tree"
        self.store = MemoryStore()
        create(self.store)
        self.now = datetime.now(UTC) - timedelta(days=400)
        self.states: dict[SnapshotId, dict[bytes, Described]] = {}
        self.until: dict[SnapshotId, datetime] = {}
        self.back_up()

    def step(self) -> None:
        self.now += self.rng.choice([AT_ONCE, HOUR, 10 * HOUR, 50 * HOUR])
        self.rng.choice([self.back_up, self.back_up, self.forget, self.undo, self.prune, self.crashed_prune])()

    def back_up(self) -> None:
        for _ in range(self.rng.randrange(1, 4)):
            content = self.rng.choice([b"a", b"b", b"c", b"%d" % self.rng.randrange(9)]) * self.rng.randrange(1, 3000)
            write(self.tree / f"d{self.rng.randrange(2)}" / f"f{self.rng.randrange(5)}", content)
        size = self.rng.choice([TINY, ONE_PACK])
        everything = self.rng.random() < 0.3
        saved = back_up(opened(self.store), self.tree, settings=size, everything=everything, now=lambda: self.now)
        self.states[saved.id] = describe(self.tree)

    def forget(self) -> None:
        if len(self.listed()) > 1:
            gone = self.rng.choice(self.listed())
            grace = self.rng.choice([AT_ONCE, 5 * HOUR, 60 * HOUR])
            opened(self.store).forget(gone, grace=grace, now=self.now)
            if grace:
                self.until[gone] = self.now + grace
            else:
                self.states.pop(gone)

    def undo(self) -> None:
        waiting = [snapshot for snapshot, until in self.until.items() if until > self.now]
        if waiting:
            back = self.rng.choice(waiting)
            bring_back(opened(self.store), back)
            self.until.pop(back)

    def options(self) -> object:
        grace = self.rng.choice([AT_ONCE, 5 * HOUR, 60 * HOUR])
        unused = self.rng.choice([UnusedLimit(size=0), UnusedLimit(share=0.3), UnusedLimit()])
        return replace(NOTHING_UNUSED, grace=grace, max_unused=unused)

    def prune(self) -> None:
        prune(opened(self.store), self.options(), now=lambda: self.now)  # type: ignore[arg-type]
        self.drop_what_is_over()

    def crashed_prune(self) -> None:
        """Die at some write; whether the notes of what is over went is open, so time does not matter afterwards."""
        try:
            repository = Repository.open(CrashingStore(self.store, self.rng.randrange(25)), PASSPHRASE)
            prune(repository, self.options(), now=lambda: self.now)  # type: ignore[arg-type]
        except Crash:
            for name, _ in list(self.store.list(Kind.LOCK)):
                self.store.delete(name)
        self.drop_what_is_over()

    def drop_what_is_over(self) -> None:
        for snapshot, until in list(self.until.items()):
            if until <= self.now:
                self.until.pop(snapshot)
                self.states.pop(snapshot)

    def listed(self) -> list[SnapshotId]:
        return [snapshot for snapshot in self.states if snapshot not in self.until]

    def assert_right(self) -> None:
        repository = opened(self.store)
        assert check(repository).findings == []
        assert set(repository.snapshots()) == set(self.listed())
        waiting = {snapshot for snapshot, until in self.until.items() if until > self.now}
        assert waiting <= list_forgotten(repository).keys()

    def assert_all_restore(self) -> None:
        """Everything that is listed, and everything that can be brought back, is what it was."""
        for snapshot, until in list(self.until.items()):
            if until > self.now:
                bring_back(opened(self.store), snapshot)
                self.until.pop(snapshot)
        repository = opened(self.store)
        for number, snapshot in enumerate(self.listed()):
            restore(repository, repository.load_snapshot(snapshot).tree, self.folder / str(number))
            restored = describe(self.folder / str(number) / str(self.tree).lstrip("/"))
            assert differences(self.states[snapshot], restored) == []


def live(seed: int, steps: int) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        model = Model(folder, random.Random(seed))
        for _ in range(steps):
            model.step()
            model.assert_right()
        model.assert_all_restore()
    finally:
        shutil.rmtree(folder)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_r6_whatever_is_forgotten_pruned_and_crashed_what_is_listed_or_waits_restores(seed: int) -> None:
    live(seed, 12)


@pytest.mark.nightly
def test_r6_long_lives() -> None:
    for seed in range(int(os.environ.get("EDURISE_LIVES", "40"))):
        live(seed, 60)
