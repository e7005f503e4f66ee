"""Carry rows from the sandbox into temporary tables of the live session, by COPY, as they are found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from psycopg import sql

from edurise_backup.ports import Buffer, Progress
from edurise_backup.postgres.session import Connection
from edurise_backup.recovery.rescue.conditions import said_of_table
from edurise_backup.recovery.rescue.differences import Difference
from edurise_backup.recovery.rescue.pairs import Pair
from edurise_backup.recovery.rescue.sides import columns_of, named

_BLOCK = 1 << 16


def identifiers(names: Sequence[str]) -> sql.Composed:
    """Return a list of column names."""
    return sql.SQL(", ").join(map(sql.Identifier, names))


def carry(
    there: Connection, query: sql.Composable, here: Connection, target: sql.Composable, *, progress: Progress | None
) -> int:
    """Copy what the query gives there into the target (a table with its columns) here; return the count of rows.

    Raises psycopg.Error, CancelledError.
    """
    with there.cursor() as source, here.cursor() as sink:
        with (
            source.copy(sql.SQL("COPY ({}) TO STDOUT").format(query)) as rows,
            sink.copy(sql.SQL("COPY {} FROM STDIN").format(target)) as into,
        ):
            for block in _blocks(rows):
                if progress is not None:
                    progress.raise_if_cancelled()
                    progress.advance(bytes_done=len(block))
                into.write(block)
        return sink.rowcount


def _blocks(rows: Iterable[Buffer]) -> Iterator[bytes]:
    """Yield the rows joined: the server hands them over one by one."""
    block = bytearray()
    for row in rows:
        block += row
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    yield bytes(block)


@dataclass(frozen=True, slots=True)
class Staging:
    """The temporary tables for one table: rows to insert, rows to put back, keys of rows to delete."""

    insert: sql.Identifier
    update: sql.Identifier
    delete: sql.Identifier


class Loader:
    """Fills the temporary tables of one table that exists here."""

    def __init__(self, pair: Pair, place: int, *, progress: Progress | None) -> None:
        """`place` makes their names differ from another table's."""
        assert pair.here is not None
        self._pair = pair
        self._here = pair.here.connection
        self._progress = progress
        insert, update, delete = (sql.Identifier("pg_temp", f"rescue_{what}_{place}") for what in ("in", "set", "out"))
        self.staging = Staging(insert, update, delete)

    def create(self) -> None:
        """Make the temporary tables; they go with the transaction. Raises psycopg.Error."""
        keys = [column.name for column in self._pair.match.key]
        for name, columns in (
            (self.staging.insert, self._pair.match.columns),
            (self.staging.update, self._pair.match.columns),
            (self.staging.delete, keys),
        ):
            self._here.execute(
                sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
                    name, identifiers(columns), named(self._pair.wanted.table)
                )
            )

    def visit(self, rows: list[Difference]) -> None:
        """Take rows about which something is to be done; raises our errors."""
        with said_of_table(self._pair.wanted.table):
            self._carry([one for one in rows if one.kind == "only there"], self.staging.insert)
            self._carry([one for one in rows if one.kind == "changed"], self.staging.update)
            self._note([one for one in rows if one.kind == "only here"])

    def _carry(self, rows: list[Difference], target: sql.Identifier) -> None:
        if not rows:
            return
        there, columns = self._pair.there, self._pair.match.columns
        query = sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(columns_of("t", columns)), there.chosen([one.picked for one in rows])
        )
        into = sql.SQL("{} ({})").format(target, identifiers(columns))
        carry(there.connection, query, self._here, into, progress=self._progress)

    def _note(self, rows: list[Difference]) -> None:
        if not rows:
            return
        with (
            self._here.cursor() as cursor,
            cursor.copy(sql.SQL("COPY {} FROM STDIN").format(self.staging.delete)) as into,
        ):
            for one in rows:
                into.write_row(one.key)


def analyse(connection: Connection, staging: Staging) -> None:
    """Let the server know how many rows it will join; raises psycopg.Error."""
    for name in (staging.insert, staging.update, staging.delete):
        connection.execute(sql.SQL("ANALYZE {}").format(name))
