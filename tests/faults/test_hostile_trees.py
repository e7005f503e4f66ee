"""R11: a snapshot made by an enemy restores into its target or not at all; nothing outside is touched."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from edurise_backup.errors import BackupError, ConflictError, DamageError
from edurise_backup.model.content import GO_SETUID, Node, blob_id, rfc3339
from edurise_backup.repository.repository import Repository
from tests.support.engine import check, create, opened, publish_tree, restore
from tests.support.stores import MemoryStore
from tests.support.trees import content_of, describe, write

PLAIN = b"evil"
BLOB = blob_id(PLAIN).hex()
NOW = rfc3339(1_700_000_000_000_000_000)


def node(name: str, kind: str = "file", **more: object) -> dict[str, object]:
    """Return a node's JSON, unchecked."""
    base: dict[str, object] = {"name": name, "type": kind, "mode": 0o644, "mtime": NOW, "atime": NOW, "ctime": NOW}
    base |= {"uid": os.getuid(), "gid": os.getgid(), "content": None}
    if kind == "file":
        base |= {"content": [BLOB], "size": len(PLAIN)}
    return base | more


def tree(*nodes: dict[str, object]) -> bytes:
    """Return a tree's plaintext, unchecked."""
    return json.dumps({"nodes": nodes}).encode() + b"\n"


IMPOSSIBLE_NAMES = [
    "",
    ".",
    "..",
    "/",
    "a/b",
    "../outside/canary",
    "../../../../../../etc/canary",
    "/etc/canary",
    "a\0b",
    "..\0",
    "\\x2e\\x2e",
    "\\056\\056",
    "..\\x2foutside\\x2fcanary",
    "\\u002e\\u002e/outside",
    "a\\x00b",
    "\\U0000002e.",
    "\\",
    "\\q",
    "\\xg0",
    "\\uD800",
    "\\Uffffffff",
]


class Outside:
    """Things beside the target that a restore must leave alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.canary = write(folder / "outside" / "canary", b"alive")
        self.target = folder / "target"
        self.before = self._look()

    def _look(self) -> object:
        return content_of(self.folder / "outside"), describe(self.folder / "outside"), sorted(os.listdir(self.folder))

    def assert_untouched(self) -> None:
        after = self._look()
        self.target.mkdir(exist_ok=True)
        assert set(self._look()[2]) <= {"outside", "target"}  # type: ignore[index]
        assert after[:2] == self.before[:2]  # type: ignore[index]


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    """Give a target and its surroundings."""
    return Outside(tmp_path)


@pytest.fixture
def repository() -> Repository:
    """Give an empty repository."""
    store = MemoryStore()
    create(store)
    return opened(store)


def publish(repository: Repository, plaintext: bytes) -> str:
    """Store a hostile tree with the blob that its files name; return the tree's id."""
    snapshot_id = publish_tree(repository, plaintext, blobs=[PLAIN])
    repository.load_index()
    return repository.find_snapshot(snapshot_id)[1].tree


@pytest.mark.parametrize("kind", ["file", "dir", "symlink", "fifo"])
@pytest.mark.parametrize("name", IMPOSSIBLE_NAMES)
def test_an_impossible_name_is_damage_and_writes_nothing(
    repository: Repository, outside: Outside, name: str, kind: str
) -> None:
    more: dict[str, object] = {"dir": {"subtree": "ab" * 32}, "symlink": {"linktarget": "x"}}.get(kind, {})  # type: ignore[assignment]
    root = publish(repository, tree(node("harmless"), node(name, kind, **more)))
    with pytest.raises(DamageError):
        restore(repository, root, outside.target)
    outside.assert_untouched()
    assert not check(repository).sound


def test_a_name_that_comes_twice_is_damage_however_it_is_written(repository: Repository, outside: Outside) -> None:
    """S-24: a link first, then a directory of the same name: what goes into the directory would follow the link."""
    link = {"linktarget": str(outside.folder / "outside")}
    below = publish(repository, tree(node("canary")))
    for second in ("d", "\\x64", "\\u0064", "\\144"):
        root = publish(repository, tree(node("d", "symlink", **link), node(second, "dir", subtree=below)))
        with pytest.raises(DamageError, match="twice"):
            restore(repository, root, outside.target)
        assert not check(repository).sound
    outside.assert_untouched()


def test_a_link_to_the_outside_is_restored_as_a_link_and_never_followed(
    repository: Repository, outside: Outside
) -> None:
    links = [
        node(f"l{number}", "symlink", linktarget=target, extended_attributes=[])
        for number, target in enumerate([str(outside.canary), "../outside/canary", "/", "..", "/proc/self/root"])
    ]
    restore(repository, publish(repository, tree(*links)), outside.target)
    outside.assert_untouched()
    assert (outside.target / "l0").is_symlink()


def test_a_further_name_of_a_file_is_linked_to_a_restored_file_only(repository: Repository, outside: Outside) -> None:
    """Inode and device are the enemy's choice: the canary's own numbers must lead nowhere."""
    status = outside.canary.stat()
    same: dict[str, object] = {"links": 2, "inode": status.st_ino, "device_id": status.st_dev}
    restore(repository, publish(repository, tree(node("a") | same, node("b") | same)), outside.target)
    assert (outside.target / "a").stat().st_ino == (outside.target / "b").stat().st_ino != status.st_ino
    outside.assert_untouched()


def test_names_that_are_only_odd_are_restored(repository: Repository, outside: Outside) -> None:
    names = ["...", "..a", "a..", "-rf", "\\n", "~root", "\\xff", "CON", "a:b", "é", "e\u0301", "A", "a", "x" * 255]
    restore(repository, publish(repository, tree(*[node(name) for name in names])), outside.target)
    assert len(os.listdir(os.fsencode(outside.target))) == len(names)
    outside.assert_untouched()


def test_a_name_longer_than_the_file_systems_is_an_error_of_ours(repository: Repository, outside: Outside) -> None:
    with pytest.raises(BackupError):
        restore(repository, publish(repository, tree(node("x" * 256))), outside.target)
    outside.assert_untouched()


def test_a_path_longer_than_4096_bytes_is_restored(repository: Repository, outside: Outside) -> None:
    depth = 30
    below = publish(repository, tree(node("deep")))
    for _ in range(depth):
        below = publish(repository, tree(node("d" * 200, "dir", subtree=below, mode=0o755)))
    done = restore(repository, below, outside.target)
    assert (done.files, done.folders) == (1, depth)
    assert check(repository, read_data=False).sound
    outside.assert_untouched()


IMPOSSIBLE_METADATA: list[dict[str, object]] = [
    {"uid": -1},
    {"uid": 2**32},
    {"gid": 2**70},
    {"mode": -5},
    {"mode": 2**40},
    {"size": -1},
    {"size": 2**63},
    {"size": 5},
    {"content": ["zz"]},
    {"content": [BLOB[:-2]]},
    {"content": ["ab" * 32]},
    {"content": "text"},
    {"mtime": "yesterday"},
    {"mtime": "2024-02-31T00:00:00Z"},
    {"atime": "9999-12-31T23:59:60Z"},
    {"extended_attributes": [{"name": "user.\0", "value": "eA=="}]},
    {"extended_attributes": [{"name": "user.a", "value": "not base64"}]},
    {"type": "symlink", "content": None, "linktarget": "a\0b"},
    {"type": "dir", "content": None, "subtree": "../../x"},
    {"type": "chardev", "content": None, "device": 2**63},
    {"type": "dev", "content": None, "device": -1},
]


@pytest.mark.parametrize("more", IMPOSSIBLE_METADATA, ids=str)
def test_impossible_metadata_is_an_error_of_ours_or_a_problem_never_a_crash(
    repository: Repository, outside: Outside, more: dict[str, object]
) -> None:
    root = publish(repository, tree(node("file") | more))
    try:
        done = restore(repository, root, outside.target)
    except BackupError:
        pass
    else:
        assert done.problems
    check(repository)
    outside.assert_untouched()


def test_kinds_that_nobody_knows_are_problems(repository: Repository, outside: Outside) -> None:
    root = publish(repository, tree(node("a", "socket"), node("b", "irregular"), node("c", ""), node("d", "door")))
    done = restore(repository, root, outside.target)
    assert len(done.problems) == 4
    assert os.listdir(outside.target) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may make devices")
def test_a_device_that_this_user_may_not_make_is_a_problem(repository: Repository, outside: Outside) -> None:
    done = restore(repository, publish(repository, tree(node("null", "chardev", device=259))), outside.target)
    assert len(done.problems) == 1


def test_setuid_comes_back_after_the_owner_and_only_on_the_file(repository: Repository, outside: Outside) -> None:
    restore(repository, publish(repository, tree(node("s", mode=0o755 | GO_SETUID))), outside.target)
    assert stat.S_IMODE((outside.target / "s").stat().st_mode) == 0o4755


def test_a_target_that_is_a_link_or_not_empty_is_refused_or_used_as_what_it_is(
    repository: Repository, outside: Outside
) -> None:
    root = publish(repository, tree(node("file")))
    with pytest.raises(ConflictError):
        restore(repository, root, outside.folder / "outside")
    outside.assert_untouched()


def test_a_directory_that_somebody_replaces_by_a_link_meanwhile_is_not_followed(
    repository: Repository, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race that path names lose: after `mkdir`, before the first file in it."""
    below = publish(repository, tree(node("canary")))
    root = publish(repository, tree(node("d", "dir", subtree=below, mode=0o755)))
    real = os.mkdir

    def mkdir_and_swap(path: str, *arguments: int, **options: int) -> None:
        real(path, *arguments, **options)
        if path == "d":
            os.rmdir(outside.target / "d")
            os.symlink(outside.folder / "outside", outside.target / "d")

    monkeypatch.setattr(os, "mkdir", mkdir_and_swap)
    with pytest.raises(BackupError):
        restore(repository, root, outside.target)
    outside.assert_untouched()


def test_a_node_made_by_our_own_types_still_encodes(repository: Repository) -> None:
    """The corpus above bypasses the encoder; this is its honest twin."""
    honest = Node(name="a", type="fifo", mtime=NOW, atime=NOW, ctime=NOW, uid=0, gid=0, content=None)
    publish_tree(repository, [honest])
    assert check(opened(repository.store)).sound
