"""Weigh a source, or the snapshot that it had last, and say how it is cut."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from edurise_backup.model.content import Node
from edurise_backup.model.shards import ALL_NAMES, Scale, ShardGoal, ShardPlan
from edurise_backup.ports import DividedSource, Entry, Progress


def plan_from_source(source: DividedSource, goal: ShardGoal, progress: Progress) -> ShardPlan:
    """Look at every name of the source, and read none."""
    scale = Scale(goal)
    everything = source.root().children_in(ALL_NAMES)
    levels: list[Iterator[Entry]] = [(child for child in everything if child.name not in source.afterwards)]
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
            if levels:
                scale.leave()
        elif entry.children is None:
            scale.file(entry.name, _size_of(entry))
        else:
            progress.raise_if_cancelled()
            scale.enter(entry.name)
            levels.append(iter(entry.children()))
    return scale.plan()


def plan_from_tree(
    read_tree: Callable[[str], list[Node]], tree: str, goal: ShardGoal, progress: Progress, afterwards: Collection[str]
) -> ShardPlan:
    """Weigh the trees of a snapshot but for what is read afterwards; raises DamageError when one cannot be read."""
    scale = Scale(goal)
    levels: list[Iterator[Node]] = [iter([node for node in read_tree(tree) if node.name not in afterwards])]
    while levels:
        node = next(levels[-1], None)
        if node is None:
            levels.pop()
            if levels:
                scale.leave()
        elif node.type != "dir":
            scale.file(node.name, node.size)
        else:
            progress.raise_if_cancelled()
            scale.enter(node.name)
            levels.append(iter(read_tree(node.subtree) if node.subtree else ()))
    return scale.plan()


def _size_of(entry: Entry) -> int:
    if entry.status is not None:
        return entry.status.st_size
    return entry.node.size if entry.node.type == "file" else 0
