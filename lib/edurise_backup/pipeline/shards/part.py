"""One shard of a source, as a source of its own: a directory for each range."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from edurise_backup.model.content import GO_DIR, Node, name_bytes
from edurise_backup.model.shards import NameRange, Range, Way
from edurise_backup.pipeline.archiver import Archived, Parent
from edurise_backup.pipeline.reading import ArchiveStats
from edurise_backup.ports import DividedSource, Entry, Source

_NEVER = "1970-01-01T00:00:00Z"
_TOP = "the shard's own tree"


def range_name(number: int) -> str:
    """Return the name of a range's directory in a shard's tree."""
    return f"{number:08}"


class PartialSource:
    """The ranges of a shard, in their order; what is not there any more is reported."""

    def __init__(self, source: DividedSource, ranges: Sequence[Range]) -> None:
        self._source = source
        self._ranges = ranges
        self._problems: list[str] = []
        self._last: tuple[Way, Entry] | None = None
        """The directory of the last range: neighbours in a large one look for it once."""

    def root(self) -> Entry:
        """Return a directory of ranges; nothing of it but the ranges' children is the source's."""
        return Entry(_made_up("", None), "/", children=self._parts)

    def problems(self) -> list[str]:
        """Return what could not be read so far."""
        return list(dict.fromkeys([*self._source.problems(), *self._problems]))

    def _parts(self) -> Iterator[Entry]:
        for number, one in enumerate(self._ranges):
            # whether they come in order is the folder's to say, which nobody has looked for yet
            yield Entry(_made_up(range_name(number), None), "/", children=partial(self._offered, one), ordered=False)

    def _offered(self, one: Range) -> Iterable[Entry]:
        if self._last is None or self._last[0] != one.folder:
            folder = find_folder(self._source, one.folder)
            if folder is None:
                self._problems.append(f"/{'/'.join(one.folder)}: was no directory any more when its turn came")
                return ()
            self._last = one.folder, folder
        children = self._last[1].children_in(one.names)
        if one.folder:
            return children
        return (child for child in children if child.name not in self._source.afterwards)


def find_folder(source: Source, way: Way) -> Entry | None:
    """Return the directory at the end of a way, or None."""
    entry: Entry | None = source.root()
    for name in way:
        assert entry is not None
        # a bucket may have an object of the same name beside it
        found = entry.children_in(NameRange.only(name_bytes(name)))
        entry = next((child for child in found if child.children is not None), None)
        if entry is None:
            return None
    return entry


def partial_parent(parent: Parent, ranges: Sequence[Range], place: Callable[[Node], bytes]) -> Parent:
    """Return the parent of a shard: of each range what the last snapshot has there."""
    return replace(
        parent,
        tree=_TOP,
        read_tree=_Ranges(parent.read_tree, parent.tree, ranges, place),
        made_up=frozenset({_TOP, *map(range_name, range(len(ranges)))}),
    )


class _Ranges:
    """Reads trees, those of ranges, too; neighbours in one large directory are cut out of it one after the other."""

    def __init__(
        self,
        read_tree: Callable[[str], list[Node]],
        tree: str,
        ranges: Sequence[Range],
        place: Callable[[Node], bytes],
    ) -> None:
        self._read_tree = read_tree
        self._tree = tree
        self._ranges = {range_name(number): one for number, one in enumerate(ranges)}
        self._place = place
        self._last: tuple[Way, list[Node]] | None = None

    def __call__(self, tree: str) -> list[Node]:
        if tree == _TOP:
            return [_made_up(name, name) for name in self._ranges]
        one = self._ranges.get(tree)
        if one is None:
            return self._read_tree(tree)
        return [node for node in self._folder(one.folder) if self._place(node) in one.names]

    def _folder(self, way: Way) -> list[Node]:
        if self._last is None or self._last[0] != way:
            self._last = (way, nodes_at(self._read_tree, self._tree, way))
        return self._last[1]


def nodes_at(read_tree: Callable[[str], list[Node]], tree: str, way: Way) -> list[Node]:
    """Return what a tree has in the directory at the end of a way; nothing where there is none."""
    nodes = read_tree(tree)
    for name in way:
        below = next((node.subtree for node in nodes if node.name == name), None)
        if below is None:
            return []
        nodes = read_tree(below)
    return nodes


def real_stats(stats: ArchiveStats, ranges: int, *, with_parent: bool) -> ArchiveStats:
    """Take the directories that are made up out of what a shard has counted."""
    stats = replace(stats)
    stats.dirs_new -= 1 if with_parent else 1 + ranges
    stats.dirs_changed -= ranges if with_parent else 0
    return stats


def _made_up(name: str, tree: str | None) -> Node:
    return Node(
        name=name,
        type="dir",
        mode=GO_DIR | 0o700,
        mtime=_NEVER,
        atime=_NEVER,
        ctime=_NEVER,
        uid=0,
        gid=0,
        content=None,
        subtree=tree,
    )


def sum_of(parts: Iterable[Archived]) -> ArchiveStats:
    """Add up what shards have counted."""
    total = ArchiveStats()
    for part in parts:
        for name in ArchiveStats.__slots__:
            setattr(total, name, getattr(total, name) + getattr(part.stats, name))
    return total
