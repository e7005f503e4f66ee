"""Copies by served deployments: registered, copied to, verified and probed from the page, on a real Prefect server."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard import queries
from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.model.jobs import JobStatus
from edurise_backup.model.maintenance import MaintenanceJob
from edurise_backup.model.people import Role
from edurise_backup.model.stores import CopyState
from edurise_backup.postgres.server import Server
from edurise_backup.repository.repository import Repository
from edurise_backup.stores.local import LocalStore
from flows.local import LocalApi, local_prefect, run_deployment
from flows.prefect_api import PrefectApi
from flows.processes import wait_until
from tests.support.catalog import write_private
from tests.support.people import sign_in_to
from tests.support.postgres import drop_database, execute
from tests.support.product import configure

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PAGE = Path(__file__).resolve().parents[2] / "dashboard" / "views" / "stores.py"
CATALOG = "served_copies_catalog"
API: list[LocalApi] = []
SECRET = "the copy's canary words"


@pytest.fixture(scope="module")
def folder(cluster: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a product's folder whose flows are served, with one backup."""
    made = tmp_path_factory.mktemp("served-copies")
    execute(cluster.address, f"CREATE DATABASE {CATALOG}")
    path = configure(made, cluster.address.with_database(CATALOG))
    write_private(made / "copy.passphrase", SECRET)
    with local_prefect(made / "prefect", path) as api_url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDURISE_CONFIG", str(path))
        patch.setenv("PREFECT_API_URL", api_url)
        operations.create_backup("files", settings=load_settings(path))
        API.append(api_url)
        yield made
        API.clear()
        st.cache_data.clear()
        st.cache_resource.clear()
    drop_database(cluster.address, CATALOG)


def launched_job(app: AppTest) -> MaintenanceJob:
    """Wait for the run that a button has started, and return its row."""
    assert not app.exception
    assert not app.error
    launched = app.session_state["followed"][0]
    with PrefectApi(API[0]) as api:
        wait_until(lambda: api.run(launched.flow_run_id).ended, "the run", seconds=120)
        run = api.run(launched.flow_run_id)
    assert run.state_type == "COMPLETED", run.message
    with operations.open_catalog(queries.settings()) as catalog:
        return catalog.maintenance.get(launched.job_id)


def page() -> AppTest:
    """Return the page with an admin signed in."""
    st.cache_data.clear()
    with operations.open_catalog(queries.settings()) as catalog:
        app = sign_in_to(AppTest.from_file(str(PAGE), default_timeout=60), catalog, "ada", Role.ADMIN, Role.OPERATOR)
    return app.run()


def press(label: str) -> MaintenanceJob:
    app = page()
    next(button for button in app.button if button.label == label).click().run()
    return launched_job(app)


def test_a_copy_is_registered_copied_to_verified_and_probed_by_flows(folder: Path) -> None:
    app = page()
    app.text_input(key="copy name").input("nearby")
    app.text_input(key="copy location").input(str(folder / "nearby"))
    app.text_input(key="copy passphrase").input(str(folder / "copy.passphrase"))
    next(button for button in app.button if button.label == "Register").click().run()
    registered = launched_job(app)
    assert registered.status is JobStatus.COMPLETED_WITH_WARNINGS
    [told] = registered.warnings
    [key] = (queries.settings().data_directory / "recovery-keys").iterdir()
    assert str(key) in told
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert Repository.open(LocalStore(folder / "nearby"), key.read_text().strip())

    for label, status in (("Copy now", JobStatus.COMPLETED), ("Verify copy", JobStatus.COMPLETED)):
        assert press(label).status is status, label
    [copy] = operations.get_copies(settings=queries.settings())
    assert copy.count(CopyState.WHOLE) == 1
    assert press("Probe").status is JobStatus.COMPLETED
    logs = "".join(path.read_text(errors="replace") for path in (folder / "prefect").rglob("*.log"))
    assert logs
    assert SECRET not in logs
    assert key.read_text().strip() not in logs


def test_what_is_refused_fails_the_run_with_its_reason(folder: Path) -> None:
    unknown = run_deployment(API[0], "copy/edurise", {"store": "nowhere"}, idempotency_key="nowhere")
    assert not unknown.completed
    assert "no copy is named 'nowhere'" in unknown.message
    inside = {
        "act": "register",
        "name": "inside",
        "location": str(folder / "repository" / "data"),
        "password_file": str(folder / "copy.passphrase"),
    }
    refused = run_deployment(API[0], "store/edurise", inside, idempotency_key="inside")
    assert not refused.completed
    assert not (folder / "repository" / "data" / "config").exists()
    assert [copy.name for copy in operations.get_copies(settings=queries.settings())] == ["nearby"]
