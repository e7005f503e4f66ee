"""The databases of a PostgreSQL server as a tree of files: START HERE for dumps.

    FOLDER/globals.json, globals.sql        roles, memberships, tablespaces
    FOLDER/NAME/archive.pgdump              everything but the rows of large tables
    FOLDER/NAME/archive.toc                 its table of contents
    FOLDER/NAME/data/NNNN-SCHEMA.TABLE.pgdump   the rows of one large table each
    FOLDER/NAME/database.json, database.sql what no dump holds, and the facts that prove a restore

FOLDER is a path of the server's own, so that several servers never mix, neither
in one restored directory nor in a retention policy's groups.

Archives are streams of the server's own pg_dump, uncompressed so that equal
rows deduplicate; no byte of them touches a disk on the way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from edurise_backup.model.content import GO_DIR, Node
from edurise_backup.model.database import DatabaseRecord, Globals, encode_record
from edurise_backup.ports import Content, Entry, Progress
from edurise_backup.postgres.connection import Address, client_environment
from edurise_backup.postgres.names import exact_pattern
from edurise_backup.postgres.properties import properties_script
from edurise_backup.postgres.session import Connection, reading_session
from edurise_backup.postgres.tools import Tools
from edurise_backup.sources.database_capture import MAIN_ARCHIVE, DatabaseCapture
from edurise_backup.sources.database_choice import choose_databases
from edurise_backup.sources.database_contents import DumpContent, TextContent, Turns
from edurise_backup.sources.database_listing import check_listing

LARGE_TABLE_BYTES = 32 * 1024 * 1024
LOCK_TIMEOUT = timedelta(seconds=30)
FOLDER = "/databases"
GLOBALS = "globals.json"
GLOBALS_SCRIPT = "globals.sql"


class DatabaseSource:
    """Every database of a server, each as one exported snapshot; satisfies `ports.Source`.

    The snapshots are taken when the context is entered, one right after the
    other, and let go when it is left. `postgres` counts when anybody put
    something into it. What fails here fails the backup.
    """

    def __init__(
        self,
        address: Address,
        *,
        name: str,
        tools: Tools,
        folder: str = FOLDER,
        exclude_databases: Sequence[str] = (),
        databases: Sequence[str] | None = None,
        large_table_bytes: int = LARGE_TABLE_BYTES,
        parallel: int = 2,
        lock_timeout: timedelta = LOCK_TIMEOUT,
        progress: Progress | None = None,
    ) -> None:
        self.name = name
        self.folder = folder
        self._address = address
        self._tools = tools
        self._excluded = frozenset(exclude_databases)
        self._wanted = databases
        self._large_table_bytes = large_table_bytes
        self._parallel = parallel
        self._turns = Turns(parallel)
        self._lock_timeout = lock_timeout
        self._progress = progress
        self._problems: list[str] = []
        self._stack = ExitStack()
        self._captures: list[DatabaseCapture] = []
        self._environments: dict[str, dict[str, str]] = {}
        self._records: dict[str, DatabaseRecord] = {}
        self._globals: Globals | None = None

    def __enter__(self) -> Self:
        """Connect, and take a snapshot of every chosen database.

        Raises UnreachableError, UnsupportedVersionError, NotFoundError,
        SourceError (rights are missing), TransientError (a table is locked).
        """
        try:
            chosen = choose_databases(self._address, tools=self._tools, wanted=self._wanted, excluded=self._excluded)
            self._globals = chosen.server_globals
            self._problems += chosen.problems
            for database in chosen.names:
                self._capture(database)
            self._environments[""] = self._stack.enter_context(client_environment(self._address))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turns.close()
        self._stack.close()

    # what was captured

    @property
    def databases(self) -> list[str]:
        """The names of the databases that are captured."""
        return [capture.name for capture in self._captures]

    @property
    def snapshot_time(self) -> datetime | None:
        """The moment of the earliest snapshot, or None without a database."""
        return min((capture.snapshot.moment for capture in self._captures), default=None)

    @property
    def lsn(self) -> str | None:
        """The place in the WAL of the earliest snapshot, or None without a database."""
        first = min(self._captures, key=lambda capture: capture.snapshot.moment, default=None)
        return first.snapshot.lsn if first else None

    @property
    def records(self) -> list[DatabaseRecord]:
        """The records of the databases that were read to their end."""
        return [self._records[name] for name in sorted(self._records)]

    @property
    def globals(self) -> Globals:
        """Roles, memberships and tablespaces."""
        assert self._globals is not None, "the source is not entered"
        return self._globals

    def reading(self, database: str) -> Connection:
        """Return a further session that sees the captured snapshot of `database`; the caller closes it."""
        capture = next(one for one in self._captures if one.name == database)
        return reading_session(self._address, database, lock_timeout=self._lock_timeout, snapshot=capture.snapshot.name)

    def problems(self) -> list[str]:
        """Return what a person should know about this capture, a sentence each."""
        return list(self._problems)

    def _capture(self, database: str) -> None:
        capture = DatabaseCapture(
            self._address,
            database,
            folder=self.folder,
            large_table_bytes=self._large_table_bytes,
            lock_timeout=self._lock_timeout,
        )
        if database == "postgres" and self._wanted is None and not capture.has_user_content:
            capture.close()
            return
        self._stack.callback(capture.close)
        self._captures.append(capture)
        self._environments[database] = self._stack.enter_context(client_environment(capture.address))

    # the tree

    def root(self) -> Entry:
        """Return `/`, with the way down to the source's folder."""
        entry = self._folder(self.folder, self._top)
        for above in PurePosixPath(self.folder).parents:
            entry = self._folder(str(above), partial(iter, [entry]))
        return entry

    def _top(self) -> Iterator[Entry]:
        entries = [self._folder(one.folder, partial(self._database, one)) for one in self._captures]
        entries.append(self._text(f"{self.folder}/{GLOBALS}", lambda: encode_record(self.globals)))
        entries.append(self._entry(f"{self.folder}/{GLOBALS_SCRIPT}", self._globals_script))
        return iter(sorted(entries, key=lambda entry: entry.node.name.encode()))

    def _database(self, capture: DatabaseCapture) -> Iterator[Entry]:
        folder = capture.folder
        dumped: Future[str] = Future()
        capture.start_counting(workers=self._parallel, keep_on=self._keep_on)
        yield self._entry(f"{folder}/{MAIN_ARCHIVE}", partial(self._main_archive, capture, dumped))
        yield self._text(f"{folder}/archive.toc", lambda: dumped.result().encode())
        if capture.large:
            yield self._folder(f"{folder}/data", partial(self._data_archives, capture))
        yield self._text(f"{folder}/database.json", partial(self._record, capture, dumped))
        script = properties_script(capture.contents.properties, capture.name)
        yield self._text(f"{folder}/database.sql", script.encode)

    def _data_archives(self, capture: DatabaseCapture) -> Iterator[Entry]:
        for oid, archive in capture.large.items():
            yield self._entry(f"{capture.folder}/{archive}", partial(self._data_archive, capture, oid))

    def _record(self, capture: DatabaseCapture, dumped: Future[str]) -> bytes:
        record = capture.record(dump_major=self._tools.version.major, dumped=dumped)
        self._records[capture.name] = record
        return encode_record(record)

    # streams

    def _main_archive(self, capture: DatabaseCapture, dumped: Future[str], node: Node) -> Content:
        own = [one for one in capture.relations if one.extension is None]
        loaded = [one for one in own if one.kind == "table" and one.oid not in capture.large]
        large = [one for one in own if one.oid in capture.large]
        return self._dump(
            capture,
            ["--large-objects" if self._tools.version.major >= 16 else "--blobs"]
            + [f"--exclude-table-data={exact_pattern(one.schema, one.name)}" for one in large],
            node=node,
            listed=dumped,
            check=partial(check_listing, archive=f"{capture.folder}/{MAIN_ARCHIVE}", defined=own, loaded=loaded),
        )

    def _data_archive(self, capture: DatabaseCapture, oid: int, node: Node) -> Content:
        table = next(one for one in capture.relations if one.oid == oid)
        # a table brings the values of its own sequences along, read now and thus later than the main archive's
        own = [one for one in capture.contents.sequences if one.table == oid]
        return self._dump(
            capture,
            ["--data-only", "--strict-names", f"--table={exact_pattern(table.schema, table.name)}"]
            + [f"--exclude-table-data={exact_pattern(one.schema, one.name)}" for one in own],
            node=node,
            listed=Future(),
            check=partial(
                check_listing, archive=f"{capture.folder}/{capture.large[oid]}", loaded=[table], nothing_else=True
            ),
        )

    def _dump(
        self,
        capture: DatabaseCapture,
        options: list[str],
        *,
        node: Node,
        listed: Future[str],
        check: Callable[[str], None],
    ) -> Content:
        return self._stream(
            [
                *(self._tools.pg_dump, "--format=custom", "--compress=0", "--no-password"),
                f"--snapshot={capture.snapshot.name}",
                f"--lock-wait-timeout={int(self._lock_timeout.total_seconds() * 1000)}",
                *options,
            ],
            capture.name,
            node=node,
            listed=listed,
            listing=[self._tools.pg_restore, "--list"],
            check=check,
        )

    def _globals_script(self, node: Node) -> Content:
        command: list[str | Path] = [self._tools.pg_dumpall, "--globals-only", "--no-password"]
        command.append(f"--database={self._address.database}")
        if not self.globals.verifiers_included:
            command.append("--no-role-passwords")
        return self._stream(command, "", node=node, listed=Future())

    def _stream(
        self,
        command: Sequence[str | Path],
        database: str,
        *,
        node: Node,
        listed: Future[str],
        listing: Sequence[str | Path] = (),
        check: Callable[[str], None] | None = None,
    ) -> Content:
        content = DumpContent(
            node,
            command,
            environment=self._environments[database],
            turn=self._turns,
            listed=listed,
            report=lambda line: self._problems.append(f"{database or 'roles'}: {line}"),
            listing=listing,
            check=check,
        )
        self._stack.callback(content.close)
        return content

    # nodes

    def _text(self, path: str, make: Callable[[], bytes]) -> Entry:
        return self._entry(path, lambda node: TextContent(node, make))

    def _entry(self, path: str, open_it: Callable[[Node], Content]) -> Entry:
        node = self._node(path, "file", 0o600)
        return Entry(node, path, opener=lambda: open_it(node))

    def _folder(self, path: str, children: Callable[[], Iterable[Entry]]) -> Entry:
        return Entry(self._node(path, "dir", GO_DIR | 0o700), path, children=children)

    def _node(self, path: str, kind: str, mode: int) -> Node:
        time = min((capture.snapshot.time for capture in self._captures), default="1970-01-01T00:00:00Z")
        return Node(
            name=path.rpartition("/")[2] or "/",
            type=kind,
            mode=mode,
            mtime=time,
            atime=time,
            ctime=time,
            uid=os.geteuid(),
            gid=os.getegid(),
            content=[] if kind == "file" else None,
        )

    def _keep_on(self) -> None:
        if self._progress is not None:
            self._progress.raise_if_cancelled()
