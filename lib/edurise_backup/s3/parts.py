"""How an object is cut into parts: as few as one, as many as providers take.

Providers agree on these limits: a part has 5 MiB to 5 GiB (the last one may be
smaller), an object at most 10,000 of them and 5 TiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edurise_backup.errors import InputError

MIB = 1 << 20
SMALLEST = 5 * MIB
LARGEST = 5 << 30
MOST = 10_000
LARGEST_OBJECT = 5 << 40


@dataclass(frozen=True, slots=True)
class PartSizes:
    """Bytes: an object of more than `whole` goes in parts of at least `part`."""

    whole: int = 64 * MIB
    """A pack goes in one request: it is sent again as a whole when that fails, and costs one request."""
    part: int = 32 * MIB

    def of(self, size: int) -> int:
        """Return the parts' size for an object of `size` bytes; 0: it goes in one request. Raises InputError."""
        if size > LARGEST_OBJECT:
            raise InputError(
                f"an object of {size:,} bytes is larger than any provider takes", hint="store smaller ones"
            )
        if size <= min(self.whole, LARGEST):
            return 0
        fewest = -(-size // MOST)
        rounded = -(-fewest // MIB) * MIB
        return max(SMALLEST, self.part, rounded)


def cut(size: int, part: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number from 1, begin, end) of each part."""
    for number, begin in enumerate(range(0, size, part), 1):
        yield number, begin, min(begin + part, size)
