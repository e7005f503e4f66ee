"""Join what shards have brought: the directories that were opened, with the shards' nodes in them.

It is an ordinary source for the archiver, so the trees are those of a backup
that was not cut. A directory that changed since the shards began is looked at
once more: a file that was renamed from a range that came later into one that
was done already must not be missed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import merge
from itertools import chain
from operator import itemgetter

from edurise_backup.model.content import Node, name_bytes
from edurise_backup.model.shards import NameRange, ShardPlan, Way
from edurise_backup.pipeline.shards.part import find_folder, range_name
from edurise_backup.ports import DividedSource, Entry, Source


@dataclass(frozen=True, slots=True)
class Before:
    """How the opened directories were before any shard began."""

    folders: dict[Way, Entry]

    @classmethod
    def of(cls, source: Source, plan: ShardPlan) -> Before:
        """Look at them."""
        found = {way: find_folder(source, way) for way in sorted(plan.opened)}
        return cls({way: entry for way, entry in found.items() if entry is not None})

    def holds(self, way: Way, entry: Entry) -> bool:
        """Whether a directory is as it was."""
        return way in self.folders and _times(self.folders[way]) == _times(entry)


def _times(entry: Entry) -> tuple[str, str]:
    return entry.node.mtime, entry.node.ctime


class JoinedSource:
    """The source's opened directories; `trees` are the shards' answers, by their numbers in the plan.

    `opened`: all that no shard holds whole, those that were gone before any shard began, too.
    """

    def __init__(
        self,
        source: DividedSource,
        plan: ShardPlan,
        trees: Sequence[str],
        *,
        opened: Collection[Way],
        read_tree: Callable[[str], list[Node]],
        before: Before,
    ) -> None:
        self._source = source
        self._opened: dict[Way, list[str]] = {}
        for way in opened:
            if way:
                self._opened.setdefault(way[:-1], []).append(way[-1])
        self._read_tree = read_tree
        self._before = before
        self._problems: list[str] = []
        self._ranges: dict[Way, list[tuple[NameRange, str]]] = {}
        for shard, tree in zip(plan.shards, trees, strict=True):
            answers = {node.name: node.subtree for node in read_tree(tree)}
            for number, one in enumerate(shard.ranges):
                answer = answers[range_name(number)]
                assert answer is not None
                self._ranges.setdefault(one.folder, []).append((one.names, answer))

    def root(self) -> Entry:
        """Return `/` with the shards' nodes below it."""
        return self._with_shards((), self._source.root())

    def problems(self) -> list[str]:
        """Return what the source could not read, and what is as shards have read it because it has gone since."""
        return [*self._source.problems(), *dict.fromkeys(self._problems)]

    def _with_shards(self, way: Way, entry: Entry) -> Entry:
        return Entry(entry.node, entry.path, children=partial(self._children, way, entry), ordered=entry.ordered)

    def _children(self, way: Way, entry: Entry) -> Iterable[Entry]:
        opened, brought = self._opened_in(way, entry), self._brought(way, entry.path)
        if not entry.ordered:
            told = chain(opened, brought)
            return told if self._before.holds(way, entry) else _with_rest(entry, told)
        joined = (child for _, child in merge(_named(opened), _named(brought), key=itemgetter(0)))
        return joined if self._before.holds(way, entry) else _with_late(entry, joined)

    def _opened_in(self, way: Way, entry: Entry) -> Iterator[Entry]:
        for name in sorted(self._opened.get(way, ()), key=name_bytes):
            below, found = (*way, name), False
            for child in entry.children_in(NameRange.only(name_bytes(name))):
                found = True
                if child.children is None and below in self._before.folders and entry.ordered:
                    self._problems.append(f"{child.path}: became a file during the backup, and is kept as such")
                yield child if child.children is None else self._with_shards(below, child)
            if not found and below in self._before.folders:
                yield self._as_it_was(below)
        for name in () if way else self._source.afterwards:
            yield from entry.children_in(NameRange.only(name_bytes(name)))

    def _as_it_was(self, way: Way) -> Entry:
        """Return a directory that went away after shards had read what is in it: else that would be nowhere."""
        before = self._before.folders[way]
        self._problems.append(f"{before.path}: went away during the backup; what was read of it is kept")

        def children() -> Iterator[Entry]:
            below = [(*way, name) for name in self._opened.get(way, ())]
            yield from (self._as_it_was(one) for one in below if one in self._before.folders)
            yield from self._brought(way, before.path)

        return Entry(before.node, before.path, children=children, ordered=False)

    def _brought(self, way: Way, path: str) -> Iterator[Entry]:
        """Yield what shards have brought of a directory: nodes, of which nothing is read any more."""
        for _, tree in sorted(self._ranges.get(way, ()), key=lambda one: one[0].first):
            for node in self._read_tree(tree):
                yield Entry(node, f"{path.rstrip('/')}/{node.name}")


def _named(children: Iterable[Entry]) -> Iterator[tuple[bytes, Entry]]:
    return ((name_bytes(child.name), child) for child in children)


def _with_late(entry: Entry, joined: Iterator[Entry]) -> Iterator[Entry]:
    """Add what is there now and in nobody's answer; what has gone meanwhile stays, as it was read."""
    assert entry.children is not None
    present = ((name_bytes(child.name), 1, child) for child in entry.children())
    brought = ((name_bytes(child.name), 0, child) for child in joined)
    last = None
    for name, _, child in merge(brought, present, key=itemgetter(0, 1)):
        if name != last:
            yield child
        last = name


def _with_rest(entry: Entry, joined: Iterator[Entry]) -> Iterator[Entry]:
    """Do the same where children come in another order."""
    assert entry.children is not None
    names = set[str]()
    for child in joined:
        names.add(child.name)
        yield child
    yield from (child for child in entry.children() if child.name not in names)
