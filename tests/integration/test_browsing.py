"""Looking into snapshots: what differs, which versions of a path there are, one file's bytes."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edurise_backup.errors import BackupError, ConflictError, DamageError, InputError, NotFoundError
from edurise_backup.model.content import BlobId, BlobKind, Node
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.browsing import dump_path
from edurise_backup.recovery.comparing import Change, Comparison
from edurise_backup.recovery.drains import new_file
from edurise_backup.recovery.finding import Search, Version, Wanted
from edurise_backup.recovery.planning import walk_files
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.repository import Repository
from tests.support.engine import PASSPHRASE, back_up, create, opened, publish_tree
from tests.support.stores import Fault, FaultyStore, MemoryStore
from tests.support.trees import NOON, describe, differences, odd_tree, small_tree, write


class Kept:
    """A repository of one tree, and its snapshots in order."""

    def __init__(self, folder: Path) -> None:
        self.tree = small_tree(folder / "tree")
        self.store = MemoryStore()
        create(self.store)
        self.roots: list[str] = []

    def back_up(self) -> None:
        self.roots.append(back_up(opened(self.store), self.tree).snapshot.tree)

    def compare(self, *, metadata: bool = False, exact: bool = False) -> tuple[dict[str, str], Comparison]:
        comparison = Comparison(
            opened(self.store), *self.roots[-2:], progress=SilentProgress(), metadata=metadata, exact=exact
        )
        return {self.short(change): change.mark for change in comparison.changes()}, comparison

    def short(self, change: Change | Version) -> str:
        return change.path.removeprefix(f"{self.tree}/")

    def find(self, *patterns: str, **bounds: int) -> list[Version]:
        repository = opened(self.store)
        search = Search(repository, repository.snapshots(), Wanted(patterns, **bounds), progress=SilentProgress())
        found = list(search.versions())
        assert search.problems == []
        return found


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """Give a repository with one snapshot."""
    made = Kept(tmp_path)
    made.back_up()
    return made


# Comparing


def test_what_was_added_removed_and_changed_is_listed_with_its_mark(kept: Kept) -> None:
    write(kept.tree / "folder 0" / "file 0", b"changed", mtime=NOON + 1)
    write(kept.tree / "new" / "below", b"12345")
    (kept.tree / "folder 1" / "file 1").unlink()
    (kept.tree / "empty").chmod(0o600)
    (kept.tree / "link").unlink()
    (kept.tree / "link").symlink_to("elsewhere")
    (kept.tree / "twice").unlink()
    write(kept.tree / "twice" / "inside", b"x")
    kept.back_up()
    changes, comparison = kept.compare(metadata=True)
    assert {name: mark for name, mark in changes.items() if mark != "U"} == {
        "folder 0/file 0": "M",
        "folder 1/file 1": "-",
        "link": "M",
        "new/": "+",
        "new/below": "+",
        "twice/": "T",
        "twice/inside": "+",
    }
    assert changes["empty"] == "U"
    summary = comparison.summary
    assert (summary.changed_files, summary.added.files, summary.added.dirs, summary.removed.files) == (1, 2, 1, 1)
    assert "empty" not in kept.compare()[0]


def test_content_that_changed_under_the_same_metadata_is_told_apart(kept: Kept) -> None:
    repository = opened(kept.store)
    blobs = [BlobId(blob) for blob in repository.index.blobs(BlobKind.DATA)][:2]
    nodes = [[file_node("rotten", [blob.hex()])] for blob in blobs]
    made = [publish_tree(opened(kept.store), each) for each in nodes]
    kept.roots = [repository.snapshots()[snapshot_id].tree for snapshot_id in made]
    assert {change.path: change.mark for change in kept.compare()[1].changes()} == {"/rotten": "M?"}


def file_node(name: str, content: list[str]) -> Node:
    noon = "2024-01-01T12:00:00Z"
    return Node(name=name, type="file", mtime=noon, atime=noon, ctime=noon, uid=0, gid=0, content=content)


def test_equal_directories_are_not_read(kept: Kept) -> None:
    write(kept.tree / "new", b"new")
    kept.back_up()
    reads = Fault("get", "data/", answer=lambda content: content, times=10_000)
    repository = Repository.open(FaultyStore(kept.store, reads), PASSPHRASE)
    repository.load_index()
    changes = list(Comparison(repository, *kept.roots, progress=SilentProgress()).changes())
    assert [kept.short(change) for change in changes] == ["new"]
    depth = len(kept.tree.parts)
    assert reads.fired == 2 * depth  # both trees on the way down, and none of those in `tree`


def test_bytes_that_an_equal_directory_has_count_as_kept_when_asked_for(kept: Kept) -> None:
    content = (kept.tree / "folder 0" / "file 0").read_bytes()
    write(kept.tree / "new" / "copied", content)
    kept.back_up()
    assert kept.compare()[1].summary.added.data_blobs == 1
    assert kept.compare(exact=True)[1].summary.added.data_blobs == 0


def test_equal_snapshots_have_no_difference(kept: Kept) -> None:
    kept.roots.append(kept.roots[0])
    changes, comparison = kept.compare(metadata=True)
    assert (changes, comparison.summary.added.bytes) == ({}, 0)


def test_a_directory_that_cannot_be_read_is_a_problem_and_no_difference(kept: Kept) -> None:
    write(kept.tree / "folder 0" / "file 0", b"changed")
    write(kept.tree / "new", b"new")
    kept.back_up()
    repository = opened(kept.store)
    folder = next(n for p, n in walk_files(repository, kept.roots[0]) if p == f"{kept.tree}/folder 0")
    lose(kept.store, BlobKind.TREE, folder.subtree or "")
    changes, comparison = kept.compare()
    assert changes == {"new": "+"}
    assert len(comparison.summary.problems) == 1
    assert "folder 0 cannot be compared" in comparison.summary.problems[0]


def lose(store: MemoryStore, kind: BlobKind, blob: str) -> None:
    """Damage a blob."""
    place = opened(store).index.find(kind, BlobId(bytes.fromhex(blob)))
    assert place is not None
    name = object_name(Kind.PACK, place.pack)
    content = bytearray(store.objects[name])
    content[place.offset + 3] ^= 255
    store.objects[name] = bytes(content)


# Finding


def test_identical_versions_of_a_path_are_one_row(kept: Kept) -> None:
    kept.back_up()
    write(kept.tree / "folder 0" / "file 0", b"second", mtime=NOON + 1)
    kept.back_up()
    write(kept.tree / "folder 1" / "unrelated", b"changes the directory above, not the path")
    kept.back_up()
    first, second = kept.find("file 0")
    ids = list(opened(kept.store).snapshots())
    assert (first.first, first.last, first.snapshots, first.node.size) == (ids[0], ids[1], 2, 3000)
    assert (second.first, second.last, second.snapshots, second.node.size) == (ids[2], ids[3], 2, 6)


def test_a_version_that_comes_back_is_the_same_version(kept: Kept) -> None:
    before = (kept.tree / "twice").read_bytes()
    write(kept.tree / "twice", b"other", mtime=NOON + 1)
    kept.back_up()
    write(kept.tree / "twice", before)
    kept.back_up()
    found = [version for version in kept.find(f"{kept.tree}/twice") if kept.short(version) == "twice"]
    assert [version.snapshots for version in found] == [2, 1]
    ids = list(opened(kept.store).snapshots())
    assert (found[0].first, found[0].last) == (ids[0], ids[2])


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("twice", {"twice", "folder 0/twice"}),
        ("folder 0/twice", {"folder 0/twice"}),
        ("{tree}/twice", {"twice"}),
        ("{tree}/*/second*", {"folder 1/second name"}),
        ("{tree}/**/file 0", {"folder 0/file 0"}),
        ("folder ?", {"folder 0", "folder 1"}),
        ("nowhere", set()),
    ],
)
def test_patterns_are_those_of_exclude(kept: Kept, pattern: str, expected: set[str]) -> None:
    assert {kept.short(version) for version in kept.find(pattern.format(tree=kept.tree))} == expected


def test_bounds_of_the_modification_time_are_kept(kept: Kept) -> None:
    write(kept.tree / "later", b"later", mtime=NOON + 10**9)
    kept.back_up()
    assert [kept.short(found) for found in kept.find("file 1", "later", oldest=NOON + 1)] == ["later"]
    assert [kept.short(found) for found in kept.find("file 1", "later", newest=NOON + 1)] == ["folder 1/file 1"]


def test_each_tree_is_read_once_however_many_snapshots_share_it(kept: Kept) -> None:
    for _ in range(5):
        kept.back_up()
    reads = Fault("get", "data/", answer=lambda content: content, times=10_000)
    repository = Repository.open(FaultyStore(kept.store, reads), PASSPHRASE)
    repository.load_index()
    search = Search(repository, repository.snapshots(), Wanted(["file 0"]), progress=SilentProgress())
    assert [version.snapshots for version in search.versions()] == [6]
    assert reads.fired == len(set(opened(kept.store).index.blobs(BlobKind.TREE)))


# Dumping


class Taken:
    """A drain that remembers."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def data(self) -> bytes:
        """What was written."""
        return bytes(self._data)

    def write(self, data: bytes, /) -> int:
        """Remember the bytes."""
        self._data += data
        return len(data)


def dump(store: MemoryStore, path: Path | str, taken: Taken, *, as_tar: bool = False) -> int:
    repository = opened(store)
    tree = repository.find_snapshot("latest")[1].tree
    return dump_path(repository, tree, str(path), taken, as_tar=as_tar, progress=SilentProgress()).bytes


def test_a_file_of_many_blobs_comes_out_in_order(kept: Kept) -> None:
    content = random.Random(1).randbytes(9_000_000) + bytes(3_000_000) + random.Random(2).randbytes(9_000_000)
    write(kept.tree / "large", content)
    kept.back_up()
    taken = Taken()
    assert dump(kept.store, kept.tree / "large", taken) == len(content)
    assert taken.data == content


def test_an_empty_file_comes_out_empty(kept: Kept) -> None:
    taken = Taken()
    assert (dump(kept.store, kept.tree / "empty", taken), taken.data) == (0, b"")


def test_what_cannot_be_dumped_is_refused_before_a_byte_is_written(kept: Kept) -> None:
    taken = Taken()
    with pytest.raises(InputError, match="is a directory") as directory:
        dump(kept.store, kept.tree, taken)
    assert "restore" in directory.value.hint
    with pytest.raises(InputError, match="a symlink to folder 0/file 0"):
        dump(kept.store, kept.tree / "link", taken)
    with pytest.raises(NotFoundError):
        dump(kept.store, kept.tree / "nothing" / "there", taken)
    with pytest.raises(NotFoundError):
        dump(kept.store, kept.tree / "empty" / "below a file", taken)
    with pytest.raises(InputError, match="is no directory"):
        dump(kept.store, kept.tree / "empty", taken, as_tar=True)
    assert taken.data == b""


def test_a_damaged_blob_ends_a_dump_after_whole_blobs_only(kept: Kept) -> None:
    content = random.Random(1).randbytes(9_000_000)
    write(kept.tree / "large", content)
    kept.back_up()
    repository = opened(kept.store)
    blobs = next(node for path, node in walk_files(repository, kept.roots[-1]) if path.endswith("/large")).content
    assert blobs is not None
    lose(kept.store, BlobKind.DATA, blobs[2])
    taken = Taken()
    with pytest.raises(DamageError, match="cannot be read whole") as error:
        dump(kept.store, kept.tree / "large", taken)
    assert "incomplete" in error.value.safe
    assert 0 < len(taken.data) < len(content)
    assert content.startswith(taken.data)


def test_a_target_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with new_file(target) as drain:
        drain.write(b"one ")
        assert not target.exists()
        drain.write(b"two")
    assert target.read_bytes() == b"one two"
    with pytest.raises(ConflictError), new_file(target):
        pass
    assert target.read_bytes() == b"one two"
    with pytest.raises(DamageError), new_file(tmp_path / "other") as drain:
        drain.write(b"a part")
        raise DamageError("in the middle")
    with pytest.raises(ConflictError), new_file(tmp_path / "third"):
        write(tmp_path / "third", b"somebody else's")
    assert (tmp_path / "third").read_bytes() == b"somebody else's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "third"]


def test_a_full_disk_leaves_no_part_of_a_target_file(tmp_path: Path) -> None:
    with pytest.raises(BackupError) as error, new_file(tmp_path / "file") as drain, small_files():
        for _ in range(100):
            drain.write(bytes(1_000_000))
    assert "no part" in error.value.safe
    assert list(tmp_path.iterdir()) == []


@contextmanager
def small_files() -> Iterator[None]:
    """Have the kernel refuse files of more than a megabyte."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_directory_as_tar_unpacks_to_what_was_backed_up(tmp_path: Path) -> None:
    tree = odd_tree(tmp_path / "tree")
    store = MemoryStore()
    create(store)
    back_up(opened(store), tree)
    archive, target = tmp_path / "archive.tar", tmp_path / "target"
    with archive.open("wb") as stream:
        taken = Taken()
        dump(store, tree, taken, as_tar=True)
        stream.write(taken.data)
    target.mkdir()
    # GNU tar, as an independent reader
    subprocess.run(
        ["tar", "-x", "-p", "--xattrs", "--xattrs-include=*", "--same-order", "-f", archive, "-C", target], check=True
    )
    owners = os.geteuid() == 0
    assert differences(describe(tree, owners=owners), describe(target, owners=owners)) == []


def test_a_tar_that_was_cut_short_has_no_end_mark(kept: Kept) -> None:
    repository = opened(kept.store)
    path, node = next((p, n) for p, n in walk_files(repository, kept.roots[0]) if p.endswith("folder 1/file 3"))
    assert node.content is not None
    lose(kept.store, BlobKind.DATA, node.content[0])
    taken = Taken()
    with pytest.raises(DamageError, match="file 3 cannot be read whole"):
        dump(kept.store, kept.tree, taken, as_tar=True)
    assert taken.data
    assert not taken.data.endswith(bytes(1024))
    assert path.startswith(str(kept.tree))
