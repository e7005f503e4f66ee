"""R1: random trees, changed at random, backed up each time; every snapshot restores to what it was made of."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edurise_backup.repository.writer import WriterSettings
from tests.support.engine import back_up, beyond_owners, check, create, forget, opened, prune, restore
from tests.support.stores import MemoryStore
from tests.support.trees import Described, describe, differences

Names = st.binary(min_size=1, max_size=30).filter(
    lambda raw: not {b"/", b"\0"} & {raw[i : i + 1] for i in range(len(raw))}
)
SETTINGS = WriterSettings(pack_size=50_000, workers=2)


class Gardener:
    """Grows a tree and changes it: every kind of name, node and metadata that this user may make."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self._root = os.fsencode(root)
        self._rng = rng
        os.makedirs(self._root)

    def grow(self, steps: int) -> None:
        """Do some random things to the tree."""
        acts = [self._file] * 6 + [self._folder] * 3 + [self._link, self._hard_link, self._sparse, self._fifo]
        acts += [self._change] * 2 + [self._remove, self._metadata, self._metadata, self._xattr, self._rename]
        for _ in range(steps):
            self._rng.choice(acts)()

    def _paths(self, *, folders: bool) -> list[bytes]:
        found = []
        for folder, below, files in os.walk(self._root):
            found += [os.path.join(folder, name) for name in (below if folders else files)]
        return sorted(path for path in found if not os.path.islink(path))

    def _new(self) -> bytes:
        folder = self._rng.choice([self._root, *self._paths(folders=True)])
        alphabet = [b"a", b"\xff", b"\n", "é".encode(), b"\\", b'"', b" ", b"<", b"-", "漢".encode(), b"\x7f", b"\xc3"]
        while True:
            name = b"".join(self._rng.choice(alphabet) for _ in range(self._rng.randrange(1, 8)))
            path = os.path.join(folder, name)
            if not os.path.lexists(path):
                return path

    def _content(self) -> bytes:
        size = self._rng.choice([0, 1, 100, 5000, 100_000, 600_000])
        return self._rng.randbytes(size) if self._rng.random() < 0.5 else b"text " * (size // 5)

    def _file(self) -> None:
        with open(self._new(), "wb") as stream:
            stream.write(self._content())

    def _folder(self) -> None:
        os.mkdir(self._new())

    def _link(self) -> None:
        os.symlink(self._rng.choice([b"nowhere", b"../..", b"\xff", b"a" * 100]), self._new())

    def _fifo(self) -> None:
        os.mkfifo(self._new())

    def _hard_link(self) -> None:
        if files := self._regular():
            os.link(self._rng.choice(files), self._new())

    def _regular(self) -> list[bytes]:
        return [path for path in self._paths(folders=False) if os.path.isfile(path)]

    def _sparse(self) -> None:
        with open(self._new(), "wb") as stream:
            stream.truncate(self._rng.randrange(5_000_000))
            stream.seek(self._rng.randrange(1_000_000))
            stream.write(b"island")

    def _change(self) -> None:
        if files := [path for path in self._regular() if os.path.getsize(path)]:
            path = self._rng.choice(files)
            with open(path, "r+b") as stream:
                stream.seek(self._rng.randrange(os.path.getsize(path)))
                stream.write(self._rng.randbytes(3))

    def _remove(self) -> None:
        if paths := self._paths(folders=False):
            os.unlink(self._rng.choice(paths))

    def _rename(self) -> None:
        if paths := self._paths(folders=False):
            os.rename(self._rng.choice(paths), self._new())

    def _metadata(self) -> None:
        path = self._rng.choice([*self._paths(folders=False), *self._paths(folders=True), self._root])
        os.chmod(path, 0o600 | self._rng.randrange(0o200) | (0o700 if os.path.isdir(path) else 0))
        moment = self._rng.choice([0, -(10**9), self._rng.randrange(4 * 10**18)])
        os.utime(path, ns=(moment, moment))

    def _xattr(self) -> None:
        if files := self._regular():
            try:
                os.setxattr(self._rng.choice(files), b"user.x%d" % self._rng.randrange(3), self._rng.randbytes(20))
            except OSError:
                return  # this file system has none


def live_a_life(folder: Path, seed: int) -> None:
    """Grow and back up in turns, forget and prune now and then, and compare every snapshot that is left."""
    rng = random.Random(seed)
    tree = folder / "tree"
    gardener = Gardener(tree, rng)
    store = MemoryStore()
    create(store)
    states: dict[str, dict[bytes, Described]] = {}
    for _ in range(rng.randrange(1, 4)):
        gardener.grow(rng.randrange(25))
        saved = back_up(opened(store), tree, settings=SETTINGS, everything=rng.random() < 0.2)
        assert saved.archived.problems == ()
        states[saved.id] = describe(tree)
        if len(states) > 1 and rng.random() < 0.4:
            gone = rng.choice(list(opened(store).snapshots()))
            forget(opened(store), gone)
            states.pop(gone)
            prune(opened(store))
    repository = opened(store)
    assert check(repository).findings == []
    for number, (snapshot_id, state) in enumerate(states.items()):
        snapshot = repository.find_snapshot(snapshot_id)[1]
        done = restore(repository, snapshot.tree, folder / str(number))
        assert beyond_owners(done.problems) == []
        assert differences(state, describe(folder / str(number) / str(tree).lstrip("/"))) == []


def try_life(seed: int) -> None:
    """Live a life in a folder of its own."""
    folder = Path(tempfile.mkdtemp())
    try:
        live_a_life(folder, seed)
    finally:
        shutil.rmtree(folder)


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_r1_every_snapshot_of_a_random_life_restores_to_what_it_was_made_of(seed: int) -> None:
    try_life(seed)


@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=pytest.mark.nightly if part else pytest.mark.slow) for part in range(4)]
)
def test_r1_three_hundred_random_lives(part: int) -> None:
    for seed in range(part * 75, part * 75 + 75):
        try_life(seed + 10**6)


@settings(max_examples=60)
@given(st.lists(Names, min_size=1, max_size=12, unique=True))
def test_any_name_that_a_file_system_takes_comes_back(names: list[bytes]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        os.mkdir(folder / "tree")
        for name in names:
            if name not in (b".", b".."):
                with open(os.path.join(os.fsencode(folder), b"tree", name), "wb") as stream:
                    stream.write(name)
        store = MemoryStore()
        create(store)
        saved = back_up(opened(store), folder / "tree")
        restore(opened(store), saved.snapshot.tree, folder / "target")
        restored = folder / "target" / str(folder / "tree").lstrip("/")
        assert differences(describe(folder / "tree"), describe(restored)) == []
    finally:
        shutil.rmtree(folder)
