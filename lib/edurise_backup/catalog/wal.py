"""The log in the catalog: reception, segments, timelines, events, base backups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import msgspec
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.recovery_window import Stretch
from edurise_backup.model.wal import Lsn, format_lsn, parse_lsn
from edurise_backup.model.wal_status import (
    Arrival,
    BaseBackup,
    SegmentRow,
    TimelineRow,
    WalEvent,
    WalStatus,
)

_T = TypeVar("_T", WalStatus, SegmentRow, Stretch, WalEvent, TimelineRow, BaseBackup)
_LSNS = frozenset(
    {"server_lsn", "received_lsn", "shipped_lsn", "begin_lsn", "end_lsn", "commit_lsn", "commit_end", "switch_lsn"}
    | {"start_lsn", "stop_lsn"}
)
_STATUS = tuple(field.name for field in fields(WalStatus))
_SEGMENT = tuple(field.name for field in fields(SegmentRow))


class WalCatalog:
    """Rows of the log; writing the same twice leaves the same."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    # Reception

    def note(self, status: WalStatus) -> None:
        """Write how a reception stands."""
        self._write("wal_sources", _STATUS, [asdict(status)], key=("source",))

    def statuses(self) -> tuple[WalStatus, ...]:
        """Return how each reception stands, by name."""
        return self._read(WalStatus, "SELECT * FROM wal_sources ORDER BY source")

    # What arrived

    def arrived(self, arrivals: Sequence[Arrival]) -> None:
        """Write what segments hold; what was known of the same segment, when it was shorter, is replaced."""

        def work(connection: Connection) -> None:
            for arrival in arrivals:
                row = arrival.segment
                place = (row.source, row.system_identifier, row.timeline)
                query = "DELETE FROM wal_events WHERE (source, system_identifier, timeline, number) = (%s, %s, %s, %s)"
                connection.execute(query, (*place, row.number))
                _insert(connection, "wal_segments", _SEGMENT, [asdict(row)], key=_SEGMENT_KEY)
                events = [{**asdict(event), **_place(row)} for event in arrival.events]
                _insert(connection, "wal_events", _EVENT, events, key=_EVENT_KEY)
                reader = {"state": arrival.reader, **_place(row)}
                _insert(connection, "wal_readers", ("state", *_READER_KEY), [reader], key=_READER_KEY)

        self._sessions.run(work)

    def reader(self, source: str, system: str, timeline: int) -> bytes | None:
        """Return what the reader of a timeline kept in mind, or None."""
        query = "SELECT state FROM wal_readers WHERE (source, system_identifier, timeline) = (%s, %s, %s)"

        def read(connection: Connection) -> bytes | None:
            row = connection.execute(query, (source, system, timeline)).fetchone()
            return bytes(row[0]) if row and isinstance(row[0], bytes) else None

        return self._sessions.run(read)

    def has_segment(self, source: str, system: str, timeline: int, number: int) -> bool:
        """Whether a whole segment is known."""
        query = """SELECT EXISTS (SELECT FROM wal_segments WHERE complete
                   AND (source, system_identifier, timeline, number) = (%s, %s, %s, %s))"""

        def read(connection: Connection) -> bool:
            row = connection.execute(query, (source, system, timeline, number)).fetchone()
            return bool(row and row[0])

        return self._sessions.run(read)

    def branched(self, source: str, system: str, rows: Sequence[TimelineRow], now: datetime) -> None:
        """Write where timelines left their parents."""
        values = [{**asdict(row), "source": source, "system_identifier": system, "seen_at": now} for row in rows]
        columns = ("source", "system_identifier", "timeline", "parent", "switch_lsn", "reason", "seen_at")
        self._write("wal_timelines", columns, values, key=_READER_KEY)

    def trimmed(self, source: str, system: str, below: int) -> None:
        """Forget segments and events before a segment's number: they are not in the repository any more."""

        def work(connection: Connection) -> None:
            for table in ("wal_segments", "wal_events"):
                query = sql.SQL("DELETE FROM {} WHERE source = %s AND system_identifier = %s AND number < %s")
                connection.execute(query.format(sql.Identifier(table)), (source, system, below))

        self._sessions.run(work)

    def segments(
        self, source: str, system: str, *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[SegmentRow, ...]:
        """Return segments in the order of the log; only those with commits in a span of time, if one is given."""
        query = """SELECT * FROM wal_segments WHERE source = %(source)s AND system_identifier = %(system)s
                   AND (%(since)s::timestamptz IS NULL OR last_commit_at >= %(since)s)
                   AND (%(until)s::timestamptz IS NULL OR first_commit_at <= %(until)s) ORDER BY number, timeline"""
        return self._read(SegmentRow, query, source=source, system=system, since=since, until=until)

    def stretches(self, source: str, system: str) -> tuple[Stretch, ...]:
        """Return the same as far as windows need it."""
        query = """SELECT timeline, number, end_lsn, complete, first_commit_at, last_commit_at FROM wal_segments
                   WHERE source = %(source)s AND system_identifier = %(system)s"""
        return self._read(Stretch, query, source=source, system=system)

    def timelines(self, source: str, system: str) -> tuple[TimelineRow, ...]:
        """Return where each timeline left its parent."""
        query = """SELECT timeline, parent, switch_lsn, reason FROM wal_timelines
                   WHERE source = %(source)s AND system_identifier = %(system)s ORDER BY timeline"""
        return self._read(TimelineRow, query, source=source, system=system)

    def events(
        self,
        source: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        relation: str = "",
        limit: int = 200,
    ) -> tuple[WalEvent, ...]:
        """Return what transactions did, newest first."""
        query = """SELECT * FROM wal_events WHERE source = %(source)s
                   AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
                   AND (%(until)s::timestamptz IS NULL OR at <= %(until)s)
                   AND (%(relation)s = '' OR position(%(relation)s IN relation) > 0)
                   ORDER BY at DESC, commit_lsn DESC LIMIT %(limit)s"""
        return self._read(WalEvent, query, source=source, since=since, until=until, relation=relation, limit=limit)

    # Base backups

    def add_base(self, base: BaseBackup) -> None:
        """Write where a base backup begins and ends."""
        columns = tuple(field.name for field in fields(BaseBackup) if field.name != "snapshot_id")
        self._write("base_backups", columns, [asdict(base)], key=("backup_id", "source"))

    def bases(self, source: str, *, elsewhere: bool = False) -> tuple[BaseBackup, ...]:
        """Return the base backups of a cluster that can be restored, oldest first.

        `elsewhere`: also those that the primary has forgotten or lost, which a copy may have.
        """
        query = """SELECT b.*, p.snapshot_id FROM base_backups b
                   JOIN backup_jobs j ON j.id = b.backup_id
                   JOIN backup_parts p ON p.backup_id = b.backup_id AND p.part = 'cluster' AND p.source = b.source
                   WHERE b.source = %(source)s AND j.status IN ('completed', 'completed_with_warnings')
                     AND (%(elsewhere)s OR (j.forgotten_at IS NULL AND j.missing_since IS NULL))
                   ORDER BY b.stop_lsn, b.stop_at"""
        return self._read(BaseBackup, query, source=source, elsewhere=elsewhere)

    def oldest_needed(self, source: str, system: str, now: datetime) -> Lsn | None:
        """Return from where on the log is needed: the start of the oldest base backup that can be brought back."""
        query = """SELECT min(b.start_lsn)::text FROM base_backups b JOIN backup_jobs j ON j.id = b.backup_id
                   WHERE b.source = %s AND b.system_identifier = %s
                     AND j.status NOT IN ('failed', 'cancelled')
                     AND (j.forgotten_at IS NULL OR j.forgotten_until > %s)"""

        def read(connection: Connection) -> Lsn | None:
            row = connection.execute(query, (source, system, now)).fetchone()
            return parse_lsn(str(row[0])) if row and row[0] is not None else None

        return self._sessions.run(read)

    def known_bases(self) -> frozenset[tuple[UUID, str]]:
        """Return (backup, source) of every base backup that is written down."""

        def read(connection: Connection) -> frozenset[tuple[UUID, str]]:
            rows = connection.execute("SELECT backup_id, source FROM base_backups").fetchall()
            return frozenset((UUID(str(backup)), str(source)) for backup, source in rows)

        return self._sessions.run(read)

    def _read(self, kind: type[_T], query: str, **parameters: object) -> tuple[_T, ...]:
        names = {field.name for field in fields(kind)}

        def read(connection: Connection) -> tuple[_T, ...]:
            with connection.cursor(row_factory=dict_row) as cursor:
                rows = cursor.execute(query.encode(), parameters).fetchall()
            found = [{name: _plain(name, value) for name, value in row.items() if name in names} for row in rows]
            return msgspec.convert(found, tuple[kind, ...])  # type: ignore[valid-type]

        return self._sessions.run(read)

    def _write(
        self, table: str, columns: Sequence[str], rows: Sequence[dict[str, object]], *, key: Sequence[str]
    ) -> None:
        self._sessions.run(lambda connection: _insert(connection, table, columns, rows, key=key))


_READER_KEY = ("source", "system_identifier", "timeline")
_SEGMENT_KEY = (*_READER_KEY, "number")
_EVENT = (
    *_SEGMENT_KEY,
    *("commit_lsn", "commit_end", "xid", "at", "kind", "database", "relation", "rows", "certain", "said"),
)
_EVENT_KEY = (*_READER_KEY, "commit_lsn", "kind", "relation")


def _place(row: SegmentRow) -> dict[str, object]:
    return {
        "source": row.source,
        "system_identifier": row.system_identifier,
        "timeline": row.timeline,
        "number": row.number,
    }


def _insert(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    rows: Sequence[dict[str, object]],
    *,
    key: Sequence[str],
) -> None:
    others = [column for column in columns if column not in key]
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    places = sql.SQL(", ").join(map(sql.Placeholder, columns))
    updates = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in others)
    query = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}").format(
        sql.Identifier(table), names, places, sql.SQL(", ").join(map(sql.Identifier, key)), updates
    )
    for row in rows:
        connection.execute(query, {column: _stored(column, row[column]) for column in columns})


def _stored(column: str, value: object) -> object:
    if column in _LSNS and isinstance(value, int):
        return format_lsn(value)
    if column in ("activity", "points"):
        return Jsonb(value, dumps=msgspec.json.encode)
    return value


def _plain(column: str, value: object) -> object:
    return parse_lsn(str(value)) if column in _LSNS and value is not None else value
