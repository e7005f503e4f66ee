"""What the command line shows."""

from __future__ import annotations

import json

import pytest

from edurise_backup.cli.output import Output, duration, printable, size, table
from edurise_backup.errors import BackupError, CancelledError, InputError, SpaceError


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (9 << 60, "9216.0 PiB")],
)
def test_sizes_read_like_sizes(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (185, "3 min 05 s"), (3720, "1 h 02 min")]
)
def test_durations_read_like_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_files_name_cannot_move_the_cursor_or_break_a_line() -> None:
    assert printable("a\x1b[2Jb\nc\udcff") == "a\\x1b[2Jb\\nc\\xff"
    assert printable("über 漢字") == "über 漢字"
    assert len(table(["Name"], [["a\nb"]]).splitlines()) == 3


def test_an_error_says_what_happened_what_is_safe_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    Output().error(InputError("it happened", safe="all", hint="do this"))
    assert capsys.readouterr().err == "it happened\nSafe: all\nTo do: do this\n"
    Output(json=True).error(SpaceError("full"))
    assert json.loads(capsys.readouterr().err) == {"error": "full", "safe": "", "hint": "", "exit_status": 2}


def test_each_error_has_its_exit_status() -> None:
    assert [kind("x").exit_status for kind in (BackupError, InputError, SpaceError, CancelledError)] == [1, 2, 2, 130]


def test_a_result_is_text_or_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    Output().result({"a": 1}, "text")
    assert capsys.readouterr().out == "text\n"
    Output(json=True).result({"a": 1}, "text")
    assert json.loads(capsys.readouterr().out) == {"a": 1}
    Output(quiet=True).result({"a": 1}, "text")
    assert capsys.readouterr().out == ""
