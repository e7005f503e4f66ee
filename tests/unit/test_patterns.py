"""Patterns; the interoperability tests hold the same ones against stock restic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edurise_backup.errors import InputError
from edurise_backup.sources.patterns import leading, matcher


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.log", "/a/b/x.log", True),
        ("*.log", "/a/x.log/b", False),
        ("x", "/a/x", True),
        ("x", "/a/xx", False),
        ("a/b", "/z/a/b", True),
        ("/a/b", "/a/b", True),
        ("/a/b", "/z/a/b", False),
        ("/a/*", "/a/b", True),
        ("/a/*", "/a/b/c", False),
        ("/a/**/c", "/a/c", True),
        ("/a/**/c", "/a/b/b/c", True),
        ("/a/**", "/a/b/c", True),
        ("**/c", "/a/b/c", True),
        ("?", "/a", True),
        ("?", "/ab", False),
        ("[a-c]x", "/bx", True),
        ("[^a-c]x", "/bx", False),
        ("[^a-c]x", "/dx", True),
        ("[!a]", "/!", True),
        ("\\*", "/*", True),
        ("\\*", "/x", False),
        ("[\\]]", "/]", True),
        ("a.b", "/axb", False),
        ("a\nb", "/a\nb", True),
        ("(a|b)+", "/(a|b)+", True),
        ("*", "/new\nline", True),
    ],
)
def test_a_pattern_matches(pattern: str, path: str, matches: bool) -> None:
    assert matcher([pattern])(path) is matches


def test_one_of_several_patterns_is_enough_and_none_matches_nothing() -> None:
    assert matcher(["a", "b"])("/x/b")
    assert not matcher([])("/x/b")


@pytest.mark.parametrize("pattern", ["", "/", "//", "[z-a]"])
def test_an_empty_or_malformed_pattern_is_bad_input(pattern: str) -> None:
    with pytest.raises(InputError):
        matcher([pattern])


NAMES = st.sampled_from(["a", "b", "ab", "*", "**", "?", "[ab]", "a*"])
PLAIN = st.sampled_from(["a", "b", "ab", "ba", "c"])


@given(st.lists(NAMES, min_size=1, max_size=4), st.lists(PLAIN, min_size=1, max_size=5), st.booleans())
def test_a_walk_that_follows_leading_directories_misses_nothing(
    pattern: list[str], names: list[str], anchored: bool
) -> None:
    patterns = [("/" if anchored else "") + "/".join(pattern)]
    if matcher(patterns)("/" + "/".join(names)):
        assert all(leading(patterns)("/" + "/".join(names[:length])) for length in range(1, len(names)))


def test_directories_that_lead_nowhere_are_told() -> None:
    leads = leading(["/home/*/photos", "/etc/**/conf"])
    assert [path for path in ("/home", "/home/me", "/etc", "/etc/a/b", "/var", "/home/me/other") if leads(path)] == [
        "/home",
        "/home/me",
        "/etc",
        "/etc/a/b",
    ]
    assert leading(["photos"])("/anything")
