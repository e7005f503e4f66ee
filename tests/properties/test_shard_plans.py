"""Any tree, any number of shards: every path lies in exactly one, also one that comes later; none is much larger."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from edurise_backup.model.content import name_bytes
from edurise_backup.model.shards import ENTRY_BYTES, Range, Scale, ShardGoal, ShardPlan, Way

names = st.text(st.sampled_from("ab.~\udcff ü"), min_size=1, max_size=3)
trees = st.recursive(
    st.integers(0, 3_000_000),
    lambda below: st.dictionaries(names, below, max_size=8),
    max_leaves=60,
)
folders = st.dictionaries(names, trees, max_size=8)
Tree = dict[str, object]


def weigh(tree: Tree, scale: Scale) -> None:
    for name in sorted(tree, key=name_bytes):
        below = tree[name]
        if isinstance(below, dict):
            scale.enter(name)
            weigh(below, scale)
            scale.leave()
        else:
            assert isinstance(below, int)
            scale.file(name, below)


def planned(tree: Tree, goal: ShardGoal) -> ShardPlan:
    scale = Scale(goal)
    weigh(tree, scale)
    return scale.plan()


def paths(tree: Tree, above: Way = ()) -> Iterator[Way]:
    for name, below in tree.items():
        yield (*above, name)
        if isinstance(below, dict):
            yield from paths(below, (*above, name))


def holds(one: Range, path: Way) -> bool:
    depth = len(one.folder)
    return path[:depth] == one.folder and len(path) > depth and name_bytes(path[depth]) in one.names


def holders(plan: ShardPlan, path: Way) -> int:
    """Return how often a path is held: by ranges, or as a directory that is opened."""
    return sum(holds(one, path) for shard in plan.shards for one in shard.ranges) + (path in plan.opened)


@given(folders, st.integers(1, 9))
def test_every_path_lies_in_exactly_one_shard_or_is_opened(tree: Tree, count: int) -> None:
    plan = planned(tree, ShardGoal(count=count))
    assert {path: holders(plan, path) for path in paths(tree)} == dict.fromkeys(paths(tree), 1)
    assert len(plan.shards) <= count


@given(folders, st.integers(1, 9), st.lists(names, min_size=1, max_size=4))
def test_so_does_a_path_that_appears_later(tree: Tree, count: int, late: list[str]) -> None:
    plan = planned(tree, ShardGoal(count=count))
    assert all(holders(plan, tuple(late[:depth])) == 1 for depth in range(1, len(late) + 1))


@given(folders, st.integers(1, 9))
def test_no_shard_is_larger_than_its_share_and_a_piece(tree: Tree, count: int) -> None:
    plan = planned(tree, ShardGoal(count=count))
    total = sum(shard.weight.cost for shard in plan.shards)
    folders_cost = sum(ENTRY_BYTES for way in plan.opened)
    largest = max((size for size in sizes(tree)), default=0) + ENTRY_BYTES
    # what is not cut further: a piece, and the file that made it full
    allowed = (total + folders_cost) / count * (1 + 1 / 16) + 2 * largest + depth(tree) * ENTRY_BYTES
    assert all(shard.weight.cost <= allowed for shard in plan.shards)


@given(folders, st.integers(1, 9))
def test_the_same_tree_gives_the_same_plan(tree: Tree, count: int) -> None:
    goal = ShardGoal(count=count)
    assert planned(tree, goal) == planned(dict(reversed(tree.items())), goal)


@given(folders, st.integers(100_000, 5_000_000))
def test_a_size_gives_as_many_shards_as_it_takes(tree: Tree, size: int) -> None:
    plan = planned(tree, ShardGoal(size=size))
    total = sum(ENTRY_BYTES + size for size in sizes(tree)) + ENTRY_BYTES * sum(
        1 for path in paths(tree) if isinstance(at(tree, path), dict)
    )
    assert len(plan.shards) <= max(1, -(-total // size))


def sizes(tree: Tree) -> Iterator[int]:
    for below in tree.values():
        if isinstance(below, dict):
            yield from sizes(below)
        else:
            assert isinstance(below, int)
            yield below


def depth(tree: Tree) -> int:
    return 1 + max((depth(below) for below in tree.values() if isinstance(below, dict)), default=0)


def at(tree: Tree, path: Way) -> object:
    found: object = tree
    for name in path:
        assert isinstance(found, dict)
        found = found[name]
    return found
