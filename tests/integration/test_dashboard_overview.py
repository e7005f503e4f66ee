"""The first page, run by Streamlit's AppTest against a real catalog."""

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

from dashboard.launching import recovery_problem
from edurise_backup.catalog.jobs import BackupJobs
from edurise_backup.catalog.lifecycle import Beat
from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.config import load_settings
from edurise_backup.model.jobs import (
    BackupFilters,
    BackupJob,
    BackupType,
    BucketsTo,
    JobId,
    JobStatus,
    PartResult,
    Usage,
)
from edurise_backup.postgres.connection import Address
from flows.processes import LOOPBACK, free_port
from tests.support.pages import DASHBOARD, configure_pages, everything_on
from tests.support.postgres import drop_database

pytestmark = pytest.mark.usefixtures("fresh_caches")
APP = DASHBOARD / "app.py"
SECONDS = 60
HOSTILE = "<script>alert(1)</script> **bold** [link](javascript:alert(1))"


@pytest.fixture
def configured(catalog_database: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the product at an empty catalog and at a Prefect server that is not there; returns the settings file."""
    return configure_pages(catalog_database, tmp_path, monkeypatch)


@pytest.fixture
def jobs(catalog_database: Address, configured: Path) -> Iterator[BackupJobs]:
    """Yield the catalog's backup rows, to plant some."""
    with Sessions.to(catalog_database) as sessions:
        migrate(sessions)
        yield BackupJobs(sessions)


def plant(jobs: BackupJobs, kind: BackupType = BackupType.FULL, **changes: object) -> JobId:
    """Write a backup that ran and ended; completed unless `changes` say otherwise."""
    job_id = JobId(uuid4())
    queued = BackupJob(id=job_id, type=kind, status=JobStatus.QUEUED)
    jobs.create(queued)
    jobs.start(job_id)
    done = replace(
        queued,
        status=JobStatus.COMPLETED,
        completed_at=datetime.now(UTC) + timedelta(seconds=1),
        size=3 * 1024**2,
        stored_bytes=1024**2,
        location="repository of a test",
        checksum=hashlib.sha256(job_id.bytes).hexdigest(),
    )
    assert jobs.finish(replace(done, **changes))  # type: ignore[arg-type]
    return job_id


def page() -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=SECONDS).run()
    assert not app.exception
    return app


def test_an_empty_catalog_says_how_to_begin(configured: Path) -> None:
    app = page()
    assert "No backup was made yet" in app.info[0].value
    assert not app.error
    assert not app.metric


def test_a_catalog_that_does_not_answer_is_an_error_and_never_an_empty_page(configured: Path) -> None:
    configured.write_text(f'[catalog]\nurl = "postgresql://somebody@{LOOPBACK}:{free_port()}/nothing"\n')
    app = page()
    assert app.error
    assert "To do:" in app.error[0].value
    assert "No backup was made yet" not in everything_on(app)


def test_a_mistake_in_the_configuration_is_told_with_its_line(configured: Path) -> None:
    configured.write_text('data_directory = "x"\nnonsense = 1\n')
    assert "line 2" in page().error[0].value


def test_a_good_full_set_is_shown_as_recoverable_with_its_figures(jobs: BackupJobs) -> None:
    plant(jobs)
    app = page()
    assert "The whole platform can be recovered to" in app.success[0].value
    assert "UTC" in app.success[0].value
    assert {tile.label: tile.value for tile in app.metric} == {
        "Original bytes": "3.0 MiB",
        "Stored bytes": "1.0 MiB",
        "Original for each stored": "3.0 : 1",
        "Backups verified": "0 of 1",
        "Backups running": "0",
    }


def test_without_a_full_set_the_page_names_what_is_missing(jobs: BackupJobs) -> None:
    plant(jobs, BackupType.FILES)
    warning = page().warning[0].value
    assert "cannot be recovered yet" in warning
    assert "full set, database, configuration, metadata" in warning


def test_the_last_good_backup_of_each_kind_has_its_age_and_id(jobs: BackupJobs) -> None:
    backup = plant(jobs, BackupType.FILES)
    table = page().dataframe[0].value.set_index("Kind")
    assert table.loc["Files", "Backup"] == str(backup)[:8]
    assert table.loc["Database", "Age"] == "never"


def test_a_running_job_shows_its_phase_and_sign_of_life(jobs: BackupJobs) -> None:
    job_id = JobId(uuid4())
    jobs.create(BackupJob(id=job_id, type=BackupType.DATABASE, status=JobStatus.QUEUED))
    jobs.start(job_id)
    jobs.beat(job_id, Beat("database", 0.25, Usage()))
    bars = page().get("progress")
    assert len(bars) == 1
    assert bars[0].proto.value == 25
    assert "running · database · sign of life: just now" in bars[0].proto.text


def test_texts_from_the_catalog_are_data_and_never_markup(jobs: BackupJobs) -> None:
    plant(
        jobs,
        status=JobStatus.FAILED,
        error=HOSTILE,
        hint=HOSTILE,
        size=None,
        location=None,
        checksum=None,
        source=HOSTILE,
    )
    app = page()
    assert app.dataframe[1].value["Error"][0] == HOSTILE
    assert HOSTILE not in everything_on(app)
    assert not any(element.allow_html for element in app.markdown)


def test_figures_stay_with_their_time_when_the_catalog_goes_away(jobs: BackupJobs, catalog_database: Address) -> None:
    plant(jobs)
    app = page()
    drop_database(replace(catalog_database, database="postgres"), catalog_database.database)
    st.cache_data.clear()
    app.run()
    assert any("Not up to date: shown as of" in warning.value for warning in app.warning)
    assert app.metric[0].value == "3.0 MiB"


def test_without_prefect_nothing_is_started_and_the_page_says_what_to_do(jobs: BackupJobs) -> None:
    app = page()
    next(button for button in app.button if button.label == "Back up now").click().run()
    message = app.error[0].value
    assert "does not answer" in message
    assert "Safe: nothing was started" in message
    assert "make up" in message
    assert jobs.find(BackupFilters()) == ()


def test_verify_and_recover_wait_for_a_first_backup(configured: Path) -> None:
    buttons = {button.label: button for button in page().button}
    assert buttons["Verify"].disabled
    assert buttons["Recover …"].disabled
    assert not buttons["Back up now"].disabled


def test_the_recovery_dialog_names_the_backup_and_starts_nothing_by_itself(jobs: BackupJobs) -> None:
    backup = plant(jobs)
    app = page()
    next(button for button in app.button if button.label == "Recover …").click().run()
    assert app.text_input(key="recovery confirmation").label == f"Type {str(backup)[:8]} to confirm"
    assert next(button for button in app.button if button.label == "Recover now").disabled


@pytest.mark.parametrize(
    ("directory", "suffix", "typed", "problem"),
    [
        ("restored", "_x", "0123abcd", "absolute path"),
        ("", "_x", "0123abcd", "absolute path"),
        ("/srv/restored", "_" * 31, "0123abcd", "at most 30 bytes"),
        ("/srv/restored", "_x", "yes", "before 0123abcd is typed"),
        ("/srv/restored", "_x", "", "before 0123abcd is typed"),
    ],
)
def test_a_recovery_waits_for_a_place_and_the_typed_id(directory: str, suffix: str, typed: str, problem: str) -> None:
    assert problem in recovery_problem(directory, suffix, typed, "0123abcd")


def test_a_recovery_with_a_place_and_the_typed_id_may_start() -> None:
    assert recovery_problem(" /srv/restored ", "", " 0123abcd ", "0123abcd") == ""


def test_the_settings_that_the_page_uses_are_those_of_the_product(configured: Path) -> None:
    assert load_settings().path == configured


BUCKET = '[[bucket]]\nname = "media"\nlocation = "s3:https://s3.internal/media"\n'


def test_a_backup_of_a_bucket_may_go_back_into_it_and_of_another_one_nobody_asks(
    jobs: BackupJobs, configured: Path
) -> None:
    configured.write_text(configured.read_text() + BUCKET)
    plant(jobs, BackupType.FILES, parts=(PartResult(BackupType.FILES, "a" * 64, "media", 10, 5, 10, 1),))
    plant(jobs, BackupType.DATABASE)
    asked = []
    for number in range(2):
        app = page()
        app.selectbox(key="backup to recover").select_index(number).run()
        next(button for button in app.button if button.label == "Recover …").click().run()
        asked += [one for one in app.selectbox if one.key == "recovery buckets"]
    (choice,) = asked
    assert choice.value is BucketsTo.FILES
    assert [option.partition(",")[0] for option in choice.options] == [
        "below the directory",
        "back to their configured place",
        "back there; what is there stays",
    ]
