"""The folder of a base backup in its snapshot: FOLDER/SOURCE with data, tablespaces and the record of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from edurise_backup.model.cluster import FOLDER, RECORD, ClusterDatabase, ClusterRecord, DamagedFile, encode_record
from edurise_backup.model.content import Node, go_mode, rfc3339
from edurise_backup.ports import Entry
from edurise_backup.postgres.cluster_facts import relation_name
from edurise_backup.postgres.connection import Address
from edurise_backup.sources.files import group_name, user_name
from edurise_backup.sources.generated import GeneratedContent

_SHOWN_PAGES = 8


class ClusterFolder:
    """Makes the entries that are no files of the cluster; `moment` (nanoseconds since 1970) is their time."""

    def __init__(self, source: str, moment: int) -> None:
        self._source = source
        self._time = rfc3339(moment)
        self._owner = (os.getuid(), os.getgid())

    def own(self, uid: int, gid: int) -> None:
        """Have what is made from now on belong to the server's user, who must be able to read it after a restore."""
        self._owner = (uid, gid)

    def root(self, children: Callable[[ClusterFolder], Iterator[Entry]]) -> Entry:
        """Return `/` down to the cluster's folder, whose children come in the order in which they must be read."""
        entry = Entry(self._node(self._source, 0o40700), self._source, lambda: children(self), ordered=False)
        for name in [*reversed(FOLDER.strip("/").split("/")), "/"]:
            entry = self.folder(name, partial(_only, entry))
        return entry

    def folder(self, name: str, children: Callable[[], Iterator[Entry]], *, ordered: bool = True) -> Entry:
        """Return a folder of our own."""
        return Entry(self._node(name, 0o40700), name, children, ordered=ordered)

    def file(self, name: str, content: bytes) -> Entry:
        """Return a file with content that the server gave, byte for byte."""
        node = self._node(name, 0o100600)
        node.size = len(content)
        return Entry(node, name, opener=lambda: GeneratedContent(node, iter([content])))

    def record(self, record: ClusterRecord) -> Entry:
        """Return the record's file."""
        return self.file(RECORD, encode_record(record))

    def _node(self, name: str, st_mode: int) -> Node:
        kind, mode = go_mode(st_mode)
        return Node(
            name=name,
            type=kind,
            mode=mode,
            mtime=self._time,
            atime=self._time,
            ctime=self._time,
            uid=self._owner[0],
            gid=self._owner[1],
            user=user_name(self._owner[0]),
            group=group_name(self._owner[1]),
            content=[] if kind == "file" else None,
        )


def relation_of(address: Address, databases: list[ClusterDatabase], path: str) -> str | None:
    """Return the relation, with its database, of a file in the data directory; None where it cannot be told."""
    *_, folder, file = path.split("/")
    node = file.partition(".")[0].partition("_")[0]
    names = {str(database.oid): database.name for database in databases}
    database = names.get(folder, address.database if folder == "global" else None)
    relation = relation_name(address, database, int(node)) if database and node.isdecimal() else None
    return f"{database}: {relation}" if relation else None


def damage_told(source: str, damaged: Sequence[DamagedFile]) -> list[str]:
    """Return a sentence for each file with damaged pages."""
    return [
        f"{source}: {one.relation} ({one.path}) is damaged on the server's disk: {_pages(one.pages)} a wrong checksum; "
        "it is in the backup as it is. Bring the relation back from an older backup, and look after that disk"
        for one in damaged
    ]


def _pages(pages: Sequence[int]) -> str:
    if len(pages) == 1:
        return f"page {pages[0]} has"
    more = f" and {len(pages) - _SHOWN_PAGES} more" if len(pages) > _SHOWN_PAGES else ""
    return f"pages {', '.join(map(str, pages[:_SHOWN_PAGES]))}{more} have"


def _only(entry: Entry) -> Iterator[Entry]:
    yield entry
