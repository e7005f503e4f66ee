"""The checksums of very many pages, column by column: as `page_checksums`, for processes that have numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edurise_backup.model.paging import PageCheck
from edurise_backup.postgres.page_checksums import OFFSETS, PRIME

_SUMS = len(OFFSETS)
_PRIME = np.uint32(PRIME)
_OFFSETS = np.array(OFFSETS, dtype=np.uint32)
_Words = npt.NDArray[np.uint32]
_CHECKSUM_WORD = 2
"""pd_checksum is the lower half of the page's third word, pd_flags the upper one."""


def wrong_pages(pages: memoryview, first: int, check: PageCheck) -> list[int]:
    """Return which of the pages, by their places, have another checksum than they should; new ones, too."""
    count = len(pages) // check.block
    if count == 0:
        return []
    words = np.frombuffer(pages, dtype="<u4").reshape(count, -1)
    stored = words[:, _CHECKSUM_WORD] & np.uint32(0xFFFF)
    wrong = (_checksums(words, first) != stored) & (_positions(words) < np.uint64(check.before))
    return [int(number) for number in np.flatnonzero(wrong)]


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
