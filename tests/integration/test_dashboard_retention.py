"""The retention's page, run by Streamlit's AppTest against a real catalog."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard import queries
from edurise_backup.config import load_settings
from edurise_backup.errors import ForbiddenError
from edurise_backup.model.jobs import BackupType, PartResult
from edurise_backup.model.people import SYSTEM, Role
from edurise_backup.model.protections import Protection, ProtectionKind
from edurise_backup.operations import Catalog, open_catalog
from edurise_backup.postgres.connection import Address
from tests.support.calendar import plant_backup, plant_schedule
from tests.support.pages import DASHBOARD, configure_pages, everything_on
from tests.support.people import be, sign_in_to

pytestmark = pytest.mark.usefixtures("fresh_caches")
HOSTILE = "<script>alert(1)</script> **bold** [link](javascript:alert(1))"


@pytest.fixture
def catalog(catalog_database: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalog]:
    """Point the page at an empty catalog, and at a Prefect server that is not there."""
    configure_pages(catalog_database, tmp_path, monkeypatch)
    with open_catalog(load_settings()) as opened:
        yield opened


def plant_history(catalog: Catalog, tag: str, *, count: int = 10) -> None:
    for number in range(count):
        part = PartResult(BackupType.FILES, f"{number:064x}", "uploads", 9, 1024, 9, 1)
        at = datetime.now(UTC) - timedelta(days=number, hours=1)
        plant_backup(catalog, [part], at=at, tags=[tag], source="uploads")


def page(name: str = "retention.py", *, admin: Catalog | None = None) -> AppTest:
    app = AppTest.from_file(str(DASHBOARD / "views" / name), default_timeout=60)
    if admin is not None:
        sign_in_to(app, admin, "ada", Role.ADMIN)
    app.run()
    assert not app.exception
    return app


def tiles(app: AppTest) -> dict[str, str]:
    return {tile.label: tile.value for tile in app.metric}


def test_the_frame_names_the_page() -> None:
    assert '"views/retention.py"' in (DASHBOARD / "app.py").read_text()


def test_without_history_and_holds_the_page_says_how_to_begin(catalog: Catalog) -> None:
    app = page()
    assert "hold add ID --reason TEXT" in app.info[0].value
    assert not app.error
    app = page("schedules.py")
    assert not app.error
    assert tiles(app)["Most at once"] == "8"  # seven days and the newest of a policy of one's own, daily backups


def test_a_schedule_is_simulated_with_its_own_policy_and_what_it_misses_is_told(catalog: Catalog) -> None:
    schedule = plant_schedule(catalog, "nightly *x*", source="uploads", retention=5, frequency="every day at 02:00")
    plant_history(catalog, f"schedule={schedule}")
    app = page("schedules.py")
    chooser = next(found for found in app.selectbox if found.label == "Schedule" and len(found.options) > 1)
    app = chooser.select_index(1).run()
    assert not app.exception
    assert app.number_input(key=f"days {schedule}").value == 5
    assert "Misses retention" in everything_on(app)
    assert "Misses verified" in everything_on(app)
    before = tiles(app)
    assert before["Kept at the end"] == "6"
    app = app.number_input(key=f"weekly {schedule}").set_value(-1).run()
    assert "Misses retention" not in everything_on(app)
    assert int(tiles(app)["Kept at the end"]) > 10
    assert len(app.dataframe[-1].value) == 90


def test_a_policy_that_would_keep_nothing_is_an_error_that_says_what_to_do(catalog: Catalog) -> None:
    app = page("schedules.py")
    app = app.number_input(key="days own").set_value(0).run()
    assert not app.exception
    assert "would keep nothing" in app.error[0].value
    assert "To do" in app.error[0].value


def test_pins_and_holds_are_listed_as_text_and_one_that_vanished_is_an_alarm(catalog: Catalog) -> None:
    now = datetime.now(UTC)
    made = [
        Protection(uuid4(), ProtectionKind.HOLD, uuid4(), ("ab" * 32,), HOSTILE, "ann", now, None),
        Protection(uuid4(), ProtectionKind.PIN, uuid4(), ("cd" * 32,), "exam papers", "bob", now, None),
    ]
    for one in made:
        catalog.protections.add(one, SYSTEM)
    catalog.protections.compare([one.id for one in made], made[:1])
    app = page()
    table = app.dataframe[0].value
    assert dict(zip(table["Kind"], table["State"], strict=True)) == {"hold": "in force", "pin": "vanished"}
    assert HOSTILE in list(table["Reason"])
    assert "nobody has released it" in app.error[0].value
    assert "<script>" not in everything_on(app)


def test_nothing_is_forgotten_before_the_word_is_typed_and_without_prefect_nothing_is_queued(catalog: Catalog) -> None:
    app = page(admin=catalog)
    forget = next(found for found in app.button if found.label == "Forget now")
    assert forget.disabled
    app = app.text_input(key="retention confirmation").set_value("forget").run()
    forget = next(found for found in app.button if found.label == "Forget now")
    assert not forget.disabled
    app = forget.click().run()
    assert "does not answer" in app.error[0].value
    assert catalog.maintenance.newest(limit=1) == ()


def test_whoever_may_only_look_starts_nothing(catalog: Catalog) -> None:
    be(catalog, "eve", Role.VIEWER)
    for dry_run in (True, False):
        with pytest.raises(ForbiddenError, match="eve may not"):
            queries.actions().retain(dry_run=dry_run)
    st.session_state.clear()
