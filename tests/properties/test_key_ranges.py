"""Ranges of a folder's names in the order of keys: nothing that belongs to one lies before it, or unseen behind it."""

from __future__ import annotations

import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from edurise_backup.model.key_ranges import folders_behind, just_before, key_order
from edurise_backup.model.shards import NameRange

_CHARACTERS = [*"ab-. 0%\0\x1f\x7f\xa0é\ud7ff\ue000"]
PIECES = st.text(
    st.one_of(
        st.sampled_from(_CHARACTERS),
        st.characters(exclude_categories=["Cs"], exclude_characters="/"),
    ),
    max_size=6,
)
BOUNDS = st.one_of(PIECES.map(str.encode), PIECES.map(lambda text: text.encode() + b"\0"), st.binary(max_size=6))


@given(PIECES, BOUNDS)
@example("a-b", b"a-b")
@example("a", b"a\0")
@example("\ue000", "\ue000".encode())
@example(" ", b" ")
def test_a_listing_that_begins_just_before_a_range_misses_nothing_of_it(piece: str, first: bytes) -> None:
    if key_order(piece) < first:
        return
    before = just_before(first)
    assert not before or key_order(piece) > key_order(before)
    assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in before)


@given(PIECES, BOUNDS, BOUNDS)
@example("photos", b"b", b"photos-5")
@example("", b"", b"-")
def test_a_folder_lies_before_the_ranges_end_or_is_asked_for(piece: str, first: bytes, end: bytes) -> None:
    names = NameRange(first, end)
    behind = list(folders_behind(names))
    inside = key_order(f"{piece}/") < end
    if key_order(piece) in names and "\0" not in piece:
        assert inside != (piece in behind)
    else:
        assert piece not in behind
    assert len(behind) == len(set(behind))
