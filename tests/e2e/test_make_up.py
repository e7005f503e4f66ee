"""`make up`: everything comes up, Ctrl-C stops all of it in order, a second start goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.model.database import Secret
from edurise_backup.model.jobs import BackupJob, JobStatus
from edurise_backup.operations.secrets import credential_path
from flows.credentials import LocalApi, local_api
from flows.local import run_deployment
from flows.prefect_api import PrefectApi
from flows.processes import LOOPBACK, children, free_port, wait_until
from flows.up import DASHBOARD_PORT, METRICS_PORT, PREFECT_PORT
from tests.support.product import configure

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@dataclass(frozen=True, slots=True)
class Running:
    """A started `make up`."""

    process: subprocess.Popen[bytes]
    log: Path
    api_url: LocalApi
    dashboard: str


def environment_of(settings_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "EDURISE_CONFIG": str(settings_path),
        PREFECT_PORT: str(free_port()),
        DASHBOARD_PORT: str(free_port()),
        METRICS_PORT: str(free_port()),
    }


def credential_of(environment: Mapping[str, str]) -> Secret:
    """Return what `make up` made for its server."""
    data = load_settings(Path(environment["EDURISE_CONFIG"])).data_directory
    return Secret(credential_path(data).read_text().strip())


@contextmanager
def make_up(environment: Mapping[str, str], log: Path) -> Iterator[Running]:
    """Start the supervisor as `make up` does, and wait until it says that everything answers."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.up"], env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until(lambda: b"EduRise Backup is up" in log.read_bytes(), "make up", seconds=180, process=process)
        yield Running(
            process,
            log,
            local_api(f"http://{LOOPBACK}:{environment[PREFECT_PORT]}/api", credential_of(environment)),
            f"http://{LOOPBACK}:{environment[DASHBOARD_PORT]}",
        )
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def family(pid: int) -> dict[int, str]:
    """Return every process below this one, with the moment of its start, which no other process of its number has."""
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        for child in children(waiting.pop()):
            found[child] = began(child)
            waiting.append(child)
    return found


def began(pid: int) -> str:
    """Return when the process began; one that has ended and that nobody has asked for its status (a zombie) is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "gone"
    return "gone" if fields[0] == "Z" else fields[19]


def jobs_of(settings_path: Path) -> list[BackupJob]:
    return operations.get_backups(settings=load_settings(settings_path))


def test_ctrl_c_stops_everything_in_order_and_a_second_start_goes_on(tmp_path: Path) -> None:
    settings_path = configure(tmp_path)
    environment = environment_of(settings_path)
    with make_up(environment, tmp_path / "first.log") as up:
        assert httpx.get(f"{up.dashboard}/_stcore/health", trust_env=False).text == "ok"
        metrics = httpx.get(f"http://{LOOPBACK}:{environment[METRICS_PORT]}/metrics", trust_env=False).text
        assert "edurise_up 1.0" in metrics
        done = run_deployment(up.api_url, "backup/edurise", {"type": "files"}, idempotency_key="first")
        assert done.completed, done.message
        cancelled = start_long_run(up, settings_path)
        processes = family(up.process.pid)
        assert len(processes) > 10
        up.process.send_signal(signal.SIGINT)
        up.process.wait(30)
    # who was killed, or reads that its input has ended, may need a moment longer than the supervisor
    wait_until(lambda: all(began(pid) != start for pid, start in processes.items()), "the end of all", seconds=20)
    assert {job.flow_run_id: job.status for job in jobs_of(settings_path)} == {
        done.id: JobStatus.COMPLETED,
        cancelled: JobStatus.CANCELLED,
    }

    with make_up(environment, tmp_path / "second.log") as up, PrefectApi(up.api_url) as api:
        assert (api.run(done.id).state_type, api.run(cancelled).state_type) == ("COMPLETED", "CANCELLED")
        again = run_deployment(
            up.api_url, "verify/edurise", {"backup_id": str(job_id_of(settings_path, done.id))}, idempotency_key="again"
        )
        assert again.completed, again.message


def test_a_schedule_that_is_added_while_everything_runs_runs_by_itself_and_a_pause_ends_it(tmp_path: Path) -> None:
    settings_path = configure(tmp_path)
    settings = load_settings(settings_path)
    config = {"name": "often", "type": "files", "frequency": "every 10 seconds", "grace": "1h"}
    with make_up(environment_of(settings_path), tmp_path / "up.log") as up, PrefectApi(up.api_url) as api:
        added = operations.schedule_backup(config, settings=settings)
        deployment = api.deployment_id("scheduled/edurise")
        slug = f"sched-{added.id}"
        wait_until(lambda: slug in {one.slug for one in api.schedules(deployment)}, "Prefect's schedule", seconds=20)
        wait_until(lambda: any(job.status.good for job in jobs_of(settings_path)), "a backup", seconds=90)
        operations.pause_schedule("often", settings=settings)
        wait_until(lambda: api.schedules(deployment) == (), "the end of Prefect's schedule", seconds=20)
        (schedule,) = operations.list_schedules(settings=settings)
        assert (schedule.next_run, schedule.last_run is not None) == (None, True)
        (status,) = operations.schedule_status(settings=settings)
        assert "kept" in [run.outcome for run in status.runs]
        log = up.log.read_text()
    assert "schedule often: made in Prefect" in log
    assert "Traceback" not in log


def start_long_run(up: Running, settings_path: Path) -> UUID:
    """Start a backup that takes long, and return its run once its job goes on."""
    large = settings_path.parent / "platform" / "large"
    with large.open("wb") as file:
        file.truncate(200 << 30)  # holds nothing on the disk
    with PrefectApi(up.api_url) as api:
        run = api.create_run("backup/edurise", {"type": "files"}, idempotency_key="long")
    wait_until(lambda: any(job.flow_run_id == run.id for job in jobs_of(settings_path)), "the job", seconds=60)
    return run.id


def job_id_of(settings_path: Path, run_id: UUID) -> UUID:
    return next(job.id for job in jobs_of(settings_path) if job.flow_run_id == run_id)


def test_a_port_that_is_in_use_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    environment = environment_of(configure(tmp_path))
    environment[DASHBOARD_PORT] = environment[PREFECT_PORT]
    taken = subprocess.Popen(
        [sys.executable, "-m", "http.server", environment[PREFECT_PORT], "--bind", LOOPBACK],
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        address = f"http://{LOOPBACK}:{environment[PREFECT_PORT]}"
        wait_until(lambda: answers(address), "the other server", seconds=20)
        refused = subprocess.run(
            [sys.executable, "-m", "flows.up"], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
    finally:
        taken.terminate()
        taken.wait()
    assert refused.returncode == 2
    assert f"port {environment[PREFECT_PORT]}" in refused.stderr
    assert PREFECT_PORT in refused.stderr


def answers(address: str) -> bool:
    try:
        return httpx.get(address, trust_env=False).is_success
    except httpx.HTTPError:
        return False
