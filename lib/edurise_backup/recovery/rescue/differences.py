"""Find what differs between a table there and here: both are read once, in the same order, and merged.

Memory is bounded by a batch. A condition may hold for a row on one side only:
the other side's row is then looked up by its key, so that a row that changed
out of the condition is told as changed, and not as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Literal, NamedTuple

from edurise_backup.recovery.rescue.matching import TableMatch
from edurise_backup.recovery.rescue.sides import Picked, Side

Kind = Literal["only there", "only here", "changed"]

_BATCH = 1000
_BATCH_OF_CONTENTS = 20_000  # each batch reads the whole table once more


class Difference(NamedTuple):
    """A row that is not the same on both sides; `copies` is above 1 for equal rows of a table without a key."""

    kind: Kind
    key: tuple[str, ...]
    there: bytes
    here: bytes
    copies: int = 1

    @property
    def picked(self) -> Picked:
        """The row, to be read on a side where it is."""
        return Picked(self.key, self.there or self.here, self.copies)


def differences(
    match: TableMatch, there: Side, here: Side | None, *, where: str, keep_on: Callable[[], None]
) -> Iterator[list[Difference]]:
    """Yield what differs, some rows at a time; raises psycopg.Error, and what `keep_on` raises."""
    ours = here.stream(where, keep_on) if here is not None else iter(())
    found = _merged(there.stream(where, keep_on), ours, there.position)
    while batch := list(islice(found, _BATCH if match.key else _BATCH_OF_CONTENTS)):
        if where and match.key and here is not None:
            batch = _looked_up(batch, there, here)
        if batch:
            yield batch


def _merged(
    theirs: Iterator[Picked], ours: Iterator[Picked], position: Callable[[Picked], tuple[object, ...]]
) -> Iterator[Difference]:
    left, right = next(theirs, None), next(ours, None)
    while left is not None or right is not None:
        first = _compared(left, right, position)
        if first < 0 and left is not None:
            yield Difference("only there", left.key, left.digest, b"", left.copies)
            left = next(theirs, None)
        elif first > 0 and right is not None:
            yield Difference("only here", right.key, b"", right.digest, right.copies)
            right = next(ours, None)
        elif left is not None and right is not None:
            if left[1:] != right[1:]:
                yield _differing(left, right)
            left, right = next(theirs, None), next(ours, None)


def _compared(
    left: Picked | None, right: Picked | None, position: Callable[[Picked], tuple[object, ...]]
) -> Literal[-1, 0, 1]:
    if right is None:
        return -1
    if left is None:
        return 1
    if left.key == right.key and (left.key or left.digest == right.digest):
        return 0
    return -1 if position(left) < position(right) else 1


def _differing(left: Picked, right: Picked) -> Difference:
    if left.key:
        return Difference("changed", left.key, left.digest, right.digest)
    more = left.copies - right.copies
    if more > 0:
        return Difference("only there", (), left.digest, b"", more)
    return Difference("only here", (), b"", right.digest, -more)


def _looked_up(batch: list[Difference], there: Side, here: Side) -> list[Difference]:
    missing_here = [one.picked for one in batch if one.kind == "only there"]
    missing_there = [one.picked for one in batch if one.kind == "only here"]
    ours = here.look_up(missing_here) if missing_here else {}
    theirs = there.look_up(missing_there) if missing_there else {}
    found = (_completed(one, theirs, ours) for one in batch)
    return [one for one in found if one is not None]


def _completed(
    one: Difference, theirs: dict[tuple[str, ...], Picked], ours: dict[tuple[str, ...], Picked]
) -> Difference | None:
    other = (ours if one.kind == "only there" else theirs).get(one.key) if one.kind != "changed" else None
    if other is None:
        return one
    if other.digest == (one.there or one.here):
        return None
    return Difference("changed", one.key, one.there or other.digest, one.here or other.digest)
