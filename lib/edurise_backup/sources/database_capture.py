"""Hold one database still, as one exported snapshot, while it is dumped and counted.

The session that exported the snapshot stays open, and keeps every table from
being dropped, truncated or rewritten. What was truncated between the snapshot
and the lock would be empty in every dump, so such a snapshot is given up and
taken anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

import psycopg
from psycopg import sql

from edurise_backup.errors import SourceError, TransientError
from edurise_backup.model.content import rfc3339
from edurise_backup.model.database import (
    CHECKSUM_RULE,
    DatabaseProperties,
    DatabaseRecord,
    Extension,
    ObjectFacts,
    SequenceFacts,
    TableFacts,
    folder_name,
)
from edurise_backup.postgres import facts
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.counters import Counted, Counting
from edurise_backup.postgres.counting import read_sequence
from edurise_backup.postgres.session import Connection, close_quietly, fetch, reading_session, translated

MAIN_ARCHIVE = "archive.pgdump"
BESIDE_DATABASES = ("globals.json", "globals.sql")
"""Files of the folder that also holds a folder for each database."""

_TRIES = 3
_NAME_LIMIT = 200  # of 255 bytes that a file name may have

_BEGIN = """
SELECT pg_catalog.pg_export_snapshot(), pg_catalog.clock_timestamp(),
       (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
             ELSE pg_catalog.pg_current_wal_lsn() END)::text
"""
_Values = list[tuple[int, bool]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An exported snapshot: its name for other sessions, its moment and its place in the WAL."""

    name: str
    moment: datetime
    lsn: str

    @property
    def time(self) -> str:
        """The moment as RFC 3339 in UTC."""
        return rfc3339(int(self.moment.timestamp()) * 10**9 + self.moment.microsecond * 1000)


@dataclass(frozen=True, slots=True)
class Contents:
    """What the catalog says about the database, read in the snapshot."""

    properties: DatabaseProperties
    extensions: list[Extension]
    objects: list[ObjectFacts]
    sequences: list[facts.Sequence]
    system_identifier: str | None


class DatabaseCapture:
    """One database, from its snapshot to its record."""

    def __init__(
        self, address: Address, name: str, *, folder: str, large_table_bytes: int, lock_timeout: timedelta
    ) -> None:
        """Connect, take the snapshot and lock every table.

        Raises UnreachableError; SourceError when rights are missing;
        TransientError when a table stays locked.
        """
        self.name = name
        self.folder = f"{folder}/{_folder(name)}"
        self.address = address.with_database(name)
        self._lock_timeout = lock_timeout
        self._counting: Counting | None = None
        self._starting = threading.Lock()
        self._holder, self.snapshot, self.relations = self._hold()
        try:
            self.server_version = facts.server_version(self._holder)
            self.contents = self._read_contents()
            self._before = self._sequence_values()
            sizes = facts.read_sizes(self._holder, self.relations)
        except psycopg.Error as error:
            self.close()
            raise translated(error, f"the database {name}") from error
        self._sizes = {relation.oid: size for relation, size in zip(self.relations, sizes, strict=True)}
        self.large = self._large_archives(large_table_bytes)

    def _hold(self) -> tuple[Connection, Snapshot, list[facts.Relation]]:
        for _ in range(_TRIES):
            connection = reading_session(self.address, self.name, lock_timeout=self._lock_timeout)
            try:
                name, moment, lsn = fetch(connection, _BEGIN)[0]
                relations = facts.read_relations(connection)
                self._lock(connection, relations)
                lockable = [one for one in relations if one.lockable]
                self._refuse_hidden_rows(connection, lockable)
                if not facts.rewritten_since(connection, lockable):
                    moment = cast("datetime", moment).astimezone(UTC)
                    return connection, Snapshot(cast("str", name), moment, cast("str", lsn)), relations
            except psycopg.Error as error:
                connection.close()
                raise translated(error, f"the database {self.name}") from error
            except BaseException:
                connection.close()
                raise
            connection.close()
        raise TransientError(
            f"tables of the database {self.name} were truncated or rewritten {_TRIES} times while its backup began",
            safe="nothing was changed",
            hint="try again when the schema changes have ended",
        )

    def _lock(self, connection: Connection, relations: list[facts.Relation]) -> None:
        for relation in relations:
            if not relation.lockable:
                continue
            table = sql.Identifier(relation.schema, relation.name)
            try:
                connection.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(table))
            except psycopg.errors.UndefinedTable as error:
                raise TransientError(
                    f"the table {relation.full_name} was dropped while the backup of {self.name} began",
                    safe="nothing was changed",
                    hint="try again",
                ) from error
            except psycopg.Error as error:
                raise translated(error, f"the table {relation.full_name} of {self.name}") from error

    def _refuse_hidden_rows(self, connection: Connection, relations: list[facts.Relation]) -> None:
        if hidden := facts.hidden_by_policies(connection, relations):
            raise SourceError(
                f"row-level security hides rows of {self.name} from the role {self.address.user}: "
                + ", ".join(one.full_name for one in hidden[:10]),
                safe="nothing was changed",
                hint="give the backup role BYPASSRLS",
            )

    def _read_contents(self) -> Contents:
        return Contents(
            properties=facts.read_properties(self._holder, self.name),
            extensions=facts.read_extensions(self._holder),
            objects=facts.read_objects(self._holder),
            sequences=facts.read_sequences(self._holder),
            system_identifier=facts.system_identifier(self._holder),
        )

    def _sequence_values(self) -> _Values:
        return [read_sequence(self._holder, sequence) for sequence in self.contents.sequences]

    def _large_archives(self, limit: int) -> dict[int, str]:
        large = [
            relation
            for relation in self.relations
            if relation.kind == "table" and relation.extension is None and self._sizes[relation.oid] >= limit
        ]
        width = max(4, len(str(len(large))))
        names = [f"{folder_name(one.schema)}.{folder_name(one.name)}"[:_NAME_LIMIT] for one in large]
        return {
            relation.oid: f"data/{number:0{width}}-{name}.pgdump"
            for number, (relation, name) in enumerate(zip(large, names, strict=True), 1)
        }

    @property
    def has_user_content(self) -> bool:
        """Whether anybody made anything in this database."""
        return facts.has_user_content(self._holder)

    def start_counting(self, *, workers: int, keep_on: Callable[[], None]) -> None:
        """Begin to count rows in sessions of their own; `keep_on` is called now and then and may raise to stop."""
        with self._starting:
            if self._counting is None:
                wanted = [one for one in self.relations if one.countable]
                self._counting = Counting(
                    sorted(wanted, key=lambda one: -self._sizes[one.oid]),
                    open_session=lambda: reading_session(
                        self.address, self.name, lock_timeout=self._lock_timeout, snapshot=self.snapshot.name
                    ),
                    workers=workers,
                    keep_on=keep_on,
                )

    def record(self, *, dump_major: int, dumped: Future[str]) -> DatabaseRecord:
        """Wait for the counts and for the main archive's end, and return everything that is known.

        Raises what counting or dumping raised.
        """
        assert self._counting is not None
        counted = self._counting.result()
        dumped.result()
        try:
            after = self._sequence_values()
        except psycopg.Error as error:
            raise translated(error, f"the sequences of {self.name}") from error
        return DatabaseRecord(
            name=self.name,
            folder=self.folder,
            server_version=self.server_version,
            server_major=self._holder.info.server_version // 10000,
            dump_major=dump_major,
            system_identifier=self.contents.system_identifier,
            lsn=self.snapshot.lsn,
            snapshot_time=self.snapshot.time,
            properties=self.contents.properties,
            extensions=self.contents.extensions,
            checksum_rule=CHECKSUM_RULE,
            tables=[self._table(relation, counted) for relation in self.relations],
            sequences=[
                SequenceFacts(one.schema, one.name, *before, *later)
                for one, before, later in zip(self.contents.sequences, self._before, after, strict=True)
            ],
            large_objects=counted.large_objects,
            objects=self.contents.objects,
            archives=[MAIN_ARCHIVE, *self.large.values()],
        )

    def _table(self, relation: facts.Relation, counted: Counted) -> TableFacts:
        rows, checksum = counted.tables.get(relation.oid, (None, None))
        return TableFacts(
            schema=relation.schema,
            name=relation.name,
            kind=relation.kind,
            unlogged=relation.unlogged,
            bytes=self._sizes[relation.oid],
            extension=relation.extension,
            rows=rows,
            checksum=checksum,
            archive=self.large.get(relation.oid),
        )

    def close(self) -> None:
        """Stop counting and let go of the snapshot and the locks."""
        if self._counting is not None:
            self._counting.stop()
        close_quietly(self._holder)


def _folder(name: str) -> str:
    folder = folder_name(name)
    return folder.replace(".", "%2E") if folder in BESIDE_DATABASES else folder
