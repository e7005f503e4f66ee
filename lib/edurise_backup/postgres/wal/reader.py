"""START HERE: read segments in order, and tell what each holds.

The same segment may come again, longer or whole: it is then read anew from
what was known before it. A reader's state is a few hundred kilobytes at most
on an ordinary server, and can be kept, so that a receiver that was restarted
goes on with the transactions that were open.
"""

from __future__ import annotations

import msgspec
import numpy

from edurise_backup.errors import DamageError
from edurise_backup.model.wal import Segment, Timeline
from edurise_backup.postgres.wal.facts import SegmentFacts
from edurise_backup.postgres.wal.layout import moment
from edurise_backup.postgres.wal.meaning import Meaning, Memory
from edurise_backup.postgres.wal.pages import Content
from edurise_backup.postgres.wal.records import Reading, Tail, read_records

BULK = 1000
"""From how many rows of one relation a DELETE or UPDATE of one transaction is told."""


class _State(msgspec.Struct):
    """What is known before a segment."""

    tail: Tail | None = None
    memory: Memory = msgspec.field(default_factory=Memory)


class _Kept(msgspec.Struct):
    """A reader, as bytes: what was known before the last segment and, when that was whole, behind it."""

    size: int
    system_identifier: int | None
    threshold: int
    segment: tuple[int, int] | None
    before: bytes
    after: bytes | None


class SegmentReader:
    """Turns segments into facts; one for each timeline's way through the log.

    `size`: bytes of a segment; `system_identifier`: whose segments are taken
    (None: anybody's); `threshold`: from how many rows a DELETE or UPDATE is told.
    """

    def __init__(self, *, size: int, system_identifier: int | None = None, threshold: int = BULK) -> None:
        self._size = size
        self._system_identifier = system_identifier
        self._threshold = threshold
        self._segment: Segment | None = None
        self._before = msgspec.msgpack.encode(_State())
        self._after: bytes | None = None

    def read(self, segment: Segment, content: Content, *, partial: bool) -> SegmentFacts:
        """Return what a segment holds; of a partial one, what its valid beginning holds.

        Raises DamageError for a whole segment that is not log to its end, and
        for one of another cluster or place; the reader is then as it was before.
        """
        known = self._known_before(segment)
        state = msgspec.msgpack.decode(known, type=_State)
        reading = self._records(segment, content, partial, state.tail)
        if not reading.follows:  # what was open before a gap may have ended in it
            state = _State(memory=Memory(pg_class=state.memory.pg_class))
        meaning = Meaning(reading.records, state.memory, threshold=self._threshold)
        facts = _facts(segment, reading, meaning)
        self._segment, self._before = segment, known
        self._after = None if partial else msgspec.msgpack.encode(_State(reading.tail, state.memory))
        return facts

    def to_state(self) -> bytes:
        """Return the reader as bytes, for `from_state` of the same release."""
        segment = (int(self._segment.timeline), self._segment.number) if self._segment else None
        return msgspec.msgpack.encode(
            _Kept(self._size, self._system_identifier, self._threshold, segment, self._before, self._after)
        )

    @classmethod
    def from_state(cls, state: bytes) -> SegmentReader:
        """Return the reader that was kept; raises DamageError when the bytes are none."""
        try:
            kept = msgspec.msgpack.decode(state, type=_Kept)
            for part in (kept.before, kept.after or kept.before):
                msgspec.msgpack.decode(part, type=_State)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DamageError("the kept state of the log's reader cannot be read", hint="read on without it") from error
        reader = cls(size=kept.size, system_identifier=kept.system_identifier, threshold=kept.threshold)
        reader._before, reader._after = kept.before, kept.after
        if kept.segment is not None:
            timeline, number = kept.segment
            reader._segment = Segment(Timeline(timeline), number)
        return reader

    def _known_before(self, segment: Segment) -> bytes:
        if self._segment is not None and segment.number == self._segment.number:
            return self._before
        return self._after if self._after is not None else self._before

    def _records(self, segment: Segment, content: Content, partial: bool, tail: Tail | None) -> Reading:
        return read_records(
            content,
            segment,
            size=self._size,
            unfinished=partial,
            tail=tail,
            system_identifier=self._system_identifier,
        )


def _facts(segment: Segment, reading: Reading, meaning: Meaning) -> SegmentFacts:
    records, endings, cluster = reading.records, meaning.endings, meaning.cluster
    ended = len(endings.rows)
    aborts = int(numpy.count_nonzero(endings.aborted))
    return SegmentFacts(
        segment=segment,
        major=records.major,
        follows=reading.follows,
        end_lsn=reading.end,
        records=len(records),
        first_lsn=int(records.lsns[0]) if len(records) else None,
        last_lsn=int(records.lsns[-1]) if len(records) else None,
        earliest=moment(int(endings.times.min())) if ended else None,
        latest=moment(int(endings.times.max())) if ended else None,
        commits=ended - aborts,
        aborts=aborts,
        commits_per_second=endings.per_second(),
        restore_points=tuple(cluster.restore_points),
        switched=cluster.switched,
        events=tuple(meaning.events),
        relations=tuple(meaning.relations),
        forgotten=meaning.forgotten,
    )
