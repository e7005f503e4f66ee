"""Files that we write ourselves, as a source: an inventory, a server's settings, an export."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edurise_backup.model.content import Node, go_mode, name_bytes, rfc3339
from edurise_backup.ports import Entry, Source

Produce = Callable[[], Iterator[bytes]]
"""Yields a file's content; called when the file is read."""


class GeneratedSource:
    """Files by absolute path, each from a function; `moment` (nanoseconds since 1970) is their time.

    `problems` tells what the files do not hold although they should, a sentence each.
    """

    def __init__(self, files: Mapping[str, Produce], *, moment: int, problems: Sequence[str] = ()) -> None:
        self._files = dict(files)
        self._problems = list(problems)
        self._time = rfc3339(moment)

    def root(self) -> Entry:
        """Return `/` with the folders that the paths name."""
        return self._folder("/", {tuple(path.strip("/").split("/")): make for path, make in self._files.items()})

    def problems(self) -> list[str]:
        """Return what is missing from the files; what cannot be produced at all is an error."""
        return list(self._problems)

    def _folder(self, path: str, files: Mapping[tuple[str, ...], Produce]) -> Entry:
        def children() -> Iterator[Entry]:
            for name in sorted({names[0] for names in files}, key=name_bytes):
                child = f"{path.rstrip('/')}/{name}"
                below = {names[1:]: make for names, make in files.items() if names[0] == name}
                yield self._file(child, below[()]) if () in below else self._folder(child, below)

        return Entry(self._node(path, 0o40700), path, children=children)

    def _file(self, path: str, produce: Produce) -> Entry:
        return Entry(
            self._node(path, 0o100600), path, opener=lambda: GeneratedContent(self._node(path, 0o100600), produce())
        )

    def _node(self, path: str, st_mode: int) -> Node:
        kind, mode = go_mode(st_mode)
        return Node(
            name=os.path.basename(path),  # noqa: PTH119  a name in the snapshot, not on this host
            type=kind,
            mode=mode,
            mtime=self._time,
            atime=self._time,
            ctime=self._time,
            uid=os.getuid(),
            gid=os.getgid(),
            content=[] if kind == "file" else None,
        )


class GeneratedContent:
    """A produced file that is being read."""

    def __init__(self, node: Node, pieces: Iterator[bytes]) -> None:
        self.node = node
        self._pieces = pieces
        self._left = memoryview(b"")

    def readinto(self, buffer: memoryview, /) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def skip_hole(self, back: int, unit: int) -> int:
        """There are none."""
        return 0

    def finish(self) -> str | None:
        return None

    def close(self) -> None:
        self._left = memoryview(b"")


@dataclass(frozen=True, slots=True)
class JoinedSource:
    """Two sources as one; their first path components differ."""

    first: Source
    second: Source

    def root(self) -> Entry:
        """Return `/` with the children of both."""
        first, second = self.first.root(), self.second.root()

        def children() -> Iterator[Entry]:
            both = [*(first.children() if first.children else ()), *(second.children() if second.children else ())]
            yield from sorted(both, key=lambda entry: name_bytes(entry.node.name))

        return Entry(first.node, "/", children=children)

    def problems(self) -> list[str]:
        """Return the problems of both."""
        return [*self.first.problems(), *self.second.problems()]
