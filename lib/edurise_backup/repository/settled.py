"""Blob numbers sorted by id, with a table of where each beginning of an id starts: 8 bytes a blob.

Ids are hashes, so their first bits are spread evenly: a blob is found by
looking at the few numbers that share them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ID: Final = 32
_PARTS: Final = 16
"""The ids are sorted in so many parts, by their first four bits, so that little is held twice."""


class Settled:
    """Finds the numbers of an id among the first `count` blobs."""

    def __init__(self) -> None:
        self.count = 0
        self._order = memoryview(b"").cast("I")
        self._starts = memoryview(b"").cast("I")
        self._shift = 32

    @classmethod
    def of(cls, ids: bytearray) -> Settled:
        """Sort the blobs whose ids stand in `ids`, 32 bytes each."""
        import numpy as np  # only large repositories pay for it

        settled = cls()
        settled.count = len(ids) // _ID
        bits = max(4, min(28, settled.count.bit_length() - 1))
        first = np.frombuffer(ids, np.uint8)[::_ID]
        words = np.frombuffer(ids, ">u8")[:: _ID // 8]
        order = np.empty(settled.count, np.uint32)
        starts = np.zeros((1 << bits) + 1, np.uint32)
        done = 0
        for part in range(_PARTS):
            done = _sort_part(part, first, words, order, starts, done, bits)
        np.cumsum(starts, out=starts)
        settled._order, settled._starts, settled._shift = order.data, starts.data, 32 - bits
        return settled

    def find(self, ids: bytearray, wanted: bytes) -> list[int]:
        """Return the numbers of an id, ascending."""
        bucket = int.from_bytes(wanted[:4]) >> self._shift
        return [
            number
            for number in self._order[self._starts[bucket] : self._starts[bucket + 1]]
            if ids[number * _ID : number * _ID + _ID] == wanted
        ]

    def repeated(self, ids: bytearray) -> Iterator[bytes]:
        """Yield every id that has several numbers, once."""
        before = last = b""
        for number in self._order:
            found = bytes(ids[number * _ID : number * _ID + _ID])
            if found == before and found != last:
                last = found
                yield found
            before = found


def _sort_part(
    part: int,
    first: NDArray[np.uint8],
    words: NDArray[np.uint64],
    order: NDArray[np.uint32],
    starts: NDArray[np.uint32],
    done: int,
    bits: int,
) -> int:
    """Sort the ids that begin with the four bits `part` into `order[done:]`; return where they end."""
    import numpy as np

    chosen = np.flatnonzero((first >> 4) == part)
    keys = words[chosen].astype(np.uint64)
    order[done : done + len(chosen)] = chosen[np.argsort(keys, kind="stable")]
    buckets = (keys >> np.uint64(64 - bits)).astype(np.int64)
    base = part << (bits - 4)
    counts = np.bincount(buckets - base, minlength=1 << (bits - 4))
    starts[base + 1 : base + 1 + len(counts)] = counts
    return done + len(chosen)
