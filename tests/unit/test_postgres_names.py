"""Names and settings as PostgreSQL's programs read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edurise_backup.model.database import folder_name
from edurise_backup.postgres.names import exact_pattern, quote_name, quote_text, setting_values

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


def test_a_pattern_is_quoted_so_that_nothing_in_it_is_special() -> None:
    assert exact_pattern('a"b', "*.?") == '"a""b"."*.?"'


@given(names)
def test_a_quoted_name_has_only_doubled_quotes_inside(name: str) -> None:
    inner = quote_name(name)[1:-1]
    assert inner.replace('""', "").count('"') == 0
    assert inner.replace('""', '"') == name


@pytest.mark.parametrize(
    ("text", "literal"),
    [("plain", "'plain'"), ("it's", "'it''s'"), ("a\\b", "E'a\\\\b'"), ("\\'", "E'\\\\'''"), ("", "''")],
)
def test_a_text_is_quoted_with_its_quotes_and_backslashes(text: str, literal: str) -> None:
    assert quote_text(text) == literal


@pytest.mark.parametrize(
    ("name", "value", "values"),
    [
        ("work_mem", "5MB, really", ["5MB, really"]),
        ("search_path", '"$user", public', ["$user", "public"]),
        ("Search_Path", '"odd, ""name""", auth', ['odd, "name"', "auth"]),
        ("search_path", "", [""]),
        ("search_path", '""', [""]),
        ("session_preload_libraries", "one,two", ["one", "two"]),
    ],
)
def test_only_list_parameters_are_split(name: str, value: str, values: list[str]) -> None:
    assert setting_values(name, value) == values


@given(names, names)
def test_folder_names_are_safe_and_differ_when_the_names_do(one: str, other: str) -> None:
    folder = folder_name(one)
    assert folder.isascii()
    assert "/" not in folder
    assert folder not in (".", "..")
    assert (folder == folder_name(other)) == (one == other)


def test_the_longest_identifier_fits_into_a_file_name() -> None:
    assert len(folder_name("ü" * 31)) < 255
