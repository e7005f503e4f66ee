"""The tables that are asked for, found in both databases and matched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from edurise_backup.errors import InputError, NotFoundError
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.session import Connection, close_quietly, reading_session
from edurise_backup.recovery.rescue.conditions import check_condition, said_of_table
from edurise_backup.recovery.rescue.matching import TableMatch, match_shapes
from edurise_backup.recovery.rescue.reading_shapes import partitions_of, table_shape
from edurise_backup.recovery.rescue.shapes import Wanted
from edurise_backup.recovery.rescue.sides import Side

LOCK_TIMEOUT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Pair:
    """A table of both databases with what was asked of it."""

    wanted: Wanted
    match: TableMatch
    there: Side
    here: Side | None
    """None: the table does not exist here."""


@contextmanager
def reading_both(sandbox: Address, live: Address, lock_timeout: timedelta) -> Iterator[tuple[Connection, Connection]]:
    """Yield sessions there and here, each in one snapshot and read-only; raises UnreachableError, SourceError."""
    there = reading_session(sandbox, sandbox.database, lock_timeout=lock_timeout)
    try:
        here = reading_session(live, live.database, lock_timeout=lock_timeout)
        try:
            yield there, here
        finally:
            close_quietly(here)
    finally:
        close_quietly(there)


def read_pairs(there: Connection, here: Connection, tables: Sequence[Wanted]) -> list[Pair]:
    """Return the tables with their matches, conditions checked; raises InputError, NotFoundError, SourceError."""
    if not tables or len({wanted.table for wanted in tables}) < len(tables):
        raise InputError("name one table or more, each once", safe="nothing was changed")
    pairs = []
    for wanted in tables:
        with said_of_table(wanted.table):
            pairs.append(_read_pair(there, here, wanted))
    _check_partitions(there, pairs)
    return pairs


def _read_pair(there: Connection, here: Connection, wanted: Wanted) -> Pair:
    theirs = table_shape(there, *wanted.table)
    if theirs is None:
        raise NotFoundError(
            f"there was no table {wanted.table} at that moment",
            safe="nothing was changed",
            hint="check the name (it is case-sensitive), or choose another moment",
        )
    ours = table_shape(here, *wanted.table)
    for connection, shape in ((there, theirs), (here, ours)):
        if shape is not None:
            check_condition(connection, wanted)
    match = match_shapes(theirs, ours)
    return Pair(wanted, match, Side(there, theirs, match), Side(here, ours, match) if ours is not None else None)


def _check_partitions(there: Connection, pairs: Sequence[Pair]) -> None:
    names = {pair.wanted.table for pair in pairs}
    for pair in pairs:
        twice = names.intersection(partitions_of(there, pair.wanted.table)) if pair.match.there.partitioned else set()
        if twice:
            raise InputError(
                f"{min(twice)} is a partition of {pair.wanted.table}",
                safe="nothing was changed",
                hint="name the partitioned table only",
            )
