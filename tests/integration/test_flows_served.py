"""Runs of served deployments on a Prefect server of their own: started, followed, cancelled, started from the page."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard import activity, formatting, queries
from edurise_backup import operations
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import BackupError, ConflictError, InputError, NotFoundError
from edurise_backup.model.jobs import BackupFilters, BackupJob, BackupType, JobStatus
from edurise_backup.postgres.server import Server
from flows.deploy import refuse_pool, refuse_taken
from flows.local import local_prefect, run_deployment
from flows.prefect_api import FlowRun, PrefectApi
from flows.processes import children, variable_of, wait_until
from flows.watch import end_run, end_zombies
from reports import list_reports, verify_report
from tests.support.postgres import drop_database, execute
from tests.support.product import configure

pytestmark = pytest.mark.slow
APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
CATALOG = "served_flows_catalog"


@dataclass(frozen=True, slots=True)
class Product:
    """A configured product whose flows are served."""

    api_url: str
    settings: Settings


@pytest.fixture(scope="module")
def product(cluster: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("served")
    execute(cluster.address, f"CREATE DATABASE {CATALOG}")
    path = configure(folder, cluster.address.with_database(CATALOG))
    with local_prefect(folder / "prefect", path) as api_url:
        yield Product(api_url, load_settings(path, environment={"PREFECT_API_URL": api_url}))
    drop_database(cluster.address, CATALOG)


def slow_source(product: Product) -> None:
    """Make the next backup of files take long: a file that is large, but holds nothing on the disk."""
    platform = Path(product.settings.files[0].paths[0])
    with (platform / "large").open("wb") as file:
        file.truncate(200 << 30)


def quick_source(product: Product) -> None:
    """Undo `slow_source`."""
    (Path(product.settings.files[0].paths[0]) / "large").unlink(missing_ok=True)


def job_of(product: Product, run_id: UUID) -> BackupJob | None:
    """Return the backup job that names the run."""
    jobs = operations.get_backups(BackupFilters(), settings=product.settings)
    return next((job for job in jobs if job.flow_run_id == run_id), None)


def follow_in_background(product: Product, key: str) -> tuple[threading.Thread, list[FlowRun]]:
    """Start a backup of files and follow it in a thread; returns the thread and the states that were seen."""
    states: list[FlowRun] = []
    thread = threading.Thread(
        target=run_deployment,
        args=(product.api_url, "backup/edurise", {"type": "files"}),
        kwargs={"idempotency_key": key, "on_state": states.append},
        daemon=True,
    )
    thread.start()
    wait_until(lambda: bool(states) and started(product, states[0].id), "the job", seconds=60)
    return thread, states


def started(product: Product, run_id: UUID) -> bool:
    job = job_of(product, run_id)
    return job is not None and job.status is JobStatus.RUNNING and job.phase is not None


def process_of(run_id: UUID) -> int:
    """Return the process that runs the flow."""
    below = [os.getpid()]
    for pid in below:
        below += children(pid)
    return next(pid for pid in below if variable_of(pid, "PREFECT__FLOW_RUN_ID") == str(run_id))


def test_a_deployment_is_run_and_followed_to_its_end(product: Product) -> None:
    seen: list[str] = []
    result = run_deployment(
        product.api_url,
        "backup/edurise",
        {"type": "files"},
        idempotency_key="first",
        on_state=lambda run: seen.append(run.state),
    )
    assert result.completed, result.message
    assert seen[-1] == "Completed"
    job = job_of(product, result.id)
    assert job is not None
    assert job.status is JobStatus.COMPLETED


def test_the_same_key_never_starts_a_second_run(product: Product) -> None:
    runs = {
        run_deployment(product.api_url, "backup/edurise", {"type": "files"}, idempotency_key="once").id
        for _ in range(2)
    }
    assert len(runs) == 1


def test_what_cannot_be_asked_for_is_refused_before_anything_runs(product: Product) -> None:
    with pytest.raises(NotFoundError):
        run_deployment(product.api_url, "backup/nobody", {}, idempotency_key="unknown deployment")
    with pytest.raises(InputError, match="refused"):
        run_deployment(product.api_url, "backup/edurise", {"type": "nonsense"}, idempotency_key="unknown type")


def test_a_cancelled_run_ends_its_job_as_cancelled(product: Product) -> None:
    slow_source(product)
    thread, states = follow_in_background(product, "to be cancelled")
    with PrefectApi(product.api_url) as api:
        api.set_state(states[0].id, "CANCELLING")
    thread.join(60)
    quick_source(product)
    assert states[-1].state_type == "CANCELLED"
    job = job_of(product, states[0].id)
    assert job is not None
    assert job.status is JobStatus.CANCELLED


def test_a_killed_run_leaves_a_row_that_the_next_look_ends_as_failed(product: Product) -> None:
    slow_source(product)
    thread, states = follow_in_background(product, "to be killed")
    os.kill(process_of(states[0].id), signal.SIGKILL)
    thread.join(60)
    quick_source(product)
    assert states[-1].state_type == "CRASHED"
    with operations.open_catalog(product.settings) as catalog:
        catalog.reconcile()
    job = job_of(product, states[0].id)
    assert job is not None
    assert job.status is JobStatus.FAILED
    assert "ended without finishing" in (job.error or "")


def test_a_run_that_ended_well_is_left_alone_and_an_unknown_one_is_no_error(product: Product) -> None:
    result = run_deployment(product.api_url, "backup/edurise", {"type": "files"}, idempotency_key="first")
    with PrefectApi(product.api_url) as api:
        end_run(api, result.id, "found dead")
        end_run(api, UUID(int=0), "found dead")
        assert api.run(result.id).state_type == "COMPLETED"


def test_a_zombie_run_whose_job_somebody_else_ended_is_crashed_by_the_watch(product: Product) -> None:
    result = run_deployment(product.api_url, "backup/edurise", {"type": "files"}, idempotency_key="zombie")
    with PrefectApi(product.api_url) as api, operations.open_catalog(product.settings) as catalog:
        assert result.id not in end_zombies(api, catalog.sessions, datetime.now(UTC))
        api.set_state(result.id, "RUNNING", force=True)  # as it stays when runner and process are killed at once
        catalog.sessions.run(
            lambda connection: connection.execute(
                "UPDATE backup_jobs SET status = 'failed', error = %s WHERE flow_run_id = %s",
                ("the process 7 on x ended without finishing the job; its last sign of life was long ago", result.id),
            )
        )
        assert end_zombies(api, catalog.sessions, datetime.now(UTC)) == (result.id,)
        run = api.run(result.id)
        assert (run.state_type, "ended without finishing" in run.message) == ("CRASHED", True)


def test_failed_runs_leave_no_pickle_behind(product: Product) -> None:
    result = run_deployment(
        product.api_url, "verify/edurise", {"backup_id": str(UUID(int=7))}, idempotency_key="unknown backup"
    )
    assert result.state == "FAILED"
    assert str(UUID(int=7)) in result.message
    storage = product.settings.data_directory.parent / "prefect" / "storage"
    assert all(path.read_bytes().startswith(b"{") for path in storage.rglob("*") if path.is_file())


def test_secrets_are_in_nothing_that_prefect_keeps(product: Product) -> None:
    passphrase = Path(product.settings.repository.password_file).read_bytes()
    home = product.settings.data_directory.parent / "prefect"
    for path in filter(Path.is_file, home.rglob("*")):
        assert passphrase not in path.read_bytes(), path


def test_buttons_of_the_page_start_runs_that_it_follows(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    assert product.settings.path
    monkeypatch.setenv("EDURISE_CONFIG", str(product.settings.path))
    monkeypatch.setenv("PREFECT_API_URL", product.api_url)
    try:
        app = AppTest.from_file(str(APP), default_timeout=60).run()
        types = app.selectbox(key="backup type")
        types.select_index(types.options.index(formatting.type_text(BackupType.FILES)))
        next(button for button in app.button if button.label == "Back up now").click().run()
        assert not app.error
        (launched,) = app.session_state["followed"]
        wait_until(lambda: ended(product, launched.flow_run_id), "the run", seconds=60)
        app.run()
        assert any(f"backup {str(launched.job_id)[:8]}" in success.value for success in app.success)

        st.cache_data.clear()
        app.run()
        next(button for button in app.button if button.label == "Verify").click().run()
        verification = app.session_state["followed"][0]
        assert verification.kind == "verification"
        wait_until(lambda: ended(product, verification.flow_run_id), "the run", seconds=60)
        app.run()
        assert any(f"verification {str(verification.job_id)[:8]}" in success.value for success in app.success)
    finally:
        st.cache_data.clear()
        st.cache_resource.clear()


def test_the_page_of_the_repository_starts_checks_and_dry_runs(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert product.settings.path
    monkeypatch.setenv("EDURISE_CONFIG", str(product.settings.path))
    monkeypatch.setenv("PREFECT_API_URL", product.api_url)
    try:
        app = AppTest.from_file(str(APP.parent / "views" / "repository.py"), default_timeout=60).run()
        next(button for button in app.button if button.label == "Check now").click().run()
        assert not app.error
        (launched,) = app.session_state["followed"]
        assert launched.kind == "maintenance"
        wait_until(lambda: ended(product, launched.flow_run_id), "the run", seconds=60)
        st.cache_data.clear()
        app.run()
        assert any(f"maintenance {str(launched.job_id)[:8]}" in success.value for success in app.success)
        assert any("Every byte proved within 30 days" in shown.value for shown in (*app.success, *app.warning))

        dry_run = queries.actions().prune(
            dry_run=True
        )  # what the dialog's button does; AppTest presses none in dialogs
        wait_until(lambda: ended(product, dry_run.flow_run_id), "the run", seconds=60)
        with operations.open_catalog(product.settings) as catalog:
            job = catalog.maintenance.get(dry_run.job_id)
        assert (job.dry_run, job.status.good) == (True, True)
    finally:
        st.cache_data.clear()
        st.cache_resource.clear()


def test_the_page_of_reports_has_one_made_and_lists_it(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    assert product.settings.path
    monkeypatch.setenv("EDURISE_CONFIG", str(product.settings.path))
    monkeypatch.setenv("PREFECT_API_URL", product.api_url)
    try:
        app = AppTest.from_file(str(APP.parent / "views" / "reports.py"), default_timeout=60).run()
        next(button for button in app.button if button.label == "Make report").click().run()
        assert not app.error
        (launched,) = app.session_state["reports under way"]
        wait_until(lambda: ended(product, launched.flow_run_id), "the run", seconds=60)
        st.cache_data.clear()
        app.run()
        assert any(f"report {str(launched.job_id)[:8]}" in success.value for success in app.success)
        assert list(app.dataframe[0].value["Id"]) == [str(launched.job_id)[:8]]
        (made,) = list_reports(product.settings)
        assert (made.id, made.flow_run_id) == (launched.job_id, launched.flow_run_id)
        assert verify_report(product.settings, made) == ()
    finally:
        st.cache_data.clear()
        st.cache_resource.clear()


def test_the_page_activity_starts_the_same_again_and_cancels_what_runs(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert product.settings.path
    monkeypatch.setenv("EDURISE_CONFIG", str(product.settings.path))
    monkeypatch.setenv("PREFECT_API_URL", product.api_url)
    actions, settings = queries.actions, product.settings
    try:
        first = operations.create_backup("files", settings=settings, source="uploads", tags=("nightly",))
        again = activity.start_again(first, actions=actions(), settings=settings)
        wait_until(lambda: ended(product, again.flow_run_id), "the run", seconds=60)
        job = queries.job("backup", again.job_id)
        assert isinstance(job, BackupJob)
        assert (job.status, job.source, job.tags) == (JobStatus.COMPLETED, "uploads", ("nightly",))

        checked = actions().check("5%")
        wait_until(lambda: ended(product, checked.flow_run_id), "the run", seconds=60)
        repeated = activity.start_again(
            queries.job("maintenance", checked.job_id), actions=actions(), settings=settings
        )
        wait_until(lambda: ended(product, repeated.flow_run_id), "the run", seconds=60)
        assert queries.job("maintenance", repeated.job_id).status.good

        slow_source(product)
        running = activity.start_again(first, actions=actions(), settings=settings)
        wait_until(lambda: started(product, running.flow_run_id), "the job", seconds=60)
        said = activity.cancel("backup", queries.job("backup", running.job_id), actions=actions())
        assert "being cancelled" in said
        wait_until(lambda: ended(product, running.flow_run_id), "the run", seconds=60)
        assert queries.job("backup", running.job_id).status is JobStatus.CANCELLED
        recorded = [row.action for row in queries.catalog().audit.newest(limit=50) if row.via == "dashboard"][:5]
        assert recorded == ["job.cancel", "backup.start", "check.start", "check.start", "backup.start"]
    finally:
        quick_source(product)
        st.cache_data.clear()
        st.cache_resource.clear()


def test_what_is_served_here_is_not_given_to_a_pool_as_well(product: Product) -> None:
    with PrefectApi(product.api_url) as api:
        refuse_pool(api)
        with pytest.raises(ConflictError, match="is served on one machine") as told:
            refuse_taken(api, "edurise", move=True)
    assert told.value.safe == "nothing was changed"


def ended(product: Product, run_id: UUID) -> bool:
    with PrefectApi(product.api_url) as api:
        return api.run(run_id).ended


def test_the_server_listens_on_the_loopback_address_only(product: Product) -> None:
    host = httpx.URL(product.api_url)
    assert host.host == "127.0.0.1"
    listening = {
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].split(":")[1], 16) == host.port
    }
    assert {address.split(":")[0] for address in listening} == {"0100007F"}


def test_a_server_that_does_not_come_up_is_told_with_its_log(tmp_path: Path) -> None:
    (tmp_path / "prefect.db").mkdir()  # where its database belongs
    with pytest.raises(BackupError) as error, local_prefect(tmp_path, None):
        pass
    assert "server.log" in error.value.hint
