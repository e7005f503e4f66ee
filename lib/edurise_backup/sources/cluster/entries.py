"""Names of a running cluster: files that change while they are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from edurise_backup.model.content import Node
from edurise_backup.model.paging import Paged
from edurise_backup.model.status import Status
from edurise_backup.ports import Content, Entry


class LiveEntry(Entry):
    """A file of a running cluster; set what applies of `Entry.paged`, `damaged` and `last`."""

    __slots__ = ("damaged", "last", "paged")

    paged: Paged | None
    damaged: Callable[[list[int]], None] | None
    last: bool

    def __init__(self, node: Node, path: str, opener: Callable[[], Content]) -> None:
        super().__init__(node, path, opener=opener)
        self.paged, self.damaged, self.last = None, None, False

    @classmethod
    def of_file(
        cls, name: str, path: str, status: Status, *, describe: Callable[[Status], Node], opener: Callable[[], Content]
    ) -> Self:
        """Return a file of this machine."""
        entry = super().of_file(name, path, status, describe=describe, opener=opener)
        entry.paged, entry.damaged, entry.last = None, None, False
        return entry
