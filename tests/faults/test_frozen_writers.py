"""A backup that is frozen while another process prunes publishes what is whole, or nothing: S-03, S-10."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from edurise_backup.errors import DamageError, LockedError, TransientError
from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.repository.fates import PruneOptions
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.locks import read_locks
from edurise_backup.stores.local import LocalStore
from tests.support.engine import (
    AT_ONCE,
    NOTHING_UNUSED,
    ONE_PACK,
    back_up,
    check,
    count,
    create,
    forget,
    opened,
    prune,
    restored_differences,
)
from tests.support.stores import Fault, FaultyStore, MemoryStore
from tests.support.trees import small_tree, write

WAITING = replace(NOTHING_UNUSED, grace=timedelta(days=1))

BACKUP = """
import os, signal, sys
from pathlib import Path
from edurise_backup.errors import BackupError
from edurise_backup.stores.local import LocalStore
from tests.support.engine import back_up, opened

repository, tree, prefix, number, moments = sys.argv[1:]

class Stopping(LocalStore):
    seen = 0

    def put(self, name, pieces):
        Stopping.seen += name.startswith(prefix)
        struck = name.startswith(prefix) and Stopping.seen == int(number)
        if struck and "before" in moments:
            os.kill(os.getpid(), signal.SIGSTOP)
        super().put(name, pieces)
        if struck and "after" in moments:
            os.kill(os.getpid(), signal.SIGSTOP)

try:
    print(back_up(opened(Stopping(Path(repository))), Path(tree)).id)
except BackupError as error:
    sys.exit(type(error).__name__)
"""


class Frozen:
    """A repository with a snapshot that a backup of the same tree relies on, and an unrelated one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        create(LocalStore(self.folder / "repository"))
        self.old = back_up(opened(self.store), small_tree(self.tree)).id
        self.other = back_up(opened(self.store), write(self.folder / "other" / "file", b"that stays")).id
        write(self.tree / "new", b"new" * 3000)

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.folder / "repository")

    def start(self, prefix: str, number: int, moments: str) -> subprocess.Popen[str]:
        """Start a backup, and return once it has frozen itself."""
        words = [str(self.folder / "repository"), str(self.tree), prefix, str(number), moments]
        process = subprocess.Popen(
            [sys.executable, "-c", BACKUP, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        wait_until_stopped(process)
        return process

    def age_locks(self) -> None:
        """Have all locks look as if they had not been refreshed for an hour."""
        box = opened(self.store).box
        for lock_id, lock in read_locks(box).items():
            hour, rest = lock.time.split("T", 1)
            older = msgspec.structs.replace(lock, time=f"{int(hour[:4]) - 1}{hour[4:]}T{rest}")
            box.save(Kind.LOCK, msgspec.json.encode(older))
            box.store.delete(object_name(Kind.LOCK, lock_id))

    def assert_sound(self) -> None:
        """Whatever is listed restores, and the next backup does, too."""
        repository = opened(self.store)
        assert check(repository).findings == []
        saved = back_up(opened(self.store), self.tree)
        assert restored_differences(opened(self.store), saved.snapshot, self.tree, self.folder / "restored") == []


def wait_until_stopped(process: subprocess.Popen[str]) -> None:
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), process.communicate()


def thaw(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Let a frozen process go on to its end; return its status and what it said."""
    process.send_signal(signal.SIGCONT)
    out, errors = process.communicate(timeout=60)
    return process.returncode, (out + errors).strip()


@pytest.fixture
def frozen(tmp_path: Path) -> Frozen:
    """Give a repository that a backup relies on."""
    return Frozen(tmp_path)


MOMENTS = [
    ("data/", 1, "before"),
    ("data/", 2, "after"),
    ("index/", 1, "before"),
    ("index/", 1, "after"),
    ("snapshots/", 1, "before"),
    ("snapshots/", 1, "after"),
]


@pytest.mark.parametrize("options", [NOTHING_UNUSED, WAITING], ids=["no grace", "a day's grace"])
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: " ".join(map(str, moment)))
def test_s10_a_backup_that_was_frozen_while_its_lock_died_and_a_prune_ran_publishes_nothing(
    frozen: Frozen, moment: tuple[str, int, str], options: PruneOptions
) -> None:
    """S-03, S-10: the prune removes or un-indexes what the backup relies on, with any grace."""
    process = frozen.start(*moment)
    with pytest.raises(LockedError):
        prune(opened(frozen.store), options)
    frozen.age_locks()
    forget(opened(frozen.store), frozen.old)
    prune(opened(frozen.store), options)
    assert thaw(process) == (1, "LockedError")
    assert list(opened(frozen.store).snapshots()) == [frozen.other]
    frozen.assert_sound()


def test_a_backup_that_was_frozen_while_nobody_pruned_publishes_as_if_nothing_had_been(frozen: Frozen) -> None:
    process = frozen.start("snapshots/", 1, "before")
    status, said = thaw(process)
    assert status == 0, said
    assert said in opened(frozen.store).snapshots()
    frozen.assert_sound()


def test_s10_a_backup_that_is_killed_in_the_one_instant_has_its_data_indexed_again(frozen: Frozen) -> None:
    """Frozen after its last look, thawed after the prune, killed before it could look again."""
    process = frozen.start("snapshots/", 1, "before after")
    frozen.age_locks()
    forget(opened(frozen.store), frozen.old)
    prune(opened(frozen.store), WAITING)
    process.send_signal(signal.SIGCONT)
    wait_until_stopped(process)
    process.kill()
    process.communicate()
    assert len(opened(frozen.store).snapshots()) == 2
    assert check(opened(frozen.store)).findings != []
    prune(opened(frozen.store), WAITING)
    frozen.assert_sound()


# The same in one process, where nobody lost a lock


def test_s03_what_was_un_indexed_behind_a_live_lock_is_noticed_and_nothing_is_published(tmp_path: Path) -> None:
    """S-03: whatever took the index files away, a snapshot whose blobs stand in no index is not published."""
    store = MemoryStore()
    create(store)
    saved = back_up(opened(store), small_tree(tmp_path / "tree"), settings=ONE_PACK)
    # a snapshot must not even appear for a moment
    faulty = FaultyStore(store, Fault("put", Kind.SNAPSHOT, lambda: AssertionError("a snapshot was written")))
    repository = opened(faulty)
    for name, _ in list(store.list(Kind.INDEX)):
        del store.objects[name]
    with repository.lock(settle=AT_ONCE) as lock, pytest.raises(TransientError, match="not in the repository any more"):
        repository.publish(saved.snapshot, lock)
    assert count(store, Kind.SNAPSHOT) == 1


@pytest.mark.parametrize("harm", ["index", "pack"])
def test_s03_what_vanishes_in_the_instant_of_publishing_has_the_snapshot_withdrawn(tmp_path: Path, harm: str) -> None:
    class Vanishing(MemoryStore):
        def put(self, name: str, pieces: object) -> None:
            super().put(name, pieces)  # type: ignore[arg-type]
            if name.startswith("snapshots/") and self.armed:
                for gone in [name for name in self.objects if name.startswith(("index/", "data/"))]:
                    if harm == "index" or gone.startswith("data/"):
                        del self.objects[gone]
                if harm == "pack":  # an index file went, too: replaced by one that says the same
                    replace_indexes(self)

        armed = False

    store = Vanishing()
    create(store)
    saved = back_up(opened(store), small_tree(tmp_path / "tree"), settings=ONE_PACK)
    repository = opened(store)
    store.armed = True
    before = {name for name, _ in store.list(Kind.SNAPSHOT)}
    with repository.lock(settle=AT_ONCE) as lock, pytest.raises((TransientError, DamageError)):
        repository.publish(saved.snapshot, lock)
    assert {name for name, _ in store.list(Kind.SNAPSHOT)} == before


def replace_indexes(store: MemoryStore) -> None:
    """Seal every index file anew, so that each has another name."""
    box = opened(store).box
    for name in box.ids(Kind.INDEX):
        plaintext = box.load(Kind.INDEX, name)
        store.delete(object_name(Kind.INDEX, name))
        box.save(Kind.INDEX, plaintext)


def test_index_files_that_were_only_replaced_do_not_stop_a_backup(tmp_path: Path) -> None:
    store = MemoryStore()
    create(store)
    saved = back_up(opened(store), small_tree(tmp_path / "tree"), settings=ONE_PACK)
    repository = opened(store)
    replace_indexes(store)
    with repository.lock(settle=AT_ONCE) as lock:
        assert repository.publish(saved.snapshot, lock) in repository.snapshots()
    assert (BlobKind.TREE, BlobId(bytes.fromhex(saved.snapshot.tree))) in repository.index
