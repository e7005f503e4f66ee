"""Make one report, for `report_quarter` to measure: in a process of its own."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import msgspec

from edurise_backup.config import load_settings
from edurise_backup.model.people import SYSTEM
from reports import make_report
from tests.benchmarks.measuring import answer_with, asked, cpu_seconds, peak


class Request(msgspec.Struct):
    """Which settings, which period, and when the report is made."""

    settings: str
    period: str
    now: datetime


class Made(msgspec.Struct):
    """What the report took; bytes."""

    seconds: float
    cpu: float
    """Seconds of this process; the database server's are not among them."""
    peak: int
    verdict: str
    files: dict[str, int]


def measure(request: Request) -> Made:
    """Make the report."""
    settings = load_settings(Path(request.settings), {})
    began, before = time.monotonic(), cpu_seconds()
    made = make_report(settings, request.period, now=request.now, actor=SYSTEM)
    seconds = time.monotonic() - began
    return Made(
        seconds, cpu_seconds() - before, peak(), made.verdict.value, {file.name: file.size for file in made.files}
    )


if __name__ == "__main__":
    answer_with(measure(asked(Request)))
