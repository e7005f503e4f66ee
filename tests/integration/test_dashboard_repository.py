"""The repository's page, run by Streamlit's AppTest against a real catalog."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from edurise_backup.catalog.jobs import BackupJobs
from edurise_backup.catalog.maintenance import MaintenanceJobs
from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.presence import known_backups, mark_forgotten, note_presence
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.model.jobs import BackupJob, BackupType, JobId, JobStatus, PartResult, Verdict
from edurise_backup.model.maintenance import (
    CheckFigures,
    MaintenanceFigures,
    MaintenanceJob,
    MaintenanceKind,
    PruneFigures,
)
from edurise_backup.postgres.connection import Address
from tests.support.pages import DASHBOARD, configure_pages, everything_on
from tests.support.postgres import drop_database

pytestmark = pytest.mark.usefixtures("fresh_caches")
HOSTILE = "<script>alert(1)</script> **bold** [link](javascript:alert(1))"
MIB = 1024**2


@pytest.fixture
def sessions(catalog_database: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
    """Point the page at an empty catalog, and at a Prefect server that is not there."""
    configure_pages(catalog_database, tmp_path, monkeypatch)
    with Sessions.to(catalog_database) as opened:
        migrate(opened)
        yield opened


def checked(*, within: float = 100.0, overdue: int = 0) -> MaintenanceFigures:
    figures = CheckFigures(
        10, 3, 5 * MIB, 0, 0, 0, datetime.now(UTC) - timedelta(days=12), overdue, overdue * MIB, within
    )
    return MaintenanceFigures(4, 9, 90 * MIB, checked=figures)


def pruned(refusal: str = "") -> MaintenanceFigures:
    until = datetime.now(UTC) + timedelta(hours=20)
    return MaintenanceFigures(
        4, 8, 80 * MIB, pruned=PruneFigures(2, 70 * MIB, MIB, 3, 5 * MIB, 4, 6 * MIB, until, refusal)
    )


def plant(sessions: Sessions, kind: MaintenanceKind, *, dry_run: bool = False, **changes: object) -> MaintenanceJob:
    """Write a job that ran and ended; completed unless `changes` say otherwise."""
    jobs = MaintenanceJobs(sessions)
    queued = MaintenanceJob(JobId(uuid4()), kind, JobStatus.QUEUED, dry_run=dry_run, asked="budget 5%")
    jobs.create(queued)
    jobs.start(queued.id)
    figures = checked() if kind is MaintenanceKind.CHECK else pruned()
    verdict = Verdict.PASSED if kind is MaintenanceKind.CHECK else None
    done = replace(queued, status=JobStatus.COMPLETED, figures=figures, verification_status=verdict)
    assert jobs.finish(replace(done, **changes))  # type: ignore[arg-type]
    return jobs.get(queued.id)


def plant_backup(sessions: Sessions) -> BackupJob:
    jobs = BackupJobs(sessions)
    queued = BackupJob(JobId(uuid4()), BackupType.FILES, JobStatus.QUEUED)
    jobs.create(queued)
    jobs.start(queued.id)
    snapshot = hashlib.sha256(queued.id.bytes).hexdigest()
    parts = (PartResult(BackupType.FILES, snapshot, "uploads", 1, 1, 1, 1),)
    done = replace(queued, status=JobStatus.COMPLETED, size=1, location="here", checksum=snapshot, parts=parts)
    assert jobs.finish(done)
    return jobs.get(queued.id)


def page() -> AppTest:
    app = AppTest.from_file(str(DASHBOARD / "views" / "repository.py"), default_timeout=60).run()
    assert not app.exception
    return app


def tiles(app: AppTest) -> dict[str, str]:
    return {tile.label: tile.value for tile in app.metric}


def button(app: AppTest, label: str) -> Button:
    return next(found for found in app.button if found.label == label)


def test_the_frame_names_the_page() -> None:
    assert '"views/repository.py"' in (DASHBOARD / "app.py").read_text()


def test_a_repository_that_was_never_checked_says_how_to_begin(sessions: Sessions) -> None:
    app = page()
    assert "never checked" in app.info[0].value
    assert not app.error
    assert tiles(app)["Proved within 30 days"] == "–"


def test_a_sound_repository_shows_proof_size_and_what_waits(sessions: Sessions) -> None:
    plant(sessions, MaintenanceKind.CHECK)
    plant(sessions, MaintenanceKind.PRUNE)
    app = page()
    assert "The repository is sound" in app.success[0].value
    assert "Every byte proved within 30 days: 100 %, oldest proof 12 d" in app.success[0].value
    shown = tiles(app)
    assert (shown["Repository"], shown["Waits for its grace"]) == ("80.0 MiB", "6.0 MiB")
    assert "5.0 MiB in 3 packs were deleted" in everything_on(app)
    table = app.dataframe[-1].value
    assert list(table["Kind"]) == ["prune", "check"]


def test_bytes_that_are_overdue_are_a_warning(sessions: Sessions) -> None:
    plant(sessions, MaintenanceKind.CHECK, figures=checked(within=87.0, overdue=2))
    warning = page().warning[0].value
    assert "not every byte was proved" in warning
    assert "87 %" in warning
    assert "2 packs are overdue" in warning


def test_damage_is_an_error_with_its_findings_and_where_to_read_on(sessions: Sessions) -> None:
    plant(
        sessions,
        MaintenanceKind.CHECK,
        verification_status=Verdict.FAILED,
        findings=(HOSTILE, *(f"pack {number} is missing" for number in range(30))),
    )
    app = page()
    assert "did not pass its last check" in app.error[0].value
    assert "and 11 more" in everything_on(app)
    assert "docs/operations/repository.md" in everything_on(app)
    assert HOSTILE not in everything_on(app)
    assert not any(element.allow_html for element in app.markdown)


def test_a_refused_prune_shows_why_and_what_to_do(sessions: Sessions) -> None:
    plant(sessions, MaintenanceKind.PRUNE, status=JobStatus.FAILED, figures=None, error="too much", hint="look twice")
    shown = page().error[0].value
    assert "The last prune did not go through" in shown
    assert "To do: look twice" in shown


def test_backups_that_are_missing_raise_the_alarm_and_forgotten_ones_do_not(sessions: Sessions) -> None:
    missing, forgotten = plant_backup(sessions), plant_backup(sessions)
    now = datetime.now(UTC)
    mark_forgotten(sessions, [forgotten.id], at=now, until=now + timedelta(days=7))
    assert note_presence(sessions, known_backups(sessions), listed=set(), waiting={}, now=now) == (missing.id,)
    mark_forgotten(sessions, [forgotten.id], at=now, until=now + timedelta(days=7))
    app = page()
    alarm = app.error[0].value
    assert "forgotten by nobody" in alarm
    assert str(missing.id)[:8] in alarm
    assert str(forgotten.id)[:8] not in alarm
    table = app.dataframe[0].value.set_index("Id")
    assert table.loc[str(missing.id)[:8], "State"] == "missing"
    assert table.loc[str(forgotten.id)[:8], "State"] == "forgotten"
    assert tiles(app)["Forgotten, can be brought back"] == "1"


def test_the_prune_dialog_shows_the_dry_run_and_waits_for_the_word(sessions: Sessions) -> None:
    plant(sessions, MaintenanceKind.PRUNE, dry_run=True)
    app = page()
    button(app, "Prune …").click().run()
    assert "would be deleted" in everything_on(app)
    assert "It would not be refused" in everything_on(app)
    assert button(app, "Prune now").disabled


def test_without_a_dry_run_the_dialog_says_what_a_prune_does(sessions: Sessions) -> None:
    app = page()
    button(app, "Prune …").click().run()
    assert "A prune removes data that no backup refers to" in everything_on(app)
    assert "There is no dry run of the last hour" in everything_on(app)


def test_without_prefect_no_check_is_queued_and_the_page_says_what_to_do(sessions: Sessions) -> None:
    app = page()
    button(app, "Check now").click().run()
    assert "Safe: nothing was started" in app.error[0].value
    assert MaintenanceJobs(sessions).newest() == ()


def test_figures_stay_with_their_time_when_the_catalog_goes_away(sessions: Sessions, catalog_database: Address) -> None:
    plant(sessions, MaintenanceKind.CHECK)
    app = page()
    drop_database(replace(catalog_database, database="postgres"), catalog_database.database)
    st.cache_data.clear()
    app.run()
    assert any("Not up to date: shown as of" in warning.value for warning in app.warning)
    assert tiles(app)["Repository"] == "90.0 MiB"


def test_the_first_page_lists_maintenance_beside_backups(sessions: Sessions) -> None:
    plant(sessions, MaintenanceKind.CHECK)
    plant(sessions, MaintenanceKind.PRUNE)
    app = AppTest.from_file(str(DASHBOARD / "app.py"), default_timeout=60).run()
    assert not app.exception
    table = app.dataframe[-1].value
    assert list(table["Type"]) == ["Prune", "Check"]
    assert list(table["Proof"]) == ["–", "✓ passed"]
