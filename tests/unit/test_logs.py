"""Events as JSON lines: one object each, with the job's id, and nothing that an exception says."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from uuid import UUID

import pytest

from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.monitoring import logs
from edurise_backup.monitoring.progress import SilentProgress


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logger = logging.getLogger("edurise_backup")
    before, level = list(logger.handlers), logger.level
    logs.log_json(stream)
    yield stream
    logger.handlers, logger.level = before, level


def read(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_alarm_is_one_line_whatever_its_text(lines: io.StringIO) -> None:
    logs.log_alarm(Alarm(AlarmKind.CLOCK_OFF, "ho\nst", Severity.CRITICAL, 'a "b"\n\x1b[2J %s', "set it"))
    (event,) = read(lines)
    assert event.pop("at")
    assert event == {
        "level": "info",
        "message": 'a "b"\n\x1b[2J %s',
        "event": "alarm",
        "kind": "clock_off",
        "subject": "ho\nst",
        "severity": "critical",
        "remedy": "set it",
    }


def test_phases_name_their_job_and_go_on_to_who_watches(lines: io.StringIO) -> None:
    begun: list[str] = []

    class Watching(SilentProgress):
        def phase(self, name: str, *, bytes_total: int | None = None) -> None:
            begun.append(name)

    progress = logs.LoggedProgress(UUID(int=7), "backup", Watching())
    progress.phase("files", bytes_total=3)
    progress.advance(bytes_done=3)
    progress.raise_if_cancelled()
    (event,) = read(lines)
    assert (event["event"], event["job_id"], event["phase"]) == ("phase", str(UUID(int=7)), "files")
    assert begun == ["files"]


def test_an_exception_is_told_by_its_class_alone(lines: io.StringIO) -> None:
    try:
        raise ValueError("canary-91")
    except ValueError:
        logging.getLogger("edurise_backup.x").exception("it failed")
    (event,) = read(lines)
    assert (event["exception"], event["level"]) == ("ValueError", "error")
    assert "canary-91" not in lines.getvalue()


def test_asking_twice_writes_each_event_once(lines: io.StringIO) -> None:
    logs.log_json(lines)
    logs.log_event("x", "y")
    assert len(read(lines)) == 1


@pytest.mark.parametrize(("value", "asked"), [("1", True), ("true", True), ("", False), ("0", False), ("no", False)])
def test_the_environment_may_ask_for_it(value: str, asked: bool) -> None:
    logger = logging.getLogger("edurise_backup")
    before, level = list(logger.handlers), logger.level
    logger.handlers = []
    try:
        logs.log_json_where_asked({logs.VARIABLE: value})
        assert bool(logger.handlers) is asked
    finally:
        logger.handlers, logger.level = before, level
