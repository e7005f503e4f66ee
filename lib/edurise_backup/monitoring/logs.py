"""What happens, as lines of JSON on standard error: one for each event, with the job's id. No secret is in any.

The library writes events to Python's logging, under `edurise_backup`; whoever
wants them as JSON calls `log_json`.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO
from uuid import UUID

from edurise_backup.model.alarms import Alarm
from edurise_backup.ports import Progress

VARIABLE = "EDURISE_LOG_JSON"
"""The environment variable that asks for it, where there is no option."""
_NAME = "edurise_backup"
_FIELDS = "fields"
_logger = logging.getLogger(f"{_NAME}.events")


class JsonLines(logging.Formatter):
    """A log record as one JSON object; an exception as its class alone, because its text may hold anything."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "at": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= getattr(record, _FIELDS, {})
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line, default=str)


def log_json(stream: TextIO | None = None) -> None:
    """Write the library's log as JSON from now on, to standard error unless said otherwise; twice is as once."""
    logger = logging.getLogger(_NAME)
    for handler in list(logger.handlers):
        if isinstance(handler.formatter, JsonLines):
            logger.removeHandler(handler)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def log_json_where_asked(environment: Mapping[str, str]) -> None:
    """Do `log_json` when the environment asks for it."""
    if environment.get(VARIABLE, "").strip().lower() in ("1", "true", "yes", "on"):
        log_json()


def log_event(event: str, message: str, **fields: object) -> None:
    """Write one event; `fields` are what a program looks for."""
    _logger.info("%s", message, extra={_FIELDS: {"event": event, **fields}})


def log_alarm(alarm: Alarm) -> None:
    """Write that an alarm is new."""
    log_event(
        "alarm",
        alarm.message,
        kind=alarm.kind.value,
        subject=alarm.subject,
        severity=alarm.severity.value,
        remedy=alarm.remedy,
    )


class LoggedProgress:
    """Passes a job's progress on, and writes each phase to the log; satisfies `ports.Progress`."""

    def __init__(self, job_id: UUID, kind: str, then: Progress | None) -> None:
        self._job_id = job_id
        self._kind = kind
        self._then = then

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        """Write that the phase begins."""
        log_event(
            "phase", f"{self._kind} {self._job_id}: {name}", job_id=str(self._job_id), kind=self._kind, phase=name
        )
        if self._then is not None:
            self._then.phase(name, bytes_total=bytes_total)

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Write nothing: that would be a line for every block."""
        if self._then is not None:
            self._then.advance(bytes_done=bytes_done, files_done=files_done)

    def raise_if_cancelled(self) -> None:
        """Raise CancelledError when a person asked to stop."""
        if self._then is not None:
            self._then.raise_if_cancelled()
