"""Numbers, times and states in the dashboard's words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from dashboard import formatting as words
from edurise_backup.model.jobs import BackupType, JobStatus, Verdict

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "–"),
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (150 * 1024**2, "150.0 MiB"),
        (3 * 1024**6, "3,072.0 PiB"),
    ],
)
def test_sizes_use_binary_units(count: int | None, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (42, "42 s"),
        (60, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (7384, "2 h 3 min"),
        (90000, "1 d 1 h"),
        (-5, "0.0 s"),
    ],
)
def test_durations_show_their_two_largest_units(seconds: float, text: str) -> None:
    assert words.duration(timedelta(seconds=seconds)) == text


def test_an_unknown_duration_is_a_dash() -> None:
    assert words.duration(words.between(NOON, None)) == "–"


@pytest.mark.parametrize(
    ("ago", "text"),
    [(timedelta(seconds=3), "just now"), (timedelta(minutes=5), "5 min 0 s ago"), (timedelta(days=2), "2 d 0 h ago")],
)
def test_ages_are_counted_from_now(ago: timedelta, text: str) -> None:
    assert words.age(NOON - ago, NOON) == text


def test_what_never_was_has_no_age() -> None:
    assert words.age(None, NOON) == "never"


def test_times_are_shown_in_utc_and_say_so() -> None:
    local = datetime(2026, 11, 22, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    assert words.moment_text(local) == "2026-11-22 12:00:00 UTC"


def test_every_status_is_a_word_and_not_an_icon_alone() -> None:
    for status in JobStatus:
        assert words.status_text(status).split(" ", 1)[1] == status.value.replace("_", " ")


def test_every_verdict_is_a_word_and_a_missing_one_too() -> None:
    texts = [words.verdict_text(verdict) for verdict in (None, *Verdict)]
    assert len(set(texts)) == len(texts)
    assert words.verdict_text(None).endswith("not verified")


def test_a_full_backup_is_called_a_set() -> None:
    assert [words.type_text(kind) for kind in BackupType][:2] == ["Full set", "Database"]


def test_names_from_outside_are_shown_as_they_are() -> None:
    assert words.plain("<script>\n*b* :red[x] $y$") == "\\<script\\> \\*b\\* \\:red\\[x\\] \\$y\\$"


def test_nothing_stored_has_no_ratio() -> None:
    assert words.ratio(10, 0) == "–"
    assert words.ratio(30, 20) == "1.5 : 1"
