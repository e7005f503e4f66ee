"""A base backup that the server sends: nothing but the right to replicate is needed.

The stream has an order of its own: tablespaces first, then the data directory,
`pg_control` behind everything else and the WAL behind that. It is offered as it
comes; only `global`, a small directory to which pg_control belongs, is kept in
memory until then.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

from edurise_backup.errors import SourceError
from edurise_backup.model.cluster import DATA, TABLESPACES, ClusterRecord, DamagedFile, Tablespace
from edurise_backup.model.content import Node, go_mode, rfc3339
from edurise_backup.model.paging import RELATION_FILE, PageCheck, Paged
from edurise_backup.model.wal import format_lsn
from edurise_backup.ports import Content, Entry, Progress
from edurise_backup.postgres.backup_session import LABEL
from edurise_backup.postgres.cluster_facts import ClusterFacts, read_cluster, read_databases, refuse_impossible
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.control_file import parse_control
from edurise_backup.postgres.replication import Position, ReplicationSession
from edurise_backup.sources.cluster.entries import LiveEntry
from edurise_backup.sources.cluster.manifest import check_manifest
from edurise_backup.sources.cluster.record import ClusterFolder, damage_told, relation_of
from edurise_backup.sources.cluster.rules import CONTROL_FILE, relation_file
from edurise_backup.sources.cluster.settings import CUT, WAL_CUT
from edurise_backup.sources.cluster.tar_stream import Member, Seen, TarStream
from edurise_backup.sources.generated import GeneratedContent

_MOST_IN_MEMORY = 1024 * 1024 * 1024


class StreamedCluster:
    """A `Source`; as a context manager it holds the connection over which everything comes."""

    def __init__(self, address: Address, *, name: str, progress: Progress, cut: int = CUT, fast: bool = True) -> None:
        self.name = name
        self.record: ClusterRecord | None = None
        self._address = address
        self._progress = progress
        self._cut = cut
        self._fast = fast
        self._damaged: list[DamagedFile] = []
        self._seen: dict[str, Seen] = {}
        self._wal: list[str] = []
        self._control = b""

    def __enter__(self) -> StreamedCluster:
        with closing(connect(self._address, autocommit=True)) as connection:
            self._facts: ClusterFacts = read_cluster(connection)
            refuse_impossible(self._facts, self.name)
            self._databases = read_databases(self._address, connection)
        self._session = ReplicationSession(self._address)
        try:
            self._session.reserve(f"edurise_backup_{os.getpid()}")
            self._progress.phase(f"checkpoint of {self.name}")
            self._start, parts = self._session.base_backup(LABEL, fast=self._fast)
            self._stream = TarStream(parts, self._progress.raise_if_cancelled)
        except BaseException:
            self._session.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def root(self) -> Entry:
        """Return `/`, down to the cluster's folder."""
        self._progress.phase(f"cluster {self.name}")
        return ClusterFolder(self.name, int(self._facts.now.timestamp()) * 1_000_000_000).root(self._children)

    def problems(self) -> list[str]:
        """Return what is damaged on the server's disk."""
        return damage_told(self.name, self._damaged)

    def why_full(self, before: ClusterRecord) -> str:
        """Everything is sent, so everything is read; what is stored is new only where it differs."""
        return ""

    def _children(self, folder: ClusterFolder) -> Iterator[Entry]:
        spaces: list[Tablespace] = []
        yield folder.folder(TABLESPACES, lambda: self._spaces(folder, spaces), ordered=False)
        first = self._stream.peek()
        if first is not None:
            folder.own(first.header.uid, first.header.gid)
        yield folder.folder(DATA, lambda: self._data(folder), ordered=False)
        manifest, end = self._stream.manifest()
        check_manifest(manifest, self._seen)
        yield folder.file("backup_manifest", manifest)
        self.record = self._recorded(spaces, end)
        yield folder.record(self.record)

    def _spaces(self, folder: ClusterFolder, spaces: list[Tablespace]) -> Iterator[Entry]:
        names = {space.oid: space.name for space in self._facts.tablespaces}
        while (archive := self._stream.next_archive()) is not None and archive.tablespace is not None:
            oid = archive.tablespace
            spaces.append(Tablespace(oid, names.get(oid, str(oid)), archive.location))
            yield folder.folder(str(oid), partial(self._below, "", f"pg_tblspc/{oid}/"), ordered=False)
        if archive is None:
            raise SourceError("the server sent no data directory", safe="nothing was published")

    def _data(self, folder: ClusterFolder) -> Iterator[Entry]:
        kept: dict[str, list[tuple[Member, bytes]]] = {"global": [], "pg_wal": []}
        yield from self._below("", "", kept)
        yield folder.folder("global", lambda: self._from_memory(kept["global"]), ordered=False)
        if self._stream.peek() is not None:
            yield folder.folder("pg_wal", lambda: self._segments(folder, kept["pg_wal"]), ordered=False)

    def _below(
        self, above: str, prefix: str, kept: dict[str, list[tuple[Member, bytes]]] | None = None
    ) -> Iterator[Entry]:
        """Yield what comes next below a directory; `kept` takes the directories that are offered later."""
        while (member := self._stream.peek()) is not None:
            folder, _, name = member.name.rpartition("/")
            if kept is not None and (top := member.name.partition("/")[0]) in kept:
                if self._wal_begins(member):
                    return
                kept[top].append((self._stream.take(), self._bytes(member, prefix)))
                continue
            if folder != above:
                return
            self._stream.take()
            yield from self._entry(member, name, prefix)

    def _wal_begins(self, member: Member) -> bool:
        return member.header.isreg() and member.name.startswith("pg_wal/")

    def _entry(self, member: Member, name: str, prefix: str) -> Iterator[Entry]:
        node = _node(member, name)
        path = prefix + member.name
        if member.header.isdir():
            yield Entry(node, path, lambda: self._below(member.name, prefix), ordered=False)
            return
        if not member.header.isreg():
            yield Entry(node, path)
            return
        yield self._file(path, node, partial(self._stream.content, node, partial(self._note, path)))
        self._stream.await_reader()

    def _file(self, path: str, node: Node, opener: Callable[[], Content]) -> LiveEntry:
        entry = LiveEntry(node, path, opener)
        folder, _, name = path.rpartition("/")
        relation = relation_file(folder, name)
        check = None
        if relation is not None and self._facts.data_checksums:
            block = self._facts.block_size
            check = PageCheck(relation[1] * (RELATION_FILE // block), self._start.lsn, block)
            entry.damaged = lambda pages: self._damaged.append(self._named(path, pages))
        entry.paged = Paged(self._cut, check)
        return entry

    def _bytes(self, member: Member, prefix: str) -> bytes:
        """Return a file's bytes, for a directory that is offered later."""
        if not member.header.isreg():
            return b""
        if member.header.size > _MOST_IN_MEMORY:
            raise SourceError(f"{member.name} has {member.header.size} bytes", safe="nothing was published")
        found: list[Seen] = []
        content = self._stream.content(_node(member, member.name), found.append)
        room = memoryview(bytearray(member.header.size))
        at = 0
        while at < len(room):
            at += content.readinto(room[at:])
        content.finish()
        content.close()
        self._note(prefix + member.name, found[0])
        return bytes(room)

    def _from_memory(self, members: list[tuple[Member, bytes]]) -> Iterator[Entry]:
        for member, content in members:
            if member.header.isreg():
                node = _node(member, member.name.rpartition("/")[2])
                if member.name == CONTROL_FILE:
                    self._control = content
                yield self._file(member.name, node, partial(_opened, node, content))

    def _segments(self, folder: ClusterFolder, above: list[tuple[Member, bytes]]) -> Iterator[Entry]:
        for member, _ in above:
            if member.name.count("/") == 1:
                yield folder.folder(member.name.rpartition("/")[2], lambda: iter(()))
        while (found := self._stream.peek()) is not None:
            self._stream.take()
            name = found.name.rpartition("/")[2]
            if found.name.count("/") == 1 and found.header.isreg():
                self._wal.append(name)
                node = _node(found, name)
                entry = LiveEntry(node, found.name, partial(self._stream.content, node, _forget))
                entry.paged = Paged(WAL_CUT)
                yield entry
                self._stream.await_reader()
            elif found.header.isreg() and not found.header.size:
                self._note(found.name, Seen(0, 0))  # that a segment was archived: it says nothing of the copy

    def _note(self, path: str, seen: Seen) -> None:
        self._seen[path] = seen

    def _named(self, path: str, pages: list[int]) -> DamagedFile:
        return DamagedFile(path, relation_of(self._address, self._databases, path) or path, pages)

    def _recorded(self, spaces: list[Tablespace], end: Position) -> ClusterRecord:
        facts, control = self._facts, parse_control(self._control)
        return ClusterRecord(
            name=self.name,
            method="protocol",
            system_identifier=control.system_identifier,
            server_version=facts.settings.get("server_version", str(facts.major)),
            server_major=facts.major,
            catalog_version=control.catalog_version,
            timeline=self._start.timeline,
            start_lsn=format_lsn(self._start.lsn),
            start_time=facts.now.astimezone(UTC),
            stop_lsn=format_lsn(end.lsn),
            stop_time=self._server_time().astimezone(UTC),
            segment_size=facts.segment_size,
            block_size=facts.block_size,
            data_checksums=facts.data_checksums,
            data_directory=facts.data_directory or "",
            settings=facts.settings,
            superuser=facts.superuser,
            databases=self._databases,
            tablespaces=spaces,
            wal=sorted(name for name in self._wal if not name.endswith(".history")),
            damaged=list(self._damaged),
            next_xid=control.next_xid,
        )

    def _server_time(self) -> datetime:
        with closing(connect(self._address, autocommit=True)) as connection:
            return read_cluster(connection).now


def _node(member: Member, name: str) -> Node:
    header = member.header
    bits = {tarfile.DIRTYPE: 0o040000, tarfile.SYMTYPE: 0o120000}.get(header.type, 0o100000)
    kind, mode = go_mode(bits | header.mode & 0o7777)
    moment = rfc3339(int(header.mtime) * 1_000_000_000)
    return Node(
        name=name,
        type=kind,
        mode=mode,
        mtime=moment,
        atime=moment,
        ctime=moment,
        uid=header.uid,
        gid=header.gid,
        user=header.uname,
        group=header.gname,
        linktarget=header.linkname if kind == "symlink" else "",
        size=header.size if kind == "file" else 0,
        content=[] if kind == "file" else None,
    )


def _opened(node: Node, content: bytes) -> Content:
    return GeneratedContent(node, iter([content]))


def _forget(_: Seen) -> None:
    """The WAL is in no manifest."""
