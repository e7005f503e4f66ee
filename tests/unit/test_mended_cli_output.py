"""What the command line does when nobody watches any more, is told to be quiet, or meets a name that is not UTF-8."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from edurise_backup.cli.command import _status
from edurise_backup.cli.output import Output, TerminalProgress, as_json
from edurise_backup.errors import BackupError

NOT_UTF8 = os.fsdecode(b"caf\xe9")


class GoneTerminal(io.StringIO):
    """A standard error whose terminal was closed."""

    def write(self, text: str) -> int:
        """Fail as a write to a closed terminal does."""
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_request_to_stop_cancels_and_the_second_one_kills(number: signal.Signals) -> None:
    came: list[int] = []
    before = signal.signal(number, lambda signum, _frame: came.append(signum))
    try:
        with Output().progress() as progress:
            signal.raise_signal(number)
            with pytest.raises(BackupError, match="stopped by request"):
                progress.raise_if_cancelled()
            assert came == []
            signal.raise_signal(number)
            assert came == [number]
    finally:
        signal.signal(number, before)


def test_work_goes_on_when_its_terminal_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", GoneTerminal())
    progress = TerminalProgress()
    progress.phase("files", bytes_total=10)
    progress.advance(bytes_done=10)
    progress.close()
    Output().error(BackupError("nobody reads this"))


def test_a_broken_pipe_of_the_work_is_not_taken_for_success() -> None:
    def work() -> int:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        _status(Output(), work)


def piped_to_nobody(monkeypatch: pytest.MonkeyPatch) -> io.TextIOWrapper:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


def test_a_reader_who_has_gone_does_not_change_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> int:
        Output().result({}, "text")
        return 3

    with piped_to_nobody(monkeypatch) as stream:
        assert _status(Output(), work) == 3
        stream.write("what Python still holds when it ends goes nowhere, without an error")


def test_a_result_that_cannot_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(BackupError, match="the result cannot be printed"):
            Output().result({}, "text")


def test_quiet_prints_only_what_must_not_be_missed(capsys: pytest.CaptureFixture[str]) -> None:
    Output(quiet=True).result({}, "text")
    assert capsys.readouterr().out == ""
    Output(quiet=True).result({}, "text", even_quiet="the key")
    assert capsys.readouterr().out == "the key\n"
    Output(quiet=True, json=True).result({"a": 1}, "text")
    assert json.loads(capsys.readouterr().out) == {"a": 1}


def test_json_holds_names_that_are_not_utf8_escaped() -> None:
    document = json.loads(as_json({NOT_UTF8: [NOT_UTF8, Path("a") / NOT_UTF8, 1, None], "é": "é"}))
    assert document == {"caf\\xe9": ["caf\\xe9", "a/caf\\xe9", 1, None], "é": "é"}


def test_text_and_errors_may_hold_names_that_are_not_utf8(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Output(json=True).error(BackupError(NOT_UTF8))
    assert json.loads(capsys.readouterr().err)["error"] == "caf\\xe9"
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8"))
    Output().result({}, NOT_UTF8)
    assert written.getvalue() == b"caf\\udce9\n"
