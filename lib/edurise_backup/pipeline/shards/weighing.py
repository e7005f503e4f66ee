"""Weigh a source, or the snapshot that it had last, and say how it is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edurise_backup.model.content import Node
from edurise_backup.model.shards import ALL_NAMES, Scale, ShardGoal, ShardPlan
from edurise_backup.ports import Entry, Progress, Source


def plan_from_source(source: Source, goal: ShardGoal, progress: Progress) -> ShardPlan:
    """Look at every name of the source, and read none."""
    scale = Scale(goal)
    levels = [iter(source.root().children_in(ALL_NAMES))]
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


def plan_from_tree(read_tree: Callable[[str], list[Node]], tree: str, goal: ShardGoal, progress: Progress) -> ShardPlan:
    """Weigh the trees of a snapshot; raises DamageError when one cannot be read."""
    scale = Scale(goal)
    levels: list[Iterator[Node]] = [iter(read_tree(tree))]
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
