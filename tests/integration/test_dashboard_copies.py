"""The section of copies, run by Streamlit's AppTest against a real catalog; no store is ever asked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from edurise_backup import operations
from edurise_backup.catalog.stores import Seen
from edurise_backup.model.jobs import Verdict
from edurise_backup.model.people import Role
from edurise_backup.model.stores import BackupCopy, CopyState
from edurise_backup.operations import Catalog
from edurise_backup.operations.stores import known_copies
from edurise_backup.postgres.connection import Address
from tests.support import planted
from tests.support.pages import DASHBOARD, configure_pages, everything_on
from tests.support.people import sign_in_to

pytestmark = pytest.mark.usefixtures("fresh_caches")
HOSTILE = "<script>alert(1)</script> **bold**"
COPY = '[[copy]]\nname = "offsite"\nlocation = "/nowhere/at/all"\npassword_file = "nothing"\n'


@pytest.fixture
def catalog(catalog_database: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalog]:
    """Point the page at a catalog that knows one copy, whose place does not exist."""
    from edurise_backup.config import load_settings

    settings = load_settings(configure_pages(catalog_database, tmp_path, monkeypatch, COPY))
    with operations.open_catalog(settings) as opened:
        known_copies(settings, opened)
        yield opened


def page(catalog: Catalog | None = None, *roles: Role) -> AppTest:
    app = AppTest.from_file(str(DASHBOARD / "views" / "stores.py"), default_timeout=60)
    if catalog is not None and roles:
        sign_in_to(app, catalog, "-".join(roles), *roles)
    app.run()
    assert not app.exception
    return app


def button(app: AppTest, label: str) -> Button:
    return next(found for found in app.button if found.label == label)


def seen(catalog: Catalog, **changes: bool) -> None:
    catalog.stores.note_seen("offsite", Seen("id", 3, 5 * planted.MIB, **changes))


def test_without_a_copy_the_page_says_what_that_costs_and_how_to_begin(
    catalog_database: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_pages(catalog_database, tmp_path, monkeypatch)
    assert any("There is no copy of the repository" in info.value for info in page().info)


def test_a_copy_that_has_everything_is_good_and_says_what_it_shares(catalog: Catalog) -> None:
    now = datetime.now(UTC)
    backup = planted.backup(catalog.sessions, now - timedelta(hours=1))
    catalog.copies.put([BackupCopy("offsite", backup, CopyState.WHOLE, ("a", "b", "c"), 7, now)])
    seen(catalog, own_key=False, own_place=True)
    app = page()
    assert "It has everything that it should" in app.success[0].value
    assert "It shares the primary's passphrase" in app.success[0].value
    tiles = {tile.label: tile.value for tile in app.metric}
    assert (tiles["Whole restore points"], tiles["Behind"], tiles["Size"]) == ("1", "nothing", "5.0 MiB")
    assert list(app.dataframe[1].value["State"]) == ["✓ whole"]


def test_a_copy_that_is_behind_names_the_sources(catalog: Catalog) -> None:
    planted.backup(catalog.sessions, datetime.now(UTC) - timedelta(days=3, minutes=2))
    seen(catalog)
    app = page()
    assert "It is behind for 3 d" in app.warning[0].value
    assert "files/uploads" in list(app.dataframe[0].value["Source"])


def test_damage_and_silence_are_errors(catalog: Catalog) -> None:
    now = datetime.now(UTC)
    backup = planted.backup(catalog.sessions, now)
    catalog.copies.put([BackupCopy("offsite", backup, CopyState.WHOLE, ("a", "b", "c"), 7, now)])
    catalog.copies.note_proof("offsite", {backup: Verdict.FAILED}, now)
    assert "1 restore points are damaged or gone there" in page().error[0].value


def test_a_copy_that_cannot_be_opened_says_why_as_text(catalog: Catalog) -> None:
    catalog.stores.note_trouble("offsite", HOSTILE, unreachable=True)
    app = page()
    assert "It cannot be opened since" in app.error[0].value
    assert HOSTILE not in everything_on(app)
    assert not any(element.allow_html for element in app.markdown)


@pytest.mark.parametrize("label", ["Copy now", "Probe"])
def test_without_prefect_nothing_is_queued(catalog: Catalog, label: str) -> None:
    app = page()
    button(app, label).click().run()
    assert "Safe: nothing was started" in app.error[0].value
    assert catalog.maintenance.newest() == ()


def test_a_viewer_may_start_nothing_and_the_refusal_is_written(catalog: Catalog) -> None:
    app = page(catalog, Role.VIEWER)
    button(app, "Copy now").click().run()
    assert "may not operate" in app.error[0].value
    assert catalog.audit.newest(limit=1)[0].action == "copy.start"


def test_only_an_admin_is_offered_the_registration(catalog: Catalog) -> None:
    def fields(role: Role) -> list[str]:
        return [found.label for found in page(catalog, role).text_input]

    assert "Location" not in fields(Role.OPERATOR)
    assert "Location" in fields(Role.ADMIN)
