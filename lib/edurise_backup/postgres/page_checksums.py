"""Verify the checksums of many pages at once.

Source: PostgreSQL's `src/include/storage/checksum_impl.h` (32 interleaved
FNV-1a sums) and `bufpage.h`. The server verifies a page only when it needs it;
a backup sees all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from edurise_backup.model.paging import PageCheck

OFFSETS = (
    *(0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C),
    *(0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB),
    *(0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4),
    *(0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756),
)
"""Where each sum begins."""
PRIME = 16777619
_SUMS = len(OFFSETS)
_ROW = 4 * _SUMS
"""Bytes of the words that go into the sums together."""
_ALONE = 256
"""So many pages are looked at before numpy would have been loaded."""

# every other sum of a row stands in a number of its own, 64 bits from the next: none runs over into another
_WORDS = sum(0xFFFFFFFF << at for at in range(0, 32 * _SUMS, 64))
_SHIFTED = sum(0x7FFF << at for at in range(0, 32 * _SUMS, 64))
"""What of each is left, and nothing of its neighbour, when all are shifted by 17 bits."""
_EVEN = sum(offset << 64 * at for at, offset in enumerate(OFFSETS[::2]))
_ODD = sum(offset << 64 * at for at, offset in enumerate(OFFSETS[1::2]))
_CHECKSUM = slice(8, 10)
"""pd_checksum, which counts as zero."""


def damaged_pages(data: bytes | bytearray | memoryview, start: int, check: PageCheck) -> list[int]:
    """Return the numbers, in the relation, of pages with a wrong checksum; `start`: the data's offset in its file.

    New pages (nothing but zeros) and pages that the WAL has whole are passed
    over. What follows the last whole page is not looked at.
    """
    count = len(data) // check.block
    first = check.first + start // check.block
    pages = memoryview(data)[: count * check.block]
    wrong: Iterable[int] = _wrong_pages(pages, first, check)
    if count > _ALONE or "numpy" in sys.modules:
        from edurise_backup.postgres.page_checksum_columns import wrong_pages

        wrong = wrong_pages(pages, first, check)
    return [first + number for number in wrong if any(pages[number * check.block : (number + 1) * check.block])]


def _wrong_pages(pages: memoryview, first: int, check: PageCheck) -> Iterator[int]:
    """Yield which of the pages, by their places, have another checksum than they should; new ones, too."""
    for number in range(len(pages) // check.block):
        page = bytes(pages[number * check.block : (number + 1) * check.block])
        position = int.from_bytes(page[:4], "little") << 32 | int.from_bytes(page[4:8], "little")
        if position < check.before and checksum(page, first + number) != int.from_bytes(page[_CHECKSUM], "little"):
            yield number


def checksum(page: bytes, number: int) -> int:
    """Return a page's checksum; `number`: of the page in its relation."""
    even, odd = _EVEN, _ODD
    page = page[: _CHECKSUM.start] + bytes(2) + page[_CHECKSUM.stop :]
    for at in range(0, len(page), _ROW):
        row = int.from_bytes(page[at : at + _ROW], "little")
        even, odd = _mixed(even ^ row & _WORDS), _mixed(odd ^ row >> 32 & _WORDS)
    total = _mixed(_mixed(even)) ^ _mixed(_mixed(odd))
    for shift in (512, 256, 128, 64):
        total ^= total >> shift
    return ((total ^ number) & 0xFFFFFFFF) % 65535 + 1


def _mixed(sums: int) -> int:
    return sums * PRIME & _WORDS ^ sums >> 17 & _SHIFTED
