"""Storage trends, Performance and Reports, run by Streamlit's AppTest against a real catalog."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from edurise_backup import operations
from edurise_backup.catalog.space import StoreSpace
from edurise_backup.config import load_settings
from edurise_backup.model.people import SYSTEM
from edurise_backup.model.reports import Report
from edurise_backup.model.space import SpaceReading
from edurise_backup.operations import Catalog
from edurise_backup.operations.space import note_space, space_location
from edurise_backup.postgres.connection import Address
from flows.processes import LOOPBACK, free_port
from reports import folder_of, make_report
from tests.support.history import insert, plant, prove
from tests.support.pages import DASHBOARD, configure_pages, everything_on
from tests.support.postgres import drop_database

pytestmark = pytest.mark.usefixtures("fresh_caches")
APP = DASHBOARD / "app.py"
HOSTILE = "<script>alert(1)</script> **bold** [link](javascript:alert(1))"
NOW = datetime.now(UTC).replace(microsecond=0)
GIB = 1024**3


@pytest.fixture
def configured(catalog_database: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return configure_pages(
        catalog_database,
        tmp_path,
        monkeypatch,
        '[repository]\nlocation = "repository"\n[[files]]\nname = "uploads"\npaths = ["uploads"]\n',
    )


@pytest.fixture
def catalog(configured: Path) -> Iterator[Catalog]:
    with operations.open_catalog(load_settings(configured)) as catalog:
        yield catalog


def page(name: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60).run().switch_page(f"views/{name}.py").run()
    assert not app.exception
    return app


def tiles(app: AppTest) -> dict[str, str]:
    return {tile.label: str(tile.value) for tile in app.metric}


def plant_days(catalog: Catalog) -> None:
    """Plant three good backups a day apart, the second a full one of five hours, with a failed one between."""
    with catalog.sessions.transaction() as connection:
        for day, minutes, incremental in ((3, 30, True), (2, 300, False), (1, 20, True)):
            job = plant(connection, NOW - timedelta(days=day), minutes, incremental=incremental)
            if day == 1:
                prove(connection, "verification_jobs", job, NOW - timedelta(hours=10), 10, bytes_read=6_000)
                for place, (name, length) in enumerate((("database", 15), (HOSTILE, 5))):
                    began = NOW - timedelta(days=1) + timedelta(minutes=15 * place)
                    ended = began + timedelta(minutes=length)
                    row = {"backup_id": job, "ordinal": place, "name": name, "started_at": began}
                    insert(connection, "job_phases", row | {"completed_at": ended, "bytes_done": 900_000})
        plant(connection, NOW - timedelta(days=1), 1, status="failed", error="no")


@pytest.mark.parametrize(
    ("name", "told"),
    [("storage", "No good backup began"), ("performance", "No job ended well"), ("reports", "No report")],
)
def test_an_empty_catalog_says_what_to_do_and_shows_no_figures(configured: Path, name: str, told: str) -> None:
    app = page(name)
    assert told in "\n".join(info.value for info in app.info)
    assert not app.error
    assert not app.dataframe


def alone(name: str) -> AppTest:
    """Draw the page without its frame, which asks the catalog who is there."""
    return AppTest.from_file(str(APP.parent / "views" / f"{name}.py"), default_timeout=60).run()


@pytest.mark.parametrize("name", ["storage", "performance", "reports"])
def test_a_catalog_that_does_not_answer_is_an_error_and_never_an_empty_page(configured: Path, name: str) -> None:
    configured.write_text(f'[catalog]\nurl = "postgresql://somebody@{LOOPBACK}:{free_port()}/nothing"\n')
    app = alone(name)
    assert "To do:" in app.error[0].value
    assert not app.metric
    assert not any("yet" in info.value for info in app.info)


@pytest.mark.parametrize("name", ["storage", "performance", "reports"])
def test_a_mistake_in_the_configuration_is_told_with_its_line(configured: Path, name: str) -> None:
    configured.write_text('data_directory = "x"\nnonsense = 1\n')
    assert "line 2" in alone(name).error[0].value


def test_storage_tells_the_four_sizes_by_day_and_by_source(catalog: Catalog) -> None:
    plant_days(catalog)
    app = page("storage")
    shown = tiles(app)
    assert shown["Original"] == "11.7 KiB"  # 3 backups of 4,000 bytes
    assert shown["After deduplication"] == "1.2 KiB"
    assert shown["After compression"] == "270 bytes"
    assert shown["Stored"] == "300 bytes"
    days, sources = (element.value for element in app.dataframe[:2])
    assert list(days["Backups"]) == [1, 1, 1]
    assert list(days["Stored"]) == ["100 bytes"] * 3
    assert dict(zip(sources["Source"], sources["Stored"], strict=True))["uploads"] == "75 bytes"


def test_storage_cannot_tell_what_was_not_recorded_and_says_so(catalog: Catalog) -> None:
    with catalog.sessions.transaction() as connection:
        plant(connection, NOW - timedelta(days=1), 5, new_bytes=None, compressed_bytes=None)
    app = page("storage")
    assert tiles(app)["After deduplication"] == "–"
    assert tiles(app)["Days to full"] == "–"
    assert "Cannot tell when the store is full" in everything_on(app)
    assert "growth cannot be told" in everything_on(app)


def test_storage_warns_before_the_store_is_full(catalog: Catalog, configured: Path) -> None:
    plant_days(catalog)
    location = space_location(load_settings(configured))
    for days, free in ((2, 120), (1, 110), (0, 100)):
        reading = SpaceReading(NOW - timedelta(days=days), 500 * GIB, free * GIB)
        StoreSpace(catalog.sessions).add(location, reading)
    app = page("storage")
    assert "full in 10 days" in app.warning[0].value
    assert "at least 30 days" in app.warning[0].value
    assert tiles(app)["Days to full"] == "10"
    assert tiles(app)["Free on the store's disk"] == "100.0 GiB"
    assert tiles(app)["Free room lost a day"] == "+10.0 GiB"


def test_the_room_of_a_local_store_is_recorded_and_what_cannot_be_read_is_no_error(
    catalog: Catalog, configured: Path
) -> None:
    settings = load_settings(configured)
    assert note_space(catalog.sessions, settings, NOW) is None  # the folder is not there
    Path(settings.repository.location).mkdir()
    assert note_space(catalog.sessions, settings, NOW) is not None
    (reading,) = StoreSpace(catalog.sessions).readings(space_location(settings))
    assert reading.at == NOW
    assert 0 < reading.free_bytes <= reading.total_bytes


def test_performance_counts_jobs_against_their_objectives(catalog: Catalog) -> None:
    plant_days(catalog)
    app = page("performance")
    assert tiles(app) == {
        "Full backups within 4 h 0 min": "0 of 1",
        "Incremental backups within 1 h 0 min": "2 of 2",
        "Verifications within 30 min 0 s": "1 of 1",
        "Recoveries within 2 h 0 min": "none yet",
    }
    assert "1 took longer; the longest 5 h 0 min" in everything_on(app)
    work, phases = (element.value for element in app.dataframe[:2])
    assert list(work["Work"]) == ["full", "full, incremental", "verification"]
    assert list(work["p50"]) == ["5 h 0 min", "25 min 0 s", "10 min 0 s"]
    assert list(work["p95"]) == ["5 h 0 min", "29 min 30 s", "10 min 0 s"]
    assert list(work["Throughput"]) == ["0 bytes/s", "0 bytes/s", "10 bytes/s"]
    assert list(phases["Phase"]) == ["database", HOSTILE]
    assert list(phases["Throughput"]) == ["1,000 bytes/s", "2.9 KiB/s"]
    assert HOSTILE not in everything_on(app)


def test_figures_stay_with_their_time_when_the_catalog_goes_away(catalog: Catalog, catalog_database: Address) -> None:
    plant_days(catalog)
    app = page("performance")
    drop_database(replace(catalog_database, database="postgres"), catalog_database.database)
    st.cache_data.clear()
    app.run()
    assert any("Not up to date: shown as of" in warning.value for warning in app.warning)
    assert tiles(app)["Verifications within 30 min 0 s"] == "1 of 1"


def made(configured: Path) -> Report:
    settings = load_settings(configured)
    return make_report(settings, f"{NOW - timedelta(days=1):%Y-%m-%d}", now=NOW, actor=SYSTEM)


def test_reports_shows_the_figures_of_the_report_and_offers_a_file_that_is_as_it_was(
    catalog: Catalog, configured: Path
) -> None:
    plant_days(catalog)
    report = made(configured)
    app = page("reports")
    listed, controls, files = (element.value for element in app.dataframe[:3])
    assert list(listed["SHA-256 of the PDF"]) == [report.files[0].sha256]
    assert list(controls["Counted"]) == [result.numerator for result in report.controls]
    assert list(controls["Of"]) == [result.denominator for result in report.controls]
    assert list(controls["Share"]) == [result.percent for result in report.controls]
    assert list(files["SHA-256"]) == [file.sha256 for file in report.files]
    assert not app.get("download_button")
    app.selectbox(key=f"file of {report.id}").select("backups.csv").run()
    assert "It is as it was written" in everything_on(app)
    assert len(app.get("download_button")) == 1


def test_reports_does_not_offer_a_file_that_was_changed(catalog: Catalog, configured: Path) -> None:
    report = made(configured)
    (folder_of(load_settings(configured), report.id) / "backups.csv").write_text("forged")
    app = page("reports")
    app.selectbox(key=f"file of {report.id}").select("backups.csv").run()
    assert "is not what was written" in app.error[0].value
    assert not app.get("download_button")


@pytest.mark.parametrize(("period", "told"), [("2026-10", "does not answer"), ("nonsense", "is no period")])
def test_what_keeps_a_report_from_being_started_is_told(configured: Path, period: str, told: str) -> None:
    app = page("reports")
    app.text_input(key="report period").set_value(period).run()
    next(button for button in app.button if button.label == "Make report").click().run()
    assert told in app.error[0].value
    assert "Safe: nothing was" in app.error[0].value


def test_reports_offers_the_configured_sources(configured: Path) -> None:
    assert "uploads" in page("reports").selectbox(key="report source").options
