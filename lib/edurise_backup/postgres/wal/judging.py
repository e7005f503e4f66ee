"""Tell what a committed transaction did to relations, from what the log shows of it.

DROP, TRUNCATE and everything that rewrites a table look alike in a commit: a
file goes, maybe another one came. What tells them apart is pg_class:
- a row deleted: the relation was dropped;
- a row that got a new file directly: TRUNCATE (of an index: REINDEX);
- a row that took over the file of a table called pg_temp_<its oid>: VACUUM
  FULL, CLUSTER, REFRESH or ALTER TABLE (`cluster.c`).
Where the rows are not known, a file that nothing came for was dropped, and
the rest is "rewritten" and said to be uncertain. Indexes and TOAST tables go
with their table and are left out where they are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from edurise_backup.postgres.wal.facts import Event, EventKind, File
from edurise_backup.postgres.wal.transactions import OpenTransaction, RowWritten

FIRST_OF_USERS = 16384
"""Smaller oids and file numbers are the system catalogs'."""
LARGE_OBJECTS = 2613
"""The file of pg_largeobject, which is a catalog and holds what people stored (until a rewrite moves it)."""
_TRANSIENT = re.compile(r"pg_temp_(\d+)\Z")
_TABLES = frozenset("rm")
_SEQUENCE = "S"


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit record."""

    xid: int
    time: datetime
    lsn: int
    end: int
    dropped: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What the rows of pg_class say, by the relation's oid or the old file's number."""

    gone: dict[int, RowWritten]
    """Rows deleted, by their file."""
    renewed: dict[int, RowWritten]
    """Rows that existed and have another file now, by the old file where that is known, else by minus their oid."""
    rewritten: frozenset[int]
    """Oids whose new file was filled as a transient table."""
    new_toast: int
    """How many TOAST tables came with the new files: as many went, each with its index."""


def judge(commit: Commit, did: OpenTransaction, *, threshold: int) -> Iterator[Event]:
    """Yield what the transaction did; `threshold`: from how many rows a DELETE or UPDATE is told."""
    event = partial(Event, xid=commit.xid, time=commit.time, commit_lsn=commit.lsn, commit_end=commit.end)
    for which, database in did.databases:
        yield event(kind=EventKind(which), database=database)
    created, dropped = set(did.created), set(commit.dropped)
    for file, (deletes, updates) in did.changes.items():
        catalog = file.number < FIRST_OF_USERS and file.number != LARGE_OBJECTS
        if catalog or file in created or file in dropped:
            continue
        for kind, rows in ((EventKind.BULK_DELETE, deletes), (EventKind.BULK_UPDATE, updates)):
            if rows >= threshold:
                yield event(kind=kind, database=file.database, file=file, rows=rows)
    gone = [file for file in commit.dropped if file not in created and file.number >= FIRST_OF_USERS]
    if gone:
        for file, kind, row, certain in _fates(gone, created - dropped, did):
            yield event(
                kind=kind,
                database=file.database,
                file=file,
                relation=row.oid if row else 0,
                name=row.name if row else "",
                namespace=row.namespace if row else 0,
                relation_kind=row.kind if row else "",
                certain=certain,
            )


_Fate = tuple[File, EventKind, RowWritten | None, bool]


def _fates(gone: list[File], came: set[File], did: OpenTransaction) -> Iterator[_Fate]:
    evidence = _evidence(did, {file.number for file in gone}, {file.number for file in came})
    tables_dropped = any(row.kind in _TABLES for row in evidence.gone.values())
    unknown: list[File] = []
    for file in gone:
        renewed, deleted = evidence.renewed.get(file.number), evidence.gone.get(file.number)
        if renewed is not None:
            if renewed.kind in _TABLES:
                yield file, _how(renewed, file, evidence, did), renewed, True
        elif deleted is None:
            unknown.append(file)
        elif deleted.kind in _TABLES or (deleted.kind == _SEQUENCE and not tables_dropped):
            yield file, EventKind.DROP, deleted, True
    if len(unknown) != 2 * evidence.new_toast:
        yield from _guesses(unknown, came, evidence, did)


def _how(row: RowWritten, file: File, evidence: _Evidence, did: OpenTransaction) -> EventKind:
    moved = any(new.number == row.number and new.tablespace != file.tablespace for new in did.created)
    return EventKind.REWRITTEN if row.oid in evidence.rewritten or moved else EventKind.TRUNCATE


def _guesses(unknown: list[File], came: set[File], evidence: _Evidence, did: OpenTransaction) -> Iterator[_Fate]:
    """Yield the fate of files whose rows are not known."""
    unpaired = [row for place, row in evidence.renewed.items() if place < 0 and row.kind in _TABLES]
    if len(unknown) == 1 and len(unpaired) == 1:
        yield unknown[0], _how(unpaired[0], unknown[0], evidence, did), unpaired[0], True
        return
    nothing_came = not came and not evidence.renewed
    truncated = did.truncated or (unpaired and not evidence.rewritten)
    kind = EventKind.DROP if nothing_came else EventKind.TRUNCATE if truncated else EventKind.REWRITTEN
    for file in unknown:
        yield file, kind, None, nothing_came


def _evidence(did: OpenTransaction, gone: set[int], came: set[int]) -> _Evidence:
    inserted = {row.oid for row in did.rows if row.how == "insert"}
    parents = {row.oid: int(match[1]) for row in did.rows if (match := _TRANSIENT.match(row.name))}
    old: dict[int, int] = {}
    last: dict[int, RowWritten] = {}
    for row in did.rows:
        number = row.number if row.oid in parents else row.was
        if number in gone:
            old.setdefault(parents.get(row.oid, row.oid), number)
        if row.oid not in parents and row.oid not in inserted and row.how == "update":
            last[row.oid] = row
    deleted = {row.oid for row in did.rows if row.how == "delete"}
    renewed = {
        old.get(oid, -oid): row
        for oid, row in last.items()
        if oid not in deleted and (row.number in came or (oid in old and row.number != old[oid]))
    }
    toast = sum(row.how == "insert" and row.kind == "t" for row in did.rows)
    removed = {row.number: row for row in did.rows if row.how == "delete" and row.oid not in parents}
    return _Evidence(removed, renewed, frozenset(parents.values()), toast if parents else 0)
