"""The CSV files of a report: RFC 4180, UTF-8, and safe to open in a spreadsheet.

Moments are ISO 8601 in UTC, sizes are whole bytes, lists are JSON. A text that
a spreadsheet could take for a formula gets an apostrophe before it; so does a
text that begins with an apostrophe, so that taking one off gives the text back.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO
from uuid import UUID

import msgspec

from edurise_backup.model.reports import ReportFile

FORMULA_BEGINS = frozenset("=+-@\t\r\n'＝＋－＠")
"""What a spreadsheet takes for the begin of a formula (the wide forms in some languages), and our own mark."""
_PIECE = 1 << 18


def cell(value: object) -> str:
    """Return a value as a cell holds it."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal() | float():
            return f"{value:f}"
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        case UUID():
            return str(value)
        case list() | tuple():
            return safe(msgspec.json.encode(value).decode())
        case _:
            return safe(str(value))


def safe(text: str) -> str:
    """Return text that no spreadsheet evaluates."""
    return f"'{text}" if text[:1] in FORMULA_BEGINS and text else text


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> tuple[ReportFile, int]:
    """Write a new file and force it to the disk; return it with its digest, and the number of its rows."""
    with path.open("xb") as file:
        sink = _Sink(file)
        writer = csv.writer(sink, lineterminator="\r\n")
        writer.writerow(columns)
        count = 0
        for row in rows:
            writer.writerow([cell(value) for value in row])
            count += 1
        sink.flush()
        file.flush()
        os.fsync(file.fileno())
    return ReportFile(path.name, sink.size, sink.digest.hexdigest()), count


class _Sink:
    """Takes text, passes its bytes on by the piece, and knows their digest."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._waiting = bytearray()
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, text: str) -> int:
        self._waiting += text.encode()
        if len(self._waiting) > _PIECE:
            self.flush()
        return len(text)

    def flush(self) -> None:
        self._file.write(self._waiting)
        self.digest.update(self._waiting)
        self.size += len(self._waiting)
        self._waiting.clear()
