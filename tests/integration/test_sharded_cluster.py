"""Shards on a Dask cluster that runs, started by the commands of docs/operations/sharding.md, as on two machines."""

from __future__ import annotations

import os
import random
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from edurise_backup import operations
from edurise_backup.catalog.shards import ShardStatus
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import UnreachableError
from edurise_backup.model.jobs import BackupFilters, BackupType
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.catalogs import open_catalog
from edurise_backup.operations.configured import opened_repository
from edurise_backup.postgres.server import Server
from flows.local import LocalApi, local_prefect, run_deployment
from flows.processes import free_port, running, wait_until
from flows.sharding import DaskWorkers
from tests.support.documents import page
from tests.support.postgres import drop_database, execute
from tests.support.product import configure
from tests.support.sharding import below
from tests.support.trees import describe, differences, write

pytestmark = [pytest.mark.slow, pytest.mark.crowded, pytest.mark.timeout(900)]
CATALOG = "sharded_cluster_catalog"


@dataclass(frozen=True, slots=True)
class Site:
    """A product whose flows are served, and a scheduler with two workers at its `dask.address`."""

    api: LocalApi
    settings: Settings
    folder: Path


def told(command: str, place: str) -> list[str]:
    """Return a command of the page, as a program of this environment; `place` is what it says of the first machine."""
    lines = [line.strip().removeprefix("nohup ") for line in page("docs/operations/sharding.md").splitlines()]
    [line] = [line for line in lines if line.startswith(command)]
    words = shlex.split(re.sub(r"10\.0\.0\.5(:8786)?", place, line), comments=True)
    return [sys.executable, "-m", "dask", *words[1:], "--no-dashboard"]


@pytest.fixture(scope="module")
def made(cluster: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("cluster")
    execute(cluster.address, f"CREATE DATABASE {CATALOG}")
    path = configure(folder, cluster.address.with_database(CATALOG))
    port = str(free_port())
    text = path.read_text().replace('paths = ["platform"]\n', 'paths = ["platform"]\nshards = 6\n')
    path.write_text(f'{text}[dask]\naddress = "tcp://127.0.0.1:{port}"\nworkers = 2\n')
    rng = random.Random(9)
    for number in range(400):
        write(folder / "platform" / f"{number % 9}" / f"{number:03}", rng.randbytes(rng.randrange(20_000)))
    os.link(folder / "platform" / "0" / "000", folder / "platform" / "8" / "linked")
    with ExitStack() as stack:
        api = stack.enter_context(local_prefect(folder / "prefect", path))
        environment = os.environ | {
            "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
            "EDURISE_CONFIG": str(path),
            "PREFECT_API_URL": str(api),
            "PREFECT_API_AUTH_STRING": api.auth.reveal(),
        }

        def run(name: str, *words: str) -> None:
            log = folder / f"{name}.log"
            stack.enter_context(running(words, environment=environment, log_path=log, stop_seconds=30))

        run("scheduler", *told("dask scheduler", "127.0.0.1"), "--port", port)
        for name in ("one", "two"):
            (folder / name).mkdir()
            words = told("dask worker", f"127.0.0.1:{port}")
            run(name, *words, "--name", name, "--local-directory", str(folder / name))
        logs = [folder / "one.log", folder / "two.log"]
        wait_until(lambda: all("Registered to" in log.read_text() for log in logs), "the workers", seconds=120)
        yield Site(api, load_settings(path, environment={"PREFECT_API_URL": str(api)}), folder)
    drop_database(cluster.address, CATALOG)


def run(made: Site, flow: str, **parameters: str) -> None:
    done = run_deployment(made.api, f"{flow}/edurise", parameters, idempotency_key=flow)
    assert done.completed, done.message


def tree_of(made: Site, snapshot: str) -> str:
    repository = opened_repository(made.settings)
    repository.load_index()
    return below(repository, repository.find_snapshot(snapshot)[1], made.folder / "platform")


def test_backup_verification_and_recovery_on_a_cluster_that_runs(made: Site, tmp_path: Path) -> None:
    run(made, "backup", type="files")
    [job] = operations.get_backups(BackupFilters(), settings=made.settings)
    with open_catalog(made.settings) as catalog:
        rows = catalog.shards.of(job.id)
    assert [row.status for row in rows] == [ShardStatus.DONE] * 6
    assert len({row.pid for row in rows}) == 2
    alone = operations.create_backup(BackupType.FILES, settings=made.settings, incremental=False)
    assert tree_of(made, job.parts[0].snapshot_id) == tree_of(made, alone.parts[0].snapshot_id)

    run(made, "verify", backup_id=str(job.id))
    run(made, "recover", backup_id=str(job.id), directory=str(tmp_path / "restored"))
    (restored,) = (tmp_path / "restored").rglob("platform")
    assert differences(describe(made.folder / "platform"), describe(restored)) == []
    secrets = [(made.folder / "passphrase").read_text().strip(), made.api.auth.reveal()]
    said = "".join((made.folder / f"{name}.log").read_text() for name in ("scheduler", "one", "two"))
    assert said
    assert not [secret for secret in secrets if secret in said]


def test_a_scheduler_that_is_not_there_is_told_before_anything_is_stored(made: Site) -> None:
    assert made.settings.path
    other = made.settings.path.with_name("elsewhere.toml")
    address = f"tcp://127.0.0.1:{free_port()}"
    other.write_text(re.sub(r"tcp://127.0.0.1:[0-9]+", address, made.settings.path.read_text()))
    settings = load_settings(other, environment={"PREFECT_API_URL": str(made.api)})
    known = {PREFECT_API_URL: str(made.api), PREFECT_API_AUTH_STRING: made.api.auth.reveal()}
    with temporary_settings(known), pytest.raises(UnreachableError, match=f"{address} does not answer"):
        list(DaskWorkers(settings, other).do([b""], progress=SilentProgress(), still=lambda: ()))
