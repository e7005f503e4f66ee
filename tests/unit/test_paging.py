"""Files that change in place: cut at fixed places, in ranges, and never put together wrongly."""

from __future__ import annotations

import io
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edurise_backup.errors import SourceError
from edurise_backup.model.content import blob_id
from edurise_backup.model.paging import PageCheck, Paged
from edurise_backup.model.status import Status
from edurise_backup.pipeline import paging
from edurise_backup.pipeline.paging import PageLook, joined, paged_chunks, ranges_of
from edurise_backup.ports import StoredFile
from edurise_backup.postgres.page_checksum_columns import wrong_pages
from edurise_backup.postgres.page_checksums import _wrong_pages, checksum, damaged_pages

CUT = 64 * 1024
STATUS = Status(0, 0, 0, 1, 0, 0, 0, 0, 0, 0, "", "")


class Bytes:
    """A stream over bytes that gives a little at a time."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def readinto(self, buffer: memoryview, /) -> int:
        return self._file.readinto(buffer[:10_000])

    def skip_hole(self, back: int, unit: int) -> int:
        return 0


def chunks(content: bytes, size: int, cut: int = CUT, window: int = 4 * CUT) -> list[bytes]:
    found: list[bytes] = []
    for part in paged_chunks(
        Bytes(content),
        Paged(cut),
        size,
        next_window=lambda count: memoryview(bytearray(count)),
        window=window,
        look=PageLook(None),
    ):
        found += [bytes(chunk) for chunk in part]
    return found


@given(st.integers(0, 700_000), st.integers(0, 700_000))
def test_chunks_join_to_what_was_there_when_it_was_opened(length: int, size: int) -> None:
    content = bytes(range(256)) * (length // 256 + 1)
    content = content[:length]
    found = chunks(content, size)
    assert b"".join(found) == content[:size]
    assert all(len(chunk) == CUT for chunk in found[:-1])


def test_a_page_that_is_changed_in_place_leaves_the_other_chunks_as_they_are() -> None:
    before = bytes(10 * CUT)
    after = before[: 3 * CUT + 8192] + b"x" * 8192 + before[3 * CUT + 16384 :]
    pairs = zip(chunks(before, 10 * CUT), chunks(after, 10 * CUT), strict=True)
    assert [number for number, (one, other) in enumerate(pairs) if one != other] == [3]


@given(st.integers(0, 200 * 1024 * 1024))
def test_ranges_cover_a_file_once_and_in_order(size: int) -> None:
    found = list(ranges_of(Paged(CUT), size))
    assert [one.begin for one in found[1:]] == [one.end for one in found[:-1]]
    assert (found[0].begin, found[-1].end) == (0, size)
    assert all(one.begin % CUT == 0 for one in found)


def stored(size: int, mark: bytes) -> StoredFile:
    return StoredFile(STATUS, [blob_id(mark)], size, "")


def test_a_file_that_was_cut_off_meanwhile_ends_there() -> None:
    ranges = list(ranges_of(Paged(CUT), 3 * paging.RANGE))
    whole = [stored(paging.RANGE, b"a"), stored(100, b"b"), stored(paging.RANGE, b"c")]
    found = joined("base/1/2", ranges, whole)
    assert found is not None
    assert (found.size, found.blobs) == (paging.RANGE + 100, [blob_id(b"a"), blob_id(b"b")])


def test_a_vanished_file_is_none_and_any_other_trouble_ends_the_backup() -> None:
    ranges = list(ranges_of(Paged(CUT), 2 * paging.RANGE))
    assert joined("x", ranges, [stored(paging.RANGE, b"a"), StoredFile(None, [], 0, "")]) is None
    with pytest.raises(SourceError, match="Input/output"):
        joined("x", ranges, [stored(paging.RANGE, b"a"), StoredFile(None, [], 0, "Input/output error")])


def test_new_pages_and_pages_that_the_log_has_are_no_damage() -> None:
    check = PageCheck(first=0, before=1000)
    zeros, torn, wrong = bytes(8192), bytearray(b"\xff" * 8192), bytearray(b"\xff" * 8192)
    torn[:8] = (0).to_bytes(4, "little") + (1000).to_bytes(4, "little")
    wrong[:8] = (0).to_bytes(4, "little") + (999).to_bytes(4, "little")
    assert damaged_pages(zeros + bytes(torn) + bytes(wrong) + b"rest", 0, check) == [2]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.sampled_from([1024, 8192, 32768]),
    st.randoms(use_true_random=False),
)
def test_a_few_pages_and_very_many_have_the_same_checksums(first: int, count: int, block: int, rng: Random) -> None:
    pages = bytearray(rng.randbytes(count * block))
    for number in range(0, count, 2):
        at = number * block
        pages[at + 8 : at + 10] = checksum(bytes(pages[at : at + block]), first + number).to_bytes(2, "little")
    check = PageCheck(first, 2**63, block)
    alone = list(_wrong_pages(memoryview(pages), first, check))
    assert alone == wrong_pages(memoryview(pages), first, check)
    assert [number for number in alone if number % 2 == 0] == []
    assert damaged_pages(pages, 0, check) == [first + number for number in alone]


def test_a_page_that_is_right_at_a_second_look_is_no_damage() -> None:
    check = PageCheck(first=0, before=1000)
    page = bytearray(b"\xff" * 8192)
    page[:8] = bytes(8)
    look = PageLook(check, again=lambda offset, length: bytes(length))
    look(memoryview(bytes(page)), 0)
    assert look.damaged == []
    look = PageLook(check)
    look(memoryview(bytes(page)), 8192)
    assert look.damaged == [1]
