"""The CSV files: exact, readable by programs, harmless in a spreadsheet."""

from __future__ import annotations

import csv
import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest

from reports.lettering import Lettering
from reports.tables import cell, write_table

INDIA = timezone(timedelta(hours=5, minutes=30))


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "＝1", "'=1", '=HYPERLINK("http://x")']
)
def test_a_text_that_looks_like_a_formula_is_marked_and_not_lost(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["a=1", "", "नमस्ते", "5 - 3", "<b>"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert cell(text) == text


def test_values_are_written_for_programs() -> None:
    assert cell(None) == ""
    assert cell(True) == "true"
    assert cell(12_345_678_901) == "12345678901"
    assert cell(-5) == "-5"
    assert cell(datetime(2026, 10, 1, 5, 30, tzinfo=INDIA)) == "2026-10-01T00:00:00.000000Z"
    assert cell(UUID(int=1)) == "00000000-0000-0000-0000-000000000001"
    assert json.loads(cell(["=a", "b; c"])) == ["=a", "b; c"]


def test_a_table_reads_back_as_it_was_and_its_digest_is_that_of_the_file(tmp_path: Path) -> None:
    rows = [("plain", 1), ('with "quotes", commas\nand lines', 2), ("中文", 3), ("=cmd|' /C calc'!A0", 4)]
    file, count = write_table(tmp_path / "t.csv", ("name", "count"), rows)
    content = (tmp_path / "t.csv").read_bytes()
    assert (count, file.size, file.sha256) == (4, len(content), hashlib.sha256(content).hexdigest())
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as text:
        head, *found = csv.reader(text)
    assert head == ["name", "count"]
    assert [name.removeprefix("'") for name, _ in found] == [name for name, _ in rows]
    assert content.endswith(b"\r\n")


def test_a_letter_without_a_sign_is_shown_as_its_number() -> None:
    letters = Lettering()
    assert letters.plain("Zürich – naïve") == "Zürich – naïve"
    assert letters.plain("न") == "\\u0928"
    assert letters.plain("😀") == "\\U0001f600"
    assert letters.plain("a\x1b[31m\u202eb") == "a\\u001b[31m\\u202eb"
    assert letters.markup("<b>&") == "&lt;b&gt;&amp;"
    assert "3 more characters in the CSV file" in letters.plain("x" * 603)


def test_moments_are_utc() -> None:
    assert cell(datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)) == "2026-01-02T03:04:05.000678Z"
