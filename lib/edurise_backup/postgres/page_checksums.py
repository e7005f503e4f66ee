"""Verify the checksums of many pages at once.

Source: PostgreSQL's `src/include/storage/checksum_impl.h` (32 interleaved
FNV-1a sums) and `bufpage.h`. The server verifies a page only when it needs it;
a backup sees all of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edurise_backup.model.paging import PageCheck

_SUMS = 32
_PRIME = np.uint32(16777619)
# fmt: off
_OFFSETS = np.array([
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
], dtype=np.uint32)
# fmt: on
_Words = npt.NDArray[np.uint32]
_CHECKSUM_WORD = 2
"""pd_checksum is the lower half of the page's third word, pd_flags the upper one."""


def damaged_pages(data: bytes | bytearray | memoryview, start: int, check: PageCheck) -> list[int]:
    """Return the numbers, in the relation, of pages with a wrong checksum; `start`: the data's offset in its file.

    New pages (nothing but zeros) and pages that the WAL has whole are passed
    over. What follows the last whole page is not looked at.
    """
    count = len(data) // check.block
    if count == 0:
        return []
    words = np.frombuffer(data, dtype="<u4", count=count * check.block // 4).reshape(count, -1)
    first = check.first + start // check.block
    stored = words[:, _CHECKSUM_WORD] & np.uint32(0xFFFF)
    wrong = (_checksums(words, first) != stored) & (_positions(words) < np.uint64(check.before))
    return [first + int(number) for number in np.flatnonzero(wrong) if words[number].any()]


def _positions(words: _Words) -> npt.NDArray[np.uint64]:
    """Return each page's LSN: two words, the higher one first."""
    high, low = words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)
    return np.bitwise_or(np.left_shift(high, np.uint64(32)), low)


def _checksums(words: _Words, first: int) -> _Words:
    count = len(words)
    rows = words.reshape(count, -1, _SUMS)
    head = rows[:, 0, :].copy()
    head[:, _CHECKSUM_WORD] &= np.uint32(0xFFFF0000)
    sums = np.broadcast_to(_OFFSETS, (count, _SUMS)).copy()
    scratch = np.empty_like(sums)
    for row in (head, *(rows[:, number, :] for number in range(1, rows.shape[1])), None, None):
        if row is not None:
            np.bitwise_xor(sums, row, out=sums)
        np.right_shift(sums, np.uint32(17), out=scratch)
        np.multiply(sums, _PRIME, out=sums)
        np.bitwise_xor(sums, scratch, out=sums)
    total = np.bitwise_xor.reduce(sums, axis=1)
    numbers = np.arange(first, first + count, dtype=np.uint64).astype(np.uint32)
    found: _Words = (total ^ numbers) % np.uint32(65535) + np.uint32(1)
    return found
