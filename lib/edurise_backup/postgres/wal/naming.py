"""Whose file it was, when: the log names files by number, a person asks for tables.

Names come from samples of a database's catalog, taken now and then, and from
the rows of pg_class that the log itself shows in between. What neither told
stays a number.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping

import msgspec
import psycopg

from edurise_backup.model.wal import Lsn, parse_lsn
from edurise_backup.postgres.session import Connection, fetch, translated
from edurise_backup.postgres.wal.facts import RelationChange

_NAMES = """
    WITH owned AS (
        SELECT indexrelid AS oid, indrelid AS owner FROM pg_catalog.pg_index
        UNION ALL
        SELECT reltoastrelid, oid FROM pg_catalog.pg_class WHERE reltoastrelid <> 0
        UNION ALL
        SELECT d.objid, d.refobjid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
          AND d.deptype IN ('a', 'i') AND s.relkind = 'S'
    )
    SELECT CASE WHEN c.relisshared THEN 0 ELSE d.oid END,
           pg_catalog.pg_relation_filenode(c.oid),
           CASE WHEN c.reltablespace = 0 THEN d.dattablespace ELSE c.reltablespace END,
           c.oid, n.oid, n.nspname, c.relname, c.relkind,
           coalesce(toasted.owner, o.owner, 0)
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
    LEFT JOIN owned o ON o.oid = c.oid
    LEFT JOIN owned toasted ON toasted.oid = o.owner
    WHERE c.relpersistence <> 't' AND pg_catalog.pg_relation_filenode(c.oid) IS NOT NULL
"""
_POSITION = """
    SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                ELSE pg_catalog.pg_current_wal_insert_lsn() END::text
"""


class FileName(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a file is called."""

    database: int
    """The database's oid; 0 for a relation that all databases share."""
    number: int
    """The relfilenode."""
    tablespace: int
    oid: int
    namespace: int
    schema: str
    """Empty when only the log told the relation, and its schema is in no sample."""
    name: str
    kind: str
    """pg_class.relkind."""
    owner: int = 0
    """The oid of the table that an index, a TOAST table (or its index) or a sequence belongs to."""

    def __str__(self) -> str:
        """Return the name for a person."""
        return f"{self.schema or f'schema {self.namespace}'}.{self.name}"


def sample(connection: Connection) -> list[FileName]:
    """Return the names of the files of the database that the connection is to; raises SourceError."""
    try:
        rows = fetch(connection, _NAMES)
    except psycopg.Error as error:
        raise translated(error, "the catalog of relations") from error
    columns = ("database", "number", "tablespace", "oid", "namespace", "schema", "name", "kind", "owner")
    return [msgspec.convert(dict(zip(columns, row, strict=True)), FileName) for row in rows]


def sample_schemas(connection: Connection) -> dict[int, str]:
    """Return every schema of the database by oid, those without a relation, too; raises SourceError."""
    try:
        rows = fetch(connection, "SELECT oid::bigint, nspname::text FROM pg_catalog.pg_namespace")
    except psycopg.Error as error:
        raise translated(error, "the schemas") from error
    return {int(str(oid)): str(name) for oid, name in rows}


def log_position(connection: Connection) -> Lsn:
    """Return where the log is now: take it before `sample`, and keep both together."""
    try:
        return parse_lsn(str(fetch(connection, _POSITION)[0][0]))
    except psycopg.Error as error:
        raise translated(error, "the position of the log") from error


class FileNames:
    """The history of files' names."""

    def __init__(self) -> None:
        self._names: dict[tuple[int, int], list[tuple[int, FileName]]] = {}
        self._schemas: dict[tuple[int, int], str] = {}
        self._owners: dict[tuple[int, int], int] = {}
        self._tables: dict[tuple[int, int], FileName] = {}

    def add(self, names: Iterable[FileName], lsn: int) -> None:
        """Take in a sample that was taken at a position of the log."""
        for name in names:
            self._schemas[name.database, name.namespace] = name.schema
            self._owners[name.database, name.oid] = name.owner
            self._keep(name, lsn)

    def add_schemas(self, database: int, schemas: Mapping[int, str]) -> None:
        """Take in the schemas of a database."""
        self._schemas.update({(database, oid): name for oid, name in schemas.items()})

    def correct(self, changes: Iterable[RelationChange]) -> None:
        """Take in what the log showed of pg_class; in the log's order."""
        for change in changes:
            if not change.number:
                continue
            known = self._tables.get((change.database, change.oid))
            tablespace = change.tablespace or (known.tablespace if known else 0)
            name = FileName(
                database=change.database,
                number=change.number,
                tablespace=tablespace,
                oid=change.oid,
                namespace=change.namespace,
                schema=self.schema(change.database, change.namespace),
                name=change.name,
                kind=change.kind,
                owner=self._owners.get((change.database, change.oid), 0),
            )
            self._keep(name, change.lsn)

    def name(self, database: int, number: int, lsn: int) -> FileName | None:
        """Return what a file was called at a position, or None when nobody told it.

        A file belongs to one relation as long as it exists: before its first
        name is known, that name is the answer.
        """
        history = self._names.get((database, number))
        if not history:
            return None
        place = bisect_right(history, lsn, key=lambda entry: entry[0])
        return history[max(0, place - 1)][1]

    def schema(self, database: int, oid: int) -> str:
        """Return a schema's name; empty when no sample told it."""
        return self._schemas.get((database, oid), "")

    def relation(self, database: int, oid: int) -> FileName | None:
        """Return the latest known name of a relation."""
        return self._tables.get((database, oid))

    def entries(self) -> Iterator[tuple[int, FileName]]:
        """Yield every name with the position from which on it holds, for keeping; `add` takes it back."""
        for history in self._names.values():
            yield from history

    def forget(self, lsn: int) -> None:
        """Let go of names that do not hold at `lsn` or later, but for the last of each file."""
        for key, history in self._names.items():
            place = bisect_right(history, lsn, key=lambda entry: entry[0])
            self._names[key] = history[max(0, place - 1) :]

    def _keep(self, name: FileName, lsn: int) -> None:
        latest = self._tables.get((name.database, name.oid))
        if latest is None or latest != name:
            self._tables[name.database, name.oid] = name
        history = self._names.setdefault((name.database, name.number), [])
        place = bisect_right(history, lsn, key=lambda entry: entry[0])
        if place == 0 or history[place - 1][1] != name:
            history.insert(place, (lsn, name))
