"""Shards on a real Dask cluster of four processes, as tasks of a real Prefect server."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cloudpickle
import pytest
from prefect.context import SettingsContext, serialize_context
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from edurise_backup import operations
from edurise_backup.catalog.shards import ShardRow, ShardStatus
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import ConfigError, UnreachableError
from edurise_backup.model.jobs import BackupFilters, BackupJob, BackupType, JobStatus
from edurise_backup.operations.catalogs import open_catalog
from edurise_backup.operations.configured import opened_repository
from edurise_backup.postgres.server import Server
from flows.local import FlowRunResult, local_prefect, run_deployment
from flows.prefect_api import PrefectApi
from flows.processes import wait_until
from flows.sharding import DaskWorkers, without_credential, workers_of
from tests.support.postgres import drop_database, execute
from tests.support.product import configure
from tests.support.sharding import below
from tests.support.trees import describe, differences, write

CATALOG = "sharded_flows_catalog"
SILENCE = 30
"""Seconds after which a worker without a sign of life is ended."""
HUGE, ENDLESS = 400 << 30, 4 << 40
"""Bytes of sparse files, which hold nothing on the disk: read in some seconds, and in a minute."""


@dataclass(frozen=True, slots=True)
class Product:
    """A configured product whose flows are served."""

    api_url: str
    settings: Settings
    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "platform"


@pytest.fixture(scope="module")
def product(cluster: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("sharded")
    execute(cluster.address, f"CREATE DATABASE {CATALOG}")
    path = configure(folder, cluster.address.with_database(CATALOG))
    text = path.read_text().replace('paths = ["platform"]\n', 'paths = ["platform"]\nshards = 8\n')
    path.write_text(text + f"silence_seconds = {SILENCE}\n[dask]\nworkers = 4\n")
    fill(folder / "platform")
    with local_prefect(folder / "prefect", path) as api_url:
        yield Product(api_url, load_settings(path, environment={"PREFECT_API_URL": api_url}), folder)
    drop_database(cluster.address, CATALOG)


def fill(root: Path) -> None:
    """Make thousands of files: a flat directory, courses, large ones, links between them."""
    rng = random.Random(8)
    for number in range(2500):
        write(root / "flat" / f"{number:05}", rng.randbytes(rng.randrange(3000)))
    for number in range(1500):
        write(
            root / f"course {number % 12}" / f"lesson {number % 36}" / f"{number}", rng.randbytes(rng.randrange(5000))
        )
    for number in range(4):
        write(root / "films" / f"film {number}", rng.randbytes(6_000_000))
    os.link(root / "flat" / "00017", root / "zz linked")
    os.link(root / "films" / "film 1", root / "course 3" / "the same film")


def run(product: Product, flow: str, key: str, **parameters: object) -> FlowRunResult:
    return run_deployment(product.api_url, f"{flow}/edurise", parameters, idempotency_key=key)


def newest(product: Product) -> BackupJob:
    return operations.get_backups(BackupFilters(), settings=product.settings)[0]


def shards_of(product: Product, job: BackupJob) -> tuple[ShardRow, ...]:
    with open_catalog(product.settings) as catalog:
        return catalog.shards.of(job.id)


def tree_of(product: Product, job: BackupJob) -> str:
    repository = opened_repository(product.settings)
    repository.load_index()
    return below(repository, repository.find_snapshot(job.parts[0].snapshot_id)[1], product.root)


def alone(product: Product) -> str:
    """Return the tree that one process makes, and leave no snapshot of it that others would take for their parent."""
    job = operations.create_backup(BackupType.FILES, settings=product.settings, incremental=False)
    return tree_of(product, job)


@pytest.mark.slow
@pytest.mark.crowded
@pytest.mark.timeout(900)  # servers and four processes that start again for each run
def test_backup_verification_and_recovery_are_shared_and_equal(product: Product, tmp_path: Path) -> None:
    result = run(product, "backup", "first", type="files", incremental=False)
    assert result.completed, result.message
    job = newest(product)
    rows = shards_of(product, job)
    assert {row.status for row in rows} == {ShardStatus.DONE}
    assert len({row.pid for row in rows}) == 4
    assert tree_of(product, job) == alone(product)

    assert run(product, "verify", "verify", backup_id=str(job.id)).completed
    result = run(product, "recover", "recover", backup_id=str(job.id), directory=str(tmp_path / "restored"))
    assert result.completed, result.message
    (restored,) = (tmp_path / "restored").rglob("platform")
    assert differences(describe(product.root), describe(restored)) == []

    write(product.root / "flat" / "00100", b"changed")
    write(product.root / "course 1" / "new", b"new")
    result = run(product, "backup", "incremental", type="files")
    assert result.completed, result.message
    again = newest(product)
    assert again.read_bytes is not None
    assert again.read_bytes < 20_000
    assert again.files == job.files + 1 if job.files else False
    assert tree_of(product, again) == alone(product)


@dataclass(slots=True)
class Running:
    """A backup of a huge file that is under way: `pid` is a process that has been at work for a while."""

    product: Product
    thread: threading.Thread
    results: list[FlowRunResult]
    pid: int

    def ended(self) -> FlowRunResult:
        """Wait for its end."""
        self.thread.join()
        (self.product.root / "huge").unlink()
        return self.results[0]


def begun(product: Product, key: str, size: int) -> Running:
    """Begin a backup, and wait until a shard is at work."""
    with (product.root / "huge").open("wb") as file:
        file.truncate(size)
    results: list[FlowRunResult] = []
    thread = threading.Thread(
        target=lambda: results.append(run(product, "backup", key, type="files", incremental=False))
    )
    earlier = {job.id for job in operations.get_backups(BackupFilters(), settings=product.settings)}
    pids: list[int] = []

    def at_work() -> bool:
        jobs = operations.get_backups(BackupFilters(), settings=product.settings)
        rows = [row for job in jobs if job.id not in earlier for row in shards_of(product, job)]
        pids.extend(row.pid for row in rows if row.status is ShardStatus.RUNNING and row.bytes_done and row.pid)
        return bool(pids)

    thread.start()
    wait_until(at_work, "a shard", seconds=120)
    return Running(product, thread, results, pids[0])


@pytest.mark.slow
@pytest.mark.crowded
@pytest.mark.timeout(900)  # servers and four processes that start again for each run
@pytest.mark.parametrize(("how", "key"), [(signal.SIGKILL, "killed"), (signal.SIGSTOP, "frozen")])
def test_a_worker_that_dies_or_stands_still_has_its_shard_done_by_another(
    product: Product, how: signal.Signals, key: str
) -> None:
    running = begun(product, key, HUGE)
    os.kill(running.pid, how)
    running.thread.join()
    job = newest(product)
    assert running.results[0].completed, running.results[0].message
    assert max(row.tries for row in shards_of(product, job)) > 1
    assert tree_of(product, job) == alone(product)
    assert not Path(f"/proc/{running.pid}").exists()
    running.ended()


@pytest.mark.slow
@pytest.mark.crowded
@pytest.mark.timeout(900)  # servers and four processes that start again for each run
def test_cancelling_the_run_ends_the_workers(product: Product) -> None:
    running = begun(product, "cancelled", ENDLESS)
    job, pids = newest(product), {row.pid for row in shards_of(product, newest(product)) if row.pid}
    assert job.flow_run_id is not None
    with PrefectApi(product.api_url) as api:
        api.set_state(job.flow_run_id, "CANCELLING")
    assert running.ended().state == "CANCELLED"
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the workers' end", seconds=30)
    assert newest(product).status is JobStatus.CANCELLED


def configured(tmp_path: Path) -> Settings:
    path = tmp_path / "edurise-backup.toml"
    path.write_text('[[files]]\nname = "storage"\npaths = ["/srv"]\nshards = 4\n')
    return load_settings(path, environment={})


def test_without_a_prefect_server_no_worker_starts(tmp_path: Path) -> None:
    workers = DaskWorkers(configured(tmp_path), None)
    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(ConfigError, match="PREFECT_API_URL"):
        workers.check()
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(UnreachableError, match="does not answer"),
    ):
        workers.check()


def test_the_credential_of_prefect_does_not_travel_and_each_worker_uses_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "edurise:the workers' own")
    with temporary_settings({PREFECT_API_AUTH_STRING: "edurise:a canary"}):
        assert b"a canary" in cloudpickle.dumps(serialize_context())  # what Prefect would send
        with without_credential():
            sent = serialize_context()
    assert b"a canary" not in cloudpickle.dumps(sent)
    arrived = SettingsContext(**sent["settings_context"]).settings.api.auth_string
    assert arrived is not None
    assert arrived.get_secret_value() == "edurise:the workers' own"


def test_only_a_configuration_with_shards_has_workers(tmp_path: Path) -> None:
    assert workers_of(configured(tmp_path), None) is not None
    (tmp_path / "edurise-backup.toml").write_text('[[files]]\nname = "storage"\npaths = ["/srv"]\n')
    assert workers_of(load_settings(tmp_path / "edurise-backup.toml", environment={}), None) is None
