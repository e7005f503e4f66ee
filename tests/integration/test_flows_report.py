"""The report flow in Prefect's harness."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.postgres.connection import Address
from flows.report import report
from reports import list_reports, verify_report
from reports.periods import last_month
from tests.support.product import configure


@pytest.fixture
def settings_path(prefect_server: None, tmp_path: Path, catalog_database: Address) -> Path:
    return configure(tmp_path, catalog_database)


def test_a_run_makes_last_months_report_and_shows_its_digests(settings_path: Path) -> None:
    settings, wanted = load_settings(settings_path), uuid4()
    before = last_month(datetime.now(UTC))
    given = {"report_id": wanted, "made_by": "asha", "config_path": settings_path}
    state: State[str] = report(**given, return_state=True)  # type: ignore[call-overload]
    assert state.is_completed(), state.message
    (made,) = list_reports(settings)
    assert (str(made.id), made.made_by, made.period) == (str(state.result()), "asha", before)
    assert (made.id, made.flow_run_id) == (wanted, state.state_details.flow_run_id)
    assert verify_report(settings, made) == ()
    run_id = UUID(str(state.state_details.flow_run_id))
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        )
    assert made.files[0].sha256 in str(artifact.data)
    again: State[str] = report(**given, return_state=True)  # type: ignore[call-overload]
    assert again.is_completed()
    assert list_reports(settings) == (made,)
    with operations.open_catalog(settings) as catalog:
        (row,) = [row for row in catalog.audit.rows() if row.action == "report.make"]
    assert (row.actor, row.via) == ("asha", "flow")


def test_a_wrong_period_is_a_failed_run_that_says_what_to_do(settings_path: Path) -> None:
    state: State[str] = report(period="2026-Q5", config_path=settings_path, return_state=True)
    assert state.is_failed()
    assert "is no period" in (state.message or "")
    assert "To do:" in (state.message or "")
    assert list_reports(load_settings(settings_path)) == ()
