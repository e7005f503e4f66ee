"""The report flow: one run makes one report of a period, and keeps it."""

# No `from __future__ import annotations` here: Prefect checks a run's parameters against real types, not their names.

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from edurise_backup.config import load_settings
from edurise_backup.model.people import SYSTEM, Actor, Via
from edurise_backup.model.reports import Report
from flows.policies import current_flow_run, told_in_full, whole_operation
from flows.results import report_markdown
from reports import make_report
from reports.periods import last_month


@flow(name="report", persist_result=False, result_serializer="json")
@told_in_full
def report(
    period: str = "",
    source: str = "",
    zone: str = "UTC",
    made_by: str = "",
    report_id: UUID | None = None,
    config_path: Path | None = None,
) -> str:
    """Make a report of a period (empty: last month) and of one source (empty: all); returns its id.

    `made_by` is who asked for it, as whoever started the run says. A report
    that is there under `report_id` is not made again.
    """
    made = make(period, source, zone, made_by, report_id or uuid4(), datetime.now(UTC), config_path)
    create_markdown_artifact(report_markdown(made), key="report", description=f"Report {made.id}")
    return str(made.id)


@whole_operation("make report")
def make(
    period: str, source: str, zone: str, made_by: str, report_id: UUID, now: datetime, config_path: Path | None
) -> Report:
    """Make the report; an attempt after one whose answer was lost finds what that one made."""
    return make_report(
        load_settings(config_path),
        period or last_month(now, zone=zone),
        source,
        now=now,
        actor=Actor(made_by or SYSTEM.name, Via.FLOW),
        zone=zone,
        report_id=report_id,
        flow_run_id=current_flow_run(),
    )
