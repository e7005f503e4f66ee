"""S-24: what a restore would refuse or lose, a check names with its snapshot and path."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import pytest

from edurise_backup.model.content import BlobKind, blob_id, rfc3339
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.repairing.affected import SHOWN, AffectedPath
from edurise_backup.repository.repository import Repository
from edurise_backup.verification import checker
from edurise_backup.verification.checker import check as check_with
from tests.support.engine import AT_ONCE, TINY, back_up, check, create, opened, publish_tree
from tests.support.repairs import packs_of
from tests.support.stores import MemoryStore
from tests.support.trees import odd_tree, write

PLAIN = b"content"
BLOB = blob_id(PLAIN).hex()
NOW = rfc3339(1_700_000_000_000_000_000)


@pytest.fixture
def repository() -> Repository:
    """Give an empty repository."""
    store = MemoryStore()
    create(store)
    return opened(store)


def node(name: str, kind: str = "file", **more: object) -> dict[str, object]:
    """Return a node's JSON, unchecked."""
    base: dict[str, object] = {"name": name, "type": kind, "mode": 0o644, "mtime": NOW, "atime": NOW, "ctime": NOW}
    base |= {"uid": 0, "gid": 0, "content": None}
    if kind == "file":
        base |= {"content": [BLOB], "size": len(PLAIN)}
    return base | more


def tree(*nodes: dict[str, object]) -> bytes:
    """Return a tree's plaintext, unchecked."""
    return json.dumps({"nodes": nodes}).encode() + b"\n"


def publish(repository: Repository, plaintext: bytes) -> tuple[SnapshotId, str]:
    """Publish a tree made by hand; return the snapshot's id and the tree's."""
    snapshot_id = publish_tree(repository, plaintext, blobs=[PLAIN])
    repository.load_index()
    return snapshot_id, repository.load_snapshot(snapshot_id).tree


FLAWS: list[tuple[list[dict[str, object]], str]] = [
    ([node("a"), node("a", "symlink", linktarget="b")], "twice"),
    ([node("a"), node("\\x61")], "twice"),
    ([node("b"), node("a")], "/d/a: comes behind a later name"),
    ([node("é"), node("z")], "/d/z: comes behind a later name"),
    ([node("a", size=len(PLAIN) + 1)], f"/d/a: has {len(PLAIN) + 1} bytes, its blobs have {len(PLAIN)}"),
    ([node("a", content=[], size=1)], "/d/a: has 1 bytes, its blobs have 0"),
    ([node("a", size=2**63)], "not readable"),
    ([node("a", size=-1)], "not readable"),
    ([node("a", content=[BLOB, "ab" * 32, "cd" * 32])], "/d/a: blob abababab is in no index, and 1 more"),
    ([node("a", content=None)], "/d/a: a file without content"),
    ([node("a", "door")], "/d/a: is of the unknown type 'door'"),
    ([node("a", "")], "/d/a: is of the unknown type ''"),
    ([node("a", "dir")], "/d/a: a directory without a tree"),
    ([node("a", "dir", subtree="ab" * 32)], "/d/a: tree abababab"),
    ([node("a", "fifo", subtree="ab" * 32)], "/d/a: a fifo with a tree"),
    ([node("a", subtree="ab" * 32)], "/d/a: a file with a tree"),
    ([node("a", "symlink", linktarget="x", content=[BLOB])], "/d/a: a symlink with the content of a file"),
    ([node("a", "fifo", content=[BLOB])], "/d/a: a fifo with the content of a file"),
    ([node("a", "symlink")], "/d/a: a link whose target is impossible"),
    ([node("a", "symlink", linktarget="x\0y")], "/d/a: a link whose target is impossible"),
    ([node("a", linktarget="x")], "/d/a: a file with the target of a link"),
]


@pytest.mark.parametrize(("nodes", "finding"), FLAWS, ids=[finding for _, finding in FLAWS])
def test_s24_each_flaw_of_a_tree_is_named_with_snapshot_and_path(
    repository: Repository, nodes: list[dict[str, object]], finding: str
) -> None:
    """S-24: no check passes where a restore fails."""
    _, below = publish(repository, tree(*nodes))
    harmless, _ = publish(repository, tree(node("harmless")))
    snapshot_id, _ = publish(repository, tree(node("d", "dir", subtree=below)))
    result = check_with(repository, progress=SilentProgress(), snapshots=[snapshot_id, harmless])
    assert [text for text in result.findings if finding in text and f"snapshot {snapshot_id[:8]}/d" in text]
    assert result.affected.snapshots == (snapshot_id,)
    assert {one.path for one in result.affected.paths} <= {"/d", "/d/a"}
    assert result.affected.count >= 1


def test_s24_every_odd_thing_that_a_file_system_may_hold_is_no_finding(tmp_path: Path) -> None:
    """S-24, the other way round: a finding means damage."""
    repository = create(MemoryStore())
    back_up(repository, odd_tree(tmp_path / "odd"))
    assert check(repository).findings == []


def test_a_tree_that_snapshots_share_is_a_finding_once_and_each_of_them_is_known(tmp_path: Path) -> None:
    store = MemoryStore()
    create(store)
    write(tmp_path / "tree" / "shared" / "lost", random.Random(1).randbytes(9000))
    ids = []
    for number in range(3):
        write(tmp_path / "tree" / "the last" / "file", b"%d" % number * 100)
        ids.append(back_up(opened(store), tmp_path / "tree").id)
    pack = packs_of(store, BlobKind.DATA)[0]
    lost = object_name(Kind.PACK, pack)
    content = store.objects.pop(lost)
    result = check(opened(store))
    assert len(result.findings) == 1  # the pack
    at = f"{tmp_path}/tree/shared/lost"
    assert set(result.affected.paths) == {AffectedPath(snapshot_id, at) for snapshot_id in ids}
    assert result.affected.count == 3
    store.objects[lost] = content[:20] + bytes([content[20] ^ 1]) + content[21:]
    assert set(check(opened(store)).affected.paths) == set(result.affected.paths)
    assert check(opened(store), read_data=False).sound


def test_damage_that_costs_no_file_affects_none(tmp_path: Path) -> None:
    """A pack's header is for rebuilding the index only: all blobs are whole."""
    store = MemoryStore()
    back_up(create(store), write(tmp_path / "tree" / "file", b"x" * 500).parent)
    name = object_name(Kind.PACK, packs_of(store, BlobKind.DATA)[0])
    store.objects[name] = store.objects[name][:-1] + b"\xff"
    result = check(opened(store))
    assert result.findings
    assert result.affected.count == 0


def test_the_first_thousand_affected_paths_are_named_and_all_are_counted(repository: Repository) -> None:
    missing = [node(f"{number:04}", content=["ab" * 32]) for number in range(700)]
    _, below = publish(repository, tree(*missing))
    publish(repository, tree(node("a", "dir", subtree=below), node("b", "dir", subtree=below)))
    affected = check(repository).affected
    assert (affected.count, len(affected.paths)) == (700 + 1400, SHOWN)


def test_a_chain_of_two_thousand_directories_is_walked_without_recursion(repository: Repository) -> None:
    with repository.lock(settle=AT_ONCE) as lock:
        with repository.writer(lock, TINY) as sink:
            below = sink.store(BlobKind.TREE, [tree(node("a", content=["ab" * 32]))]).result()[0].hex()
            for _ in range(2000):
                plain = tree(node("d", "dir", subtree=below))
                below = sink.store(BlobKind.TREE, [plain]).result()[0].hex()
        shot = Snapshot(time="2024-01-01T00:00:00Z", tree=below, paths=["/deep"], hostname="tests")
        repository.publish(shot, lock)
    affected = check(repository, read_data=False).affected
    assert affected.count == 1
    assert affected.paths[0].path == "/d" * 2000 + "/a"


class _BrokenForWholePacks(MemoryStore):
    """Fails to give whole packs; parts of packs (trees) come only once the check has given up."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(objects)
        self.given_up = threading.Event()
        self.trees_after = 0

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        if name.startswith("data/") and length is None:
            raise MemoryError("no memory for a pack")
        if name.startswith("data/"):
            assert self.given_up.wait(60), "the check waits for its walk instead of ending it"
            self.trees_after += 1
        return super().get(name, offset=offset, length=length)


def test_an_error_of_the_reading_ends_the_walk_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    create(store)
    for number in range(30):
        write(tmp_path / "tree" / f"folder {number}" / "file", b"%d" % number)
    back_up(opened(store), tmp_path / "tree", settings=TINY)
    broken = _BrokenForWholePacks(store.objects)
    real = checker._Beside.cancel

    def cancel(self: checker._Beside) -> None:
        real(self)
        broken.given_up.set()

    monkeypatch.setattr(checker._Beside, "cancel", cancel)
    repository = opened(broken)
    with pytest.raises(MemoryError):
        check(repository)
    assert broken.trees_after <= 1
