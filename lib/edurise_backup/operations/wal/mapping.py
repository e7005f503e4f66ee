"""Read what a segment holds and put it as the catalog keeps it: commits, restore points, deeds by name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

from edurise_backup.catalog.wal import WalCatalog
from edurise_backup.errors import BackupError, DamageError
from edurise_backup.model.wal import Lsn, Segment, Timeline
from edurise_backup.model.wal_status import Arrival, Point, SegmentRow, WalEvent
from edurise_backup.postgres.wal.facts import SegmentFacts
from edurise_backup.postgres.wal.naming import FileName, FileNames
from edurise_backup.postgres.wal.reader import SegmentReader
from edurise_backup.postgres.wal.telling import NamedEvent, name_events

_log = logging.getLogger(__name__)
_FIRST_OWN = 16384
"""The oid from which on things are users' (FirstNormalObjectId)."""


class LogMap:
    """Reads a cluster's log in its order, each timeline by a reader of its own, which goes on after a restart."""

    def __init__(self, catalog: WalCatalog, source: str, system: str, size: int) -> None:
        self._catalog = catalog
        self._source = source
        self._system = system
        self._size = size
        self._readers: dict[int, SegmentReader] = {}
        self._names = FileNames()
        self._databases: dict[int, str] = {}

    def knows(self, segment: Segment) -> bool:
        """Whether the catalog has what a whole segment holds."""
        return self._catalog.has_segment(self._source, self._system, segment.timeline, segment.number)

    def read(self, segment: Segment, content: bytes, *, partial: bool, now: datetime) -> Arrival | None:
        """Return what a segment brings; None for one that cannot be read, which is shipped all the same."""
        reader = self._reader(segment.timeline)
        try:
            facts = reader.read(segment, content, partial=partial)
        except DamageError as error:
            _log.warning("%s of %s was not read: %s", segment.name(self._size), self._source, error.message)
            return None
        row = SegmentRow(
            source=self._source,
            system_identifier=self._system,
            timeline=segment.timeline,
            number=segment.number,
            name=segment.name(self._size),
            complete=not partial,
            follows=facts.follows,
            begin_lsn=segment.start(self._size),
            end_lsn=Lsn(max(facts.end_lsn, segment.start(self._size))),
            shipped_at=now,
            first_commit_at=facts.earliest,
            last_commit_at=facts.latest,
            commits=facts.commits,
            aborts=facts.aborts,
            activity=facts.commits_per_second,
            points=tuple(Point(one.name, one.time, Lsn(one.end)) for one in facts.restore_points),
        )
        return Arrival(row, tuple(self._events(facts)), reader.to_state())

    def _reader(self, timeline: Timeline) -> SegmentReader:
        if timeline not in self._readers:
            reader = SegmentReader(size=self._size, system_identifier=int(self._system))
            try:
                state = self._catalog.reader(self._source, self._system, timeline)
                reader = SegmentReader.from_state(state) if state else reader
            except BackupError as error:  # a cache: what was open when we stopped is told without its beginning
                _log.warning("the log of %s is read from here on: %s", self._source, error.message)
            self._readers[timeline] = reader
        return self._readers[timeline]

    def sampled(self, database: int, name: str, files: list[FileName], lsn: Lsn) -> None:
        """Learn which file is which table in a database, as of a position."""
        self._names.add(files, lsn)
        self._databases[database] = name

    def learn_schemas(self, database: int, schemas: Mapping[int, str]) -> None:
        """Learn a database's schemas, by oid."""
        self._names.add_schemas(database, schemas)

    def _events(self, facts: SegmentFacts) -> list[WalEvent]:
        self._names.correct(facts.relations)
        wanted = [event for event in facts.events if event.database >= _FIRST_OWN or event.file is not None]
        named = name_events(wanted, self._names, databases=self._databases)
        return [self._event(facts.segment.timeline, one) for one in named]

    def _event(self, timeline: Timeline, named: NamedEvent) -> WalEvent:
        event = named.event
        return WalEvent(
            source=self._source,
            timeline=timeline,
            at=event.time,
            xid=event.xid,
            commit_lsn=Lsn(event.commit_lsn),
            commit_end=Lsn(event.commit_end),
            kind=event.kind.value,
            database=self._databases.get(event.database, str(event.database)),
            relation=str(named.name) if named.name else (f"file {event.file.number}" if event.file else ""),
            rows=event.rows,
            certain=event.certain,
            said=named.text,
        )
