"""Keys as paths: every key has one, no two keys meet, and each piece is a good file name."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edurise_backup.model.content import ExtendedAttribute, Node, decode_tree, encode_tree
from edurise_backup.model.object_names import LONGEST, name_of, version_name
from edurise_backup.model.objects import headers_of, object_attributes

ODD = st.text(st.sampled_from("a./%=+#@\x00\x1f\x7f\x85é\u2028-"), max_size=6)
COMPONENTS = st.one_of(ODD, st.text(max_size=20), st.text(min_size=200, max_size=300)).map(
    lambda text: text.replace("/", "")
)


@given(COMPONENTS, st.booleans())
def test_a_piece_of_a_key_becomes_a_good_file_name(component: str, beside: bool) -> None:
    name = name_of(component, beside=beside)
    assert name not in ("", ".", "..")
    assert not set(name) & set("/\0\n\x7f")
    assert len(name.encode()) <= LONGEST
    node = Node(name=name, type="file", mtime="", atime="", ctime="", uid=0, gid=0, content=[])
    assert decode_tree(encode_tree([node]))[0].name == name


@given(COMPONENTS, st.booleans())
def test_a_name_tells_its_piece_unless_it_was_too_long(component: str, beside: bool) -> None:
    name = name_of(component, beside=beside)
    if name.startswith("%#"):
        assert len(component.encode()) > LONGEST // 3 - 2
    elif name.startswith(("%=", "%+")):
        assert unquote(name[2:], errors="surrogatepass") == component
    else:
        assert name == component


@given(st.sets(st.tuples(COMPONENTS, st.booleans()), min_size=2, max_size=8), st.sets(st.tuples(COMPONENTS, ODD)))
def test_no_two_pieces_or_versions_meet(pieces: set[tuple[str, bool]], versions: set[tuple[str, str]]) -> None:
    names = [name_of(component, beside=beside) for component, beside in pieces]
    names += [version_name(component, version) for component, version in versions]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("component", "name"),
    [
        ("essay 1.txt", "essay 1.txt"),
        ("100%", "100%"),
        ("a%20b", "a%20b"),
        ("", "%="),
        ("..", "%=.."),
        ("a\nb%", "%=a%0Ab%25"),
        ("%=x", "%=%25=x"),
        ("é\x01", "%=é%01"),
    ],
)
def test_what_people_see_is_what_the_page_says(component: str, name: str) -> None:
    assert name_of(component) == name


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)), st.text(st.sampled_from("abC-"), min_size=1))
def test_headers_and_metadata_come_back_as_they_were(value: str, word: str) -> None:
    answer = {"ContentType": value, "ExpiresString": "0", "Metadata": {word: value}, "ContentLength": 7}
    told = headers_of(object_attributes("etag", "version", answer))
    assert told == {"ContentType": value, "Expires": "0", "Metadata": {word.lower(): value}}


def test_metadata_that_is_not_ascii_is_written_as_rfc_2047_says() -> None:
    raw = "é".encode().decode("latin-1")  # as HTTP's headers are read
    told = headers_of(object_attributes("", "", {"Metadata": {"a": raw}}))
    assert told == {"Metadata": {"a": "=?UTF-8?B?w6k=?="}}
    assert headers_of([ExtendedAttribute("user.other", b"x")]) == {}
