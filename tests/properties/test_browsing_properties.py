"""Comparing and finding against a plain model: every path of every snapshot in a dictionary."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from edurise_backup.model.content import BlobKind, Node, encode_tree, name_bytes
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.recovery.comparing import Comparison
from edurise_backup.recovery.finding import Search, Wanted
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.writer import BlobWriter
from tests.support.engine import AT_ONCE, TINY, create

NOON = "2024-01-01T12:00:00Z"
NAMES = st.sampled_from(["a", "b", "ä", "x y"])
LEAVES = st.tuples(st.sampled_from(["file", "symlink", "fifo"]), st.integers(0, 2), st.integers(0, 1))
"""Type, content, and owner of what is no directory."""
Tree = dict[str, object]
TREES = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=3),
    lambda below: st.dictionaries(NAMES, st.one_of(LEAVES, below), max_size=3),
    max_leaves=12,
)


def stored(repository: Repository, trees: list[Tree]) -> list[str]:
    with repository.lock(settle=AT_ONCE) as lock, repository.writer(lock, TINY) as sink:
        return [store(sink, tree) for tree in trees]


def store(sink: BlobWriter, tree: Tree) -> str:
    nodes = [made(sink, name, tree[name]) for name in sorted(tree, key=name_bytes)]
    return sink.store(BlobKind.TREE, [encode_tree(nodes)]).result()[0].hex()


def made(sink: BlobWriter, name: str, value: object) -> Node:
    node = Node(name=name, type="dir", mtime=NOON, atime=NOON, ctime=NOON, uid=0, gid=0, content=None)
    if isinstance(value, dict):
        node.subtree = store(sink, value)
        return node
    assert isinstance(value, tuple)
    node.type, content, node.uid = value
    if node.type == "file":
        data = b"%d" % content * 100
        node.content, node.size = [sink.store(BlobKind.DATA, [data]).result()[0].hex()], len(data)
    elif node.type == "symlink":
        node.linktarget = f"to {content}"
    return node


def flat(tree: Tree, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield every path and what is there; a directory is the same whatever it holds."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield f"{prefix}/{name}", "dir"
            yield from flat(value, f"{prefix}/{name}")
        else:
            assert isinstance(value, tuple)
            kind, content, owner = value
            yield f"{prefix}/{name}", (kind, content if kind != "fifo" else 0, owner)


def expected_mark(before: object, after: object) -> str:
    if before is None or after is None:
        return "+" if before is None else "-"
    one, other = (value if isinstance(value, tuple) else (value, 0, 0) for value in (before, after))
    if one[0] != other[0]:
        return "T"
    if one[1] != other[1]:
        return "M?" if one[0] == "file" and one[2] == other[2] else "M"
    return "U" if one[2] != other[2] else ""


@given(before=TREES, after=TREES)
def test_a_comparison_lists_what_two_dictionaries_differ_in(before: Tree, after: Tree) -> None:
    repository = create()
    comparison = Comparison(
        repository, *stored(repository, [before, after]), progress=SilentProgress(), metadata=True, exact=True
    )
    one, other = dict(flat(before)), dict(flat(after))
    marks = {path: expected_mark(one.get(path), other.get(path)) for path in one.keys() | other.keys()}
    changes = list(comparison.changes())
    assert {change.path.rstrip("/"): change.mark for change in changes} == {
        path: mark for path, mark in marks.items() if mark
    }
    assert len({change.path for change in changes}) == len(changes)
    blobs = [used(repository, tree) for tree in (before, after)]
    assert comparison.summary.added.data_blobs == len(blobs[1] - blobs[0])
    assert comparison.summary.removed.data_blobs == len(blobs[0] - blobs[1])


def used(repository: Repository, tree: Tree) -> set[object]:
    return {value[1] for _, value in flat(tree) if isinstance(value, tuple) and value[0] == "file"}


@given(trees=st.lists(TREES, min_size=1, max_size=5))
def test_a_search_finds_every_version_of_every_path_once(trees: list[Tree]) -> None:
    repository = create()
    ids = [SnapshotId(f"{number:064x}") for number in range(len(trees))]
    snapshots = {
        key: Snapshot(time=NOON, tree=tree, paths=["/"])
        for key, tree in zip(ids, stored(repository, trees), strict=True)
    }
    expected: dict[tuple[str, object], list[SnapshotId]] = {}
    for key, tree in zip(ids, trees, strict=True):
        for path, value in flat(tree):
            expected.setdefault((path, value), []).append(key)
    search = Search(repository, snapshots, Wanted(["*"]), progress=SilentProgress())
    found = [(one.path, one.first, one.last, one.snapshots) for one in search.versions()]
    assert sorted(found) == sorted((path, keys[0], keys[-1], len(keys)) for (path, _), keys in expected.items())
