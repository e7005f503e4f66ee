"""What a report says, before it is laid out: the PDF is made of this and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from edurise_backup.model.reports import ControlResult, ControlStatus, ReportFile
from reports.controls import Policy
from reports.facts import Facts


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The first rows of a table, and how many it has."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    total: int
    file: ReportFile

    def records(self) -> list[dict[str, object]]:
        """Return the rows by the names of their columns."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Document:
    """One report."""

    facts: Facts
    policy: Policy
    results: tuple[ControlResult, ...]
    verdict: ControlStatus
    excerpts: Mapping[str, Excerpt]
    """By the tables' names; every CSV file is one of them."""
    exceptions: tuple[tuple[tuple[str, str], int], ...]
    """How many there are of each severity and kind, the worst first."""
    made_at: datetime
    made_by: str
    product_version: str
