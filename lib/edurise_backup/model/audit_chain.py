"""Is the audit trail whole: the chain of its rows, and the anchors that were sealed elsewhere; pure.

The chain shows what was altered, removed or moved inside of the trail. Who can
write every row can also make a chain anew, or cut its end off: that is what
anchors are for, which say what the trail was at a moment, in a place that the
catalog's masters cannot forge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from edurise_backup.model.audit import NOTHING, AuditRow, chained_hash


class Fault(StrEnum):
    """What is wrong with the trail."""

    ALTERED = "altered"
    REMOVED = "removed"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    REWRITTEN = "rewritten"
    ANCHOR = "anchor"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """Something that is wrong, with the first row that it is seen at."""

    fault: Fault
    seq: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the trail was at a moment, as the repository keeps it sealed."""

    first: str
    """The hash of row 1: which trail it is; a catalog that was lost and rebuilt begins another one."""
    seq: int
    hash: str
    at: datetime
    name: str
    """Of the note in the repository."""


@dataclass(frozen=True, slots=True)
class Chain:
    """What one pass over the rows has shown."""

    rows: int
    first: str
    """The hash of row 1; zeros for an empty trail."""
    last: AuditRow | None
    hashes: dict[int, str]
    """Of the rows that anchors name."""
    finding: AuditFinding | None
    """The first break."""


def follow_chain(rows: Callable[[], Iterable[AuditRow]], anchored: Iterable[int] = ()) -> Chain:
    """Check each row against the one before it; `rows` is asked a second time when there is a break."""
    wanted, hashes = set(anchored), dict[int, str]()
    count, first, last, finding = 0, NOTHING, None, None
    previous, expected = NOTHING, 1
    for row in rows():
        count += 1
        if row.seq in wanted:
            hashes[row.seq] = row.hash
        if row.seq == 1:
            first = row.hash
        if finding is None:
            finding = _break(row, previous, expected, rows)
        previous, expected, last = row.hash, row.seq + 1, row
    return Chain(count, first, last, hashes, finding)


def compare_anchors(chain: Chain, anchors: Sequence[Anchor]) -> Iterator[AuditFinding]:
    """Yield where the trail is not what an anchor of it says; of each kind the first."""
    good = 0
    length = chain.last.seq if chain.last else 0
    for anchor in sorted(anchors, key=lambda anchor: anchor.seq):
        if anchor.seq > length:
            yield AuditFinding(
                Fault.TRUNCATED,
                length + 1,
                f"the trail ends with row {length}, and the anchor of {anchor.at:%Y-%m-%d %H:%M:%S} UTC names row "
                f"{anchor.seq}: row {length + 1} is the first that is gone",
            )
            return
        if chain.hashes.get(anchor.seq) != anchor.hash:
            yield AuditFinding(
                Fault.REWRITTEN,
                good + 1,
                f"row {anchor.seq} is not the one that was anchored at {anchor.at:%Y-%m-%d %H:%M:%S} UTC: the rows "
                f"from {good + 1} on were written anew",
            )
            return
        good = anchor.seq


def _break(row: AuditRow, previous: str, expected: int, rows: Callable[[], Iterable[AuditRow]]) -> AuditFinding | None:
    if row.seq == expected and row.previous == previous and row.hash == row.expected_hash:
        return None
    if elsewhere := _moved(previous, expected, rows()):
        return AuditFinding(
            Fault.REORDERED, expected, f"row {expected} was moved: what belongs there stands as row {elsewhere}"
        )
    if row.seq != expected:
        gone = f"row {expected} is" if row.seq == expected + 1 else f"rows {expected} to {row.seq - 1} are"
        return AuditFinding(Fault.REMOVED, expected, f"{gone} gone")
    if row.hash != row.expected_hash:
        return AuditFinding(Fault.ALTERED, row.seq, f"row {row.seq} was altered: its hash is not that of its words")
    return AuditFinding(
        Fault.ALTERED, row.seq, f"row {row.seq} does not follow row {row.seq - 1}: one of the two was written anew"
    )


def _moved(previous: str, expected: int, rows: Iterable[AuditRow]) -> int | None:
    """Return the number under which the row stands that belongs at the place `expected`."""
    for row in rows:
        if (
            row.seq != expected
            and row.previous == previous
            and chained_hash(previous, expected, row.at, row.words) == row.hash
        ):
            return row.seq
    return None
