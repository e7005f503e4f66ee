"""A restore onto an existing tree gives exactly the snapshot's tree, whatever was done to it; no equal byte is read."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from edurise_backup.recovery.planning import walk_files
from edurise_backup.repository.repository import Repository
from tests.properties.test_round_trips import SETTINGS, Gardener
from tests.support.delta import CountingStore, restore_onto
from tests.support.engine import back_up, beyond_owners, create, opened, restore
from tests.support.stores import MemoryStore
from tests.support.trees import describe, differences


class Vandal(Gardener):
    """Changes a tree in every way that an owner, a program or a crash may."""

    def ravage(self, steps: int) -> None:
        """Do some random harm."""
        acts = [self._cut, self._lengthen, self._retype, self._relink, self._strip, self._uproot, self._swap_folder]
        for _ in range(steps):
            self._rng.choice(acts)()
            if self._rng.random() < 0.5:
                self.grow(1)

    def _cut(self) -> None:
        if files := self._regular():
            path = self._rng.choice(files)
            os.truncate(path, self._rng.randrange(os.path.getsize(path) + 1))

    def _lengthen(self) -> None:
        if files := self._regular():
            with open(self._rng.choice(files), "ab") as stream:
                stream.write(self._rng.choice([b"more", bytes(300_000), self._rng.randbytes(300_000)]))

    def _retype(self) -> None:
        """Put another kind of thing where a file, link or fifo is."""
        if paths := self._paths(folders=False):
            path = self._rng.choice(paths)
            os.unlink(path)
            made = self._rng.choice(["link", "fifo", "folder", "empty"])
            if made == "link":
                os.symlink(self._rng.choice([self._root, b"nowhere", b"/etc"]), path)
            elif made == "fifo":
                os.mkfifo(path)
            elif made == "folder":
                os.makedirs(os.path.join(path, b"below"))
                with open(os.path.join(path, b"below", b"file"), "wb") as stream:
                    stream.write(b"in the way")
            else:
                open(path, "wb").close()

    def _swap_folder(self) -> None:
        """Put a file or a link where a directory is."""
        if folders := self._paths(folders=True):
            path = self._rng.choice(folders)
            shutil.rmtree(path)
            if self._rng.random() < 0.5:
                os.symlink(b"/etc", path)
            else:
                with open(path, "wb") as stream:
                    stream.write(b"was a directory")

    def _uproot(self) -> None:
        if folders := self._paths(folders=True):
            shutil.rmtree(self._rng.choice(folders))

    def _relink(self) -> None:
        """Take names of one file apart, or put two files under one."""
        if files := self._regular():
            path = self._rng.choice(files)
            if self._rng.random() < 0.5:
                shutil.copy2(path, path + b".copy")
                os.rename(path + b".copy", path)
            else:
                other = self._rng.choice(files)
                if not os.path.samefile(path, other):
                    os.unlink(other)
                    os.link(path, other)

    def _strip(self) -> None:
        for path in self._regular():
            for name in os.listxattr(path):
                os.removexattr(path, name)


def sizes_of_missing(repository: Repository, tree: str, below: Path) -> int:
    """Return the sealed bytes of all blobs that no file of the target has in the place where the snapshot has them."""
    missing = {}
    for path, node in walk_files(repository, tree):
        offset = 0
        found = below / path.lstrip("/")
        regular = found.is_file() and not found.is_symlink() and not any(above.is_symlink() for above in found.parents)
        content = found.read_bytes() if regular else b""
        for name in node.content or ():
            place = repository.index.find(0, bytes.fromhex(name))  # type: ignore[arg-type]
            assert place is not None
            part = content[offset : offset + place.plain_length]
            if hashlib.sha256(part).hexdigest() != name:
                missing[path, offset] = place.length
            offset += place.plain_length
    return sum(missing.values())


def try_delta(seed: int) -> None:
    """Back up a random tree, restore it, ravage what was restored, and restore over it."""
    rng = random.Random(seed)
    folder = Path(tempfile.mkdtemp())
    try:
        tree, target = folder / "tree", folder / "target"
        Gardener(tree, rng).grow(rng.randrange(5, 30))
        store = MemoryStore()
        create(store)
        saved = back_up(opened(store), tree, settings=SETTINGS)
        state = describe(tree)
        restore(opened(store), saved.snapshot.tree, target)
        there = target / str(tree).lstrip("/")
        vandal = Vandal.__new__(Vandal)
        vandal._root, vandal._rng = os.fsencode(there), rng
        vandal.ravage(rng.randrange(8))

        counting = CountingStore(store)
        repository = opened(counting)
        allowed = sizes_of_missing(repository, saved.snapshot.tree, target)
        done = restore_onto(repository, saved.snapshot, target, delete=True, counting=counting)
        assert done.failed == ()
        assert beyond_owners(done.problems) == []
        assert differences(state, describe(there)) == []
        assert counting.fetched <= allowed

        counting.fetched = 0
        again = restore_onto(repository, saved.snapshot, target, delete=True, counting=counting)
        assert (again.changed, again.new, again.removed, again.written_bytes, counting.fetched) == (0, 0, 0, 0, 0)
        assert differences(state, describe(there)) == []
    finally:
        shutil.rmtree(folder)


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_r1_whatever_was_done_to_a_tree_a_restore_onto_it_gives_the_snapshots(seed: int) -> None:
    try_delta(seed)
