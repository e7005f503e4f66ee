"""What the catalog records of reports: what each was about, how it came out, and the digests of its files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class ControlStatus(StrEnum):
    """How a control came out; what was not evaluated is never a pass."""

    PASS = "PASS"  # noqa: S105  a status
    WARN = "WARN"
    FAIL = "FAIL"
    NOT_EVALUATED = "NOT_EVALUATED"


@dataclass(frozen=True, slots=True)
class ControlResult:
    """One control of one report."""

    id: str
    title: str
    status: ControlStatus
    numerator: int
    denominator: int
    observed: str
    """What was found, as a sentence."""

    @property
    def percent(self) -> str:
        """The share, cut to two places (100 means all), or "–" without a denominator."""
        if not self.denominator:
            return "–"
        hundredths = self.numerator * 10_000 // self.denominator
        return f"{hundredths // 100}.{hundredths % 100:02} %"


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A file of a report, as it was written."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Report:
    """A row of `reports`; times are aware UTC."""

    id: UUID
    period: str
    starts_at: datetime
    ends_at: datetime
    """The first moment after the period."""
    zone: str
    source: str
    """Empty: all sources."""
    made_at: datetime
    made_by: str
    policy_version: str
    verdict: ControlStatus
    controls: tuple[ControlResult, ...]
    files: tuple[ReportFile, ...]
    flow_run_id: UUID | None = None
