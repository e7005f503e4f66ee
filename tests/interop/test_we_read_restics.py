"""We read, check, restore and extend what stock restic writes; each respects the other's locks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from edurise_backup.errors import LockedError, WrongPassphraseError
from edurise_backup.model.content import BlobKind, decode_tree, encode_tree
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.engine import BackupOptions, backup_paths
from edurise_backup.recovery.planning import walk_files
from edurise_backup.repository.keys import ScryptCost
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.locks import LockFile, read_locks, remove_dead
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.stores.local import LocalStore
from tests.interop.test_restic_reads_ours import without_raw_links
from tests.support.delta import plan_onto, restore_onto
from tests.support.engine import AT_ONCE, back_up, check, prune, restored_differences
from tests.support.restic import Restic
from tests.support.trees import describe, differences, odd_tree, small_tree, write

NORMAL = WriterSettings(workers=2)


class Theirs:
    """A repository of stock restic, with us beside it."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder = folder
        shutil.copytree(template, folder / "repository")
        self.restic = Restic(folder / "repository", folder / "restic", passphrase="quick")
        self.tree = folder / "tree"

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.folder / "repository")

    def repository(self) -> Repository:
        repository = Repository.open(self.store, "quick")
        repository.load_index()
        return repository

    def assert_we_read(self, target: str = "target") -> None:
        repository = self.repository()
        assert check(repository).findings == []
        latest = repository.find_snapshot("latest")[1]
        assert restored_differences(repository, latest, self.tree, self.folder / target) == []


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Make one empty repository of each version, to be copied."""
    folder = tmp_path_factory.mktemp("templates")
    for version in (1, 2):
        Restic.with_quick_key(folder / str(version), folder / "restic", version=version)
    return {version: folder / str(version) for version in (1, 2)}


@pytest.fixture
def theirs(tmp_path: Path, templates: dict[int, Path]) -> Theirs:
    """Give an empty repository of stock restic, version 2."""
    return Theirs(tmp_path, templates[2])


@pytest.mark.parametrize(
    ("version", "options"),
    [(1, []), (2, ["--compression", "off"]), (2, ["--compression", "auto"]), (2, ["--compression", "max"])],
)
def test_what_stock_restic_writes_we_check_and_restore(
    tmp_path: Path, templates: dict[int, Path], version: int, options: list[str]
) -> None:
    theirs = Theirs(tmp_path, templates[version])
    without_raw_links(odd_tree(theirs.tree))
    theirs.restic.back_up(theirs.tree, options=options)
    theirs.assert_we_read()


def test_every_tree_of_stock_restic_comes_out_of_our_encoder_byte_for_byte(theirs: Theirs) -> None:
    without_raw_links(odd_tree(theirs.tree))
    theirs.restic.back_up(theirs.tree)
    repository = theirs.repository()
    for tree_id in list(repository.index.blobs(BlobKind.TREE)):
        plaintext = repository.read_blob(BlobKind.TREE, tree_id)  # type: ignore[arg-type]
        assert encode_tree(decode_tree(plaintext)) == plaintext


@pytest.mark.parametrize("version", [1, 2])
def test_we_back_up_on_top_of_stock_snapshots_without_reading_unchanged_files(
    tmp_path: Path, templates: dict[int, Path], version: int
) -> None:
    theirs = Theirs(tmp_path, templates[version])
    small_tree(theirs.tree)
    while time.time() - max(path.lstat().st_ctime for path in theirs.tree.rglob("*")) < 2.1:
        time.sleep(0.05)  # the clock itself is waited for: files changed just now are read again on purpose
    theirs.restic.back_up(theirs.tree)
    before = len(theirs.repository().index)
    saved = back_up(theirs.repository(), theirs.tree, settings=NORMAL)
    assert saved.snapshot.parent is not None
    assert saved.archived.stats.files_unmodified == saved.archived.stats.files
    assert saved.archived.stats.read_bytes == 0
    assert len(theirs.repository().index) <= before + 4  # at most the directories above, which others touch
    theirs.assert_we_read()
    theirs.restic.check()


def test_nothing_that_we_write_into_a_version_1_repository_is_compressed(
    tmp_path: Path, templates: dict[int, Path]
) -> None:
    theirs = Theirs(tmp_path, templates[1])
    write(theirs.tree / "text", b"compressible " * 1000)
    saved = back_up(theirs.repository(), theirs.tree, settings=NORMAL)
    repository = theirs.repository()
    for kind in BlobKind:
        for blob in repository.index.blobs(kind):
            place = repository.index.find(kind, blob)  # type: ignore[arg-type]
            assert place is not None
            assert place.raw_length == 0
    for kind_of_object in (Kind.SNAPSHOT, Kind.INDEX):
        for found in repository.box.ids(kind_of_object):
            sealed = theirs.store.get(f"{kind_of_object}/{found}")
            assert repository.box.key.open(sealed)[:1] == b"{"
    theirs.restic.check()
    theirs.assert_we_read()
    assert saved.added.stored_bytes > 13_000


def test_any_of_several_stock_keys_opens_and_a_wrong_one_does_not(theirs: Theirs, tmp_path: Path) -> None:
    small_tree(theirs.tree)
    theirs.restic.back_up(theirs.tree)
    second = tmp_path / "second password"
    second.write_text("zweite ✓ phrase\n")
    theirs.restic.run("key", "add", "--new-password-file", str(second))
    for passphrase in ("quick", "zweite ✓ phrase"):
        assert len(Repository.open(theirs.store, passphrase).snapshots()) == 1
    with pytest.raises(WrongPassphraseError):
        Repository.open(theirs.store, "wrong")
    ours = theirs.repository().add_key("ours", cost=ScryptCost(n=1 << 12, r=8, p=1))
    assert ours[:8].encode() in theirs.restic.run("key", "list").stdout


def test_blobs_that_two_stock_clients_stored_twice_are_no_damage(theirs: Theirs) -> None:
    """Two backups at once each store the same data; a prune of ours leaves one copy."""
    write(theirs.tree / "a", os.urandom(300_000))
    write(theirs.tree / "b", os.urandom(300_000))
    aside = theirs.folder / "index aside"
    theirs.restic.back_up(theirs.tree)
    (theirs.folder / "repository" / "index").rename(aside)
    (theirs.folder / "repository" / "index").mkdir()
    theirs.restic.back_up(theirs.tree, options=["--force", "--no-cache"])
    for path in aside.iterdir():
        path.rename(theirs.folder / "repository" / "index" / path.name)
    repository = theirs.repository()
    copies = [
        len(repository.index.all_places(BlobKind.DATA, blob))  # type: ignore[arg-type]
        for blob in repository.index.blobs(BlobKind.DATA)
    ]
    assert set(copies) == {2}
    theirs.assert_we_read("before")
    prune(repository)
    theirs.assert_we_read("after")
    theirs.restic.check()
    repository = theirs.repository()
    assert all(len(repository.index.all_places(BlobKind.DATA, b)) == 1 for b in repository.index.blobs(BlobKind.DATA))  # type: ignore[arg-type]


def test_an_index_that_stock_restic_rebuilt_is_read(theirs: Theirs) -> None:
    small_tree(theirs.tree)
    back_up(theirs.repository(), theirs.tree)
    theirs.restic.run("rebuild-index", "--read-all-packs")
    theirs.assert_we_read()


def test_packs_that_hold_trees_and_data_together_are_read_and_pruned_apart(theirs: Theirs) -> None:
    """Ancient clients mixed the two kinds; a prune of ours writes them again."""
    from edurise_backup.repository.index_files import encode_index
    from edurise_backup.repository.layout import object_name
    from edurise_backup.repository.packs import OpenPack

    small_tree(theirs.tree)
    saved = back_up(theirs.repository(), theirs.tree, settings=NORMAL)
    repository = theirs.repository()
    mixed = OpenPack(BlobKind.DATA, memoryview(bytearray(1 << 20)))
    for kind in BlobKind:
        for blob in repository.index.blobs(kind):
            plaintext = repository.read_blob(kind, blob)  # type: ignore[arg-type]
            sealed = repository.box.key.seal(plaintext)
            mixed.kind = kind
            mixed.reserve(blob, len(sealed), 0)[:] = sealed
    old = repository.index.packs
    pack_id, pieces = mixed.seal(repository.box.key)
    theirs.store.put(object_name(Kind.PACK, pack_id), pieces)
    for index_id in repository.box.ids(Kind.INDEX):
        theirs.store.delete(object_name(Kind.INDEX, index_id))
    repository.box.save(Kind.INDEX, encode_index([(pack_id, mixed.blobs)]))
    for pack in old:
        theirs.store.delete(object_name(Kind.PACK, pack))
    theirs.restic.run("check", "--read-data", status=None)  # newer clients only remark on mixed packs
    theirs.assert_we_read("before")
    prune(theirs.repository())
    assert pack_id not in theirs.repository().index.packs
    theirs.assert_we_read("after")
    theirs.restic.check()
    assert saved.id in theirs.repository().snapshots()


PATTERNS = [
    "*.log",
    "folder 0",
    "file 1",
    "folder*/file 2",
    "/**/file 3",
    "**/folder 1/file*",
    "file [45]",
    "file [^45]",
    "fil? 4",
    "{tree}/folder 0",
    "{tree}/folder 0/*",
    "{tree}/*/file 1",
    "{tree}/**/twice",
    "{tree}/folder 0/",
    "nothing like it",
    "twice/",
    "folder 0/**/file 4",
    "f*0/f*4",
    "file.1",
    "(file)|twice",
    "file [!45]",
    "fi\\le 1",
    "\\*",
    "file [0-2]",
    "twice/**",
    "{tree}/folder*/**",
    "**/twice",
]


@pytest.mark.parametrize(
    "pattern", [*PATTERNS[::2], *(pytest.param(pattern, marks=pytest.mark.slow) for pattern in PATTERNS[1::2])]
)
def test_a_pattern_excludes_what_it_excludes_for_stock_restic(quick: Theirs, pattern: str) -> None:
    pattern = pattern.replace("{tree}", str(quick.tree))
    quick.restic.back_up(quick.tree, options=["--exclude", pattern])
    expected = {str(found["path"]) for found in quick.restic.ls()}
    repository = quick.repository()
    saved = backup_paths(repository, [str(quick.tree)], BackupOptions(exclude=[pattern]), progress=SilentProgress())
    found = {path for path, _ in walk_files(repository, saved.snapshot.tree)}
    assert found == expected


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, templates: dict[int, Path]) -> Theirs:
    """Give one repository for many small questions."""
    theirs = Theirs(tmp_path_factory.mktemp("quick"), templates[2])
    small_tree(theirs.tree)
    return theirs


@pytest.mark.parametrize(
    ("include", "exclude"),
    [("folder 0", ""), ("file 1", ""), ("{tree}/folder 1", ""), ("*/file*", ""), ("", "folder 1"), ("", "file*")],
)
def test_a_pattern_restores_what_it_restores_for_stock_restic(
    quick: Theirs, tmp_path: Path, include: str, exclude: str
) -> None:
    from edurise_backup.operations.engine import selection
    from edurise_backup.recovery.planning import plan_restore
    from edurise_backup.recovery.restorer import restore

    pattern = (include or exclude).replace("{tree}", str(quick.tree))
    quick.restic.back_up(quick.tree)
    option = "--include" if include else "--exclude"
    quick.restic.run("restore", "latest", "--target", str(tmp_path / "theirs"), option, pattern)
    repository = quick.repository()
    chosen = selection([pattern] if include else [], [] if include else [pattern])
    plan = plan_restore(repository, repository.find_snapshot("latest")[1].tree, select=chosen)
    restore(repository, plan, tmp_path / "ours", progress=SilentProgress())
    assert files_below(tmp_path / "ours") == files_below(tmp_path / "theirs")


def files_below(folder: Path) -> set[str]:
    """Return the paths of all that is no directory."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


@pytest.mark.parametrize("version", [1, 2])
def test_what_stock_restic_restored_is_found_right_and_what_is_spoilt_mended(
    tmp_path: Path, templates: dict[int, Path], version: int
) -> None:
    theirs = Theirs(tmp_path, templates[version])
    without_raw_links(odd_tree(theirs.tree))
    theirs.restic.back_up(theirs.tree)
    theirs.restic.run("restore", "latest", "--target", str(tmp_path / "target"))
    repository = theirs.repository()
    snapshot = repository.find_snapshot("latest")[1]
    restored = tmp_path / "target" / str(theirs.tree).lstrip("/")
    plan = plan_onto(repository, snapshot, tmp_path / "target")
    assert (plan.changed, plan.new, plan.unwanted) == ([], [], [])
    with (restored / "sparse").open("r+b") as stream:
        stream.seek(9_000_001)
        stream.write(b"spoilt")
    assert restore_onto(repository, snapshot, tmp_path / "target").changed == 1
    assert differences(describe(theirs.tree), describe(restored)) == []


# Locks


@contextmanager
def stock_backup_in_progress(theirs: Theirs) -> Iterator[subprocess.Popen[bytes]]:
    """Run a stock backup of a standard input that does not end, until it holds its lock."""
    process = theirs.restic.start("backup", "--stdin", "--host", "tests")
    try:
        locks = theirs.folder / "repository" / "locks"
        while not [path for path in locks.iterdir() if len(path.name) == 64]:  # others are unfinished
            assert process.poll() is None
            time.sleep(0.02)  # restic tells nobody when it has locked
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_live_stock_lock_makes_us_wait_and_says_who_holds_it(theirs: Theirs) -> None:
    small_tree(theirs.tree)
    with stock_backup_in_progress(theirs) as process:
        repository = theirs.repository()
        with pytest.raises(LockedError, match=f"process {process.pid}"):
            repository.lock(exclusive=True, settle=AT_ONCE)
        back_up(repository, theirs.tree)  # adding beside it is allowed
        assert len(read_locks(repository.box)) == 1
    assert remove_dead(repository.box, now=datetime.now(UTC)) == 1


def test_a_stock_process_that_was_killed_is_no_hindrance(theirs: Theirs) -> None:
    small_tree(theirs.tree)
    with stock_backup_in_progress(theirs) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        repository = theirs.repository()
        assert len(read_locks(repository.box)) == 1
        with repository.lock(exclusive=True, settle=AT_ONCE):
            assert len(read_locks(repository.box)) == 1  # ours
    theirs.restic.check()


@pytest.mark.parametrize(("exclusive", "command"), [(True, ["check"]), (False, ["prune"]), (True, ["prune"])])
def test_our_lock_makes_stock_restic_refuse(theirs: Theirs, exclusive: bool, command: list[str]) -> None:
    small_tree(theirs.tree)
    back_up(theirs.repository(), theirs.tree)
    with theirs.repository().lock(exclusive=exclusive, settle=AT_ONCE):
        refused = theirs.restic.run(*command, status=None)
        assert refused.returncode not in (0, None)
        assert f"PID {os.getpid()}".encode() in refused.stderr
        if not exclusive:
            theirs.restic.back_up(theirs.tree)
    theirs.restic.run(*command)


def test_stock_unlock_removes_our_dead_lock_and_leaves_a_live_one(theirs: Theirs) -> None:
    small_tree(theirs.tree)
    repository = theirs.repository()
    with repository.lock(settle=AT_ONCE):
        theirs.restic.run("unlock")
        (live,) = read_locks(repository.box).values()
        ended = subprocess.Popen(["true"])
        ended.wait()
        repository.box.save(Kind.LOCK, msgspec.json.encode(_of_process(live, ended.pid)))
        assert len(read_locks(repository.box)) == 2
        theirs.restic.run("unlock")
        assert list(read_locks(repository.box).values()) == [live]


def _of_process(lock: LockFile, pid: int) -> LockFile:
    return msgspec.structs.replace(lock, pid=pid)


def test_a_repository_opened_by_us_is_the_one_that_restic_made(theirs: Theirs) -> None:
    config = opened_config(theirs)
    assert config["version"] == 2
    assert config["id"] == theirs.repository().config.id


def opened_config(theirs: Theirs) -> dict[str, object]:
    """Return the config as stock restic prints it."""
    return msgspec.json.decode(theirs.restic.run("cat", "config").stdout, type=dict[str, object])
