"""What a segment tells, as it is kept in the catalog; all times are aware UTC, all positions LSNs."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from edurise_backup.model.wal import Segment


class File(NamedTuple):
    """A relation's file as the log names it: it carries numbers, never names. The key of many mappings."""

    tablespace: int
    database: int
    """0 for what all databases share."""
    number: int
    """The relfilenode; another one after TRUNCATE, VACUUM FULL, CLUSTER, REFRESH or a rewriting ALTER TABLE."""


class EventKind(StrEnum):
    """What a transaction did that somebody may want undone."""

    DROP = "drop"
    TRUNCATE = "truncate"
    REWRITTEN = "rewritten"
    """The relation got a new file: VACUUM FULL, CLUSTER, REFRESH, ALTER TABLE; or which of all these is not known."""
    BULK_DELETE = "bulk delete"
    BULK_UPDATE = "bulk update"
    DROP_DATABASE = "drop database"
    CREATE_DATABASE = "create database"


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One such deed of one committed transaction to one relation (or database)."""

    kind: EventKind
    xid: int
    time: datetime
    commit_lsn: int
    """Where the commit record begins: recovery up to here, not inclusive, ends just before the deed."""
    commit_end: int
    """Behind the commit record."""
    database: int
    """The database's oid."""
    file: File | None = None
    """The file before the transaction; None for a database."""
    rows: int = 0
    """Rows deleted or updated, of bulk events."""
    relation: int = 0
    """The oid in pg_class, when the log told it."""
    name: str = ""
    """The relation's name without its schema, when the log told it."""
    namespace: int = 0
    """The schema's oid, with `name`."""
    relation_kind: str = ""
    """pg_class.relkind, with `name`."""
    certain: bool = True
    """Whether the log proves the kind; otherwise the file is gone, and how is a guess."""


class RelationChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of pg_class that a committed transaction wrote: the name of a file from then on."""

    database: int
    oid: int
    name: str
    namespace: int
    number: int
    """The relfilenode; 0 for what has no file, or is mapped."""
    tablespace: int
    """0 for the database's own."""
    kind: str
    """pg_class.relkind: r, i, t, m, S, p, I, v, c or f."""
    lsn: int
    """Behind the commit."""


class RestorePoint(msgspec.Struct, frozen=True):
    """A name that somebody gave to a moment (pg_create_restore_point)."""

    name: str
    time: datetime
    lsn: int
    end: int
    """Behind its record."""


class SegmentFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one segment holds: of a partial one, of its valid beginning."""

    segment: Segment
    major: int
    """The release that wrote it; 0 when nothing was written yet."""
    follows: bool
    """Whether it was read on from the segment before; False at the very first one and after a gap."""
    end_lsn: int
    """Behind the last whole record; the end of the segment when a switch ends it."""
    records: int = 0
    first_lsn: int | None = None
    last_lsn: int | None = None
    """Where the first and the last record begin that end in this segment."""
    earliest: datetime | None = None
    latest: datetime | None = None
    """Of the commits and aborts: their times are not strictly in order, `latest` is what a recovery can reach."""
    commits: int = 0
    aborts: int = 0
    commits_per_second: tuple[tuple[int, int], ...] = ()
    """Seconds since 1970 and how many commits they had; seconds without one are left out."""
    restore_points: tuple[RestorePoint, ...] = ()
    switched: bool = False
    """Whether the rest of it is empty on purpose (XLOG_SWITCH)."""
    events: tuple[Event, ...] = ()
    relations: tuple[RelationChange, ...] = ()
    """In the order of their commits."""
    forgotten: int = 0
    """How many open transactions were too many to keep in mind: their events will be missing."""
