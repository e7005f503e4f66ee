"""Backups, verifications and recoveries that several workers share: rows, figures, refusals, cancelling."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edurise_backup import operations
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import CancelledError, ConfigError, InputError, SpaceError
from edurise_backup.model.jobs import BackupFilters, BackupType, JobStatus, RecoveryTarget, Verdict
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations import shard_work
from edurise_backup.operations.catalogs import open_catalog
from edurise_backup.operations.configured import opened_repository
from edurise_backup.operations.shard_orders import decode_answer, decode_order, encode_order
from edurise_backup.postgres.connection import Address
from edurise_backup.recovery.planning import walk_files
from edurise_backup.recovery.sharding import bring_packs
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.sharded_saving import ShardAnswer
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.catalog import environment
from tests.support.product import configure
from tests.support.sharding import ThreadWorkers, below
from tests.support.trees import describe, differences, write


@pytest.fixture
def settings(tmp_path: Path, catalog_database: Address) -> Settings:
    path = configure(tmp_path, catalog_database)
    path.write_text(path.read_text().replace('paths = ["platform"]\n', 'paths = ["platform"]\nshards = 3\n'))
    rng = random.Random(1)
    for number in range(40):
        write(tmp_path / "platform" / "flat" / f"{number:02}", rng.randbytes(rng.randrange(60_000)))
    os.link(tmp_path / "platform" / "flat" / "01", tmp_path / "platform" / "zz linked")
    return load_settings(path)


def tree_of(settings: Settings, snapshot_id: str) -> str:
    repository = opened_repository(settings)
    repository.load_index()
    return below(repository, repository.find_snapshot(snapshot_id)[1], Path(settings.files[0].paths[0]))


def test_a_shared_backup_is_that_of_one_process_and_each_shard_has_its_row(settings: Settings) -> None:
    alone = operations.create_backup(BackupType.FILES, settings=settings, incremental=False)
    shared = operations.create_backup(
        BackupType.FILES, settings=settings, incremental=False, workers=ThreadWorkers(settings)
    )
    assert tree_of(settings, shared.parts[0].snapshot_id) == tree_of(settings, alone.parts[0].snapshot_id)
    assert (shared.status, shared.files, shared.size) == (JobStatus.COMPLETED, alone.files, alone.size)
    with open_catalog(settings) as catalog:
        rows = catalog.shards.of(shared.id)
        assert catalog.shards.of(alone.id) == ()
    assert [(row.number, row.status, row.tries) for row in rows] == [(number, "done", 1) for number in range(3)]
    assert sum(row.files_done for row in rows) == shared.files
    assert shared.phases[-1].files_done == shared.files


def test_a_shared_verification_reads_every_pack_and_says_what_is_damaged(settings: Settings) -> None:
    job = operations.create_backup(BackupType.FILES, settings=settings, workers=ThreadWorkers(settings))
    passed = operations.verify_backup(job.id, settings=settings, workers=ThreadWorkers(settings))
    alone = operations.verify_backup(job.id, settings=settings)
    assert (passed.verification_status, passed.bytes_read) == (Verdict.PASSED, alone.bytes_read)

    store = LocalStore(Path(settings.repository.location))
    (pack, size) = max(store.list(Kind.PACK), key=lambda found: found[1])
    path = Path(settings.repository.location) / pack
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[size // 2] ^= 1
    path.write_bytes(content)
    failed = operations.verify_backup(job.id, settings=settings, workers=ThreadWorkers(settings))
    assert failed.verification_status is Verdict.FAILED
    assert any("other bytes" in finding for finding in failed.findings)


def test_a_shared_recovery_brings_everything_back_with_its_links(settings: Settings, tmp_path: Path) -> None:
    job = operations.create_backup(BackupType.FILES, settings=settings, workers=ThreadWorkers(settings))
    target = RecoveryTarget(directory=str(tmp_path / "restored"))
    done = operations.initiate_recovery(job.id, target, settings=settings, workers=ThreadWorkers(settings))
    assert (done.status, done.verification_status) == (JobStatus.COMPLETED, Verdict.PASSED)
    (restored,) = (tmp_path / "restored").rglob("platform")
    assert differences(describe(tmp_path / "platform"), describe(restored)) == []


def test_the_proof_is_shared_and_names_what_differs(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = operations.create_backup(BackupType.FILES, settings=settings, workers=ThreadWorkers(settings))
    spoilt: list[Path] = []
    proving = shard_work.prove_ranges

    def spoil(*arguments: Any, **named: Any) -> Any:
        if not spoilt:
            spoilt.extend((tmp_path / "restored").rglob("flat/07"))
            spoilt[0].write_bytes(spoilt[0].read_bytes()[:-1] + b"?")
        return proving(*arguments, **named)

    monkeypatch.setattr(shard_work, "prove_ranges", spoil)
    target = RecoveryTarget(directory=str(tmp_path / "restored"))
    done = operations.initiate_recovery(job.id, target, settings=settings, workers=ThreadWorkers(settings))
    assert done.verification_status is Verdict.FAILED
    assert [finding.rpartition("/")[2] for finding in done.findings] == ["07 has other bytes than the backup"]


def test_what_is_written_twice_is_the_same(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker dies after it wrote; another one does the same order once more."""
    job = operations.create_backup(BackupType.FILES, settings=settings, workers=ThreadWorkers(settings))
    once = shard_work.bring_packs

    def twice(*arguments: object, **named: object) -> object:
        once(*arguments, **named)  # type: ignore[arg-type]
        return once(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(shard_work, "bring_packs", twice)
    target = RecoveryTarget(directory=str(tmp_path / "restored"))
    done = operations.initiate_recovery(job.id, target, settings=settings, workers=ThreadWorkers(settings))
    assert done.verification_status is Verdict.PASSED


def test_cancelling_stops_the_workers_and_publishes_nothing(settings: Settings) -> None:
    stop = threading.Event()
    workers = ThreadWorkers(settings, around=lambda at: stop.set() if at == 1 else None)
    progress = Stopping(stop)
    with pytest.raises(CancelledError):
        operations.create_backup(BackupType.FILES, settings=settings, workers=workers, progress=progress, stop=stop)
    (job,) = operations.get_backups(BackupFilters(), settings=settings)
    assert job.status is JobStatus.CANCELLED
    with open_catalog(settings) as catalog:
        rows = catalog.shards.of(job.id)
    assert {row.status.value for row in rows} <= {"done", "stopped"}
    assert any(row.status == "stopped" for row in rows)
    assert list(LocalStore(Path(settings.repository.location)).list(Kind.SNAPSHOT)) == []

    with pytest.raises(CancelledError):  # a worker that begins only now finds out
        shard_work.do_order(workers.orders[-1], settings)


class Stopping(SilentProgress):
    """Cancelled as soon as an event is set."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._stop = stop

    def raise_if_cancelled(self) -> None:
        if self._stop.is_set():
            self.cancel()
        super().raise_if_cancelled()


def test_a_worker_of_another_repository_or_source_refuses(settings: Settings, tmp_path: Path) -> None:
    workers = ThreadWorkers(settings)
    operations.create_backup(BackupType.FILES, settings=settings, workers=workers)
    engine.create(LocalStore(tmp_path / "other"))
    elsewhere = replace(
        settings, repository=msgspec.structs.replace(settings.repository, location=str(tmp_path / "other"))
    )
    with pytest.raises(ConfigError, match="another repository"):
        shard_work.do_order(workers.orders[0], elsewhere)
    (files,) = settings.files
    other = replace(settings, files=(msgspec.structs.replace(files, exclude=("*.tmp",)),))
    with pytest.raises(ConfigError, match="another source"):
        shard_work.do_order(workers.orders[0], other)


def test_a_worker_that_does_not_see_the_target_says_so(settings: Settings, tmp_path: Path) -> None:
    job = operations.create_backup(BackupType.FILES, settings=settings, workers=ThreadWorkers(settings))
    workers = ThreadWorkers(settings)
    target = RecoveryTarget(directory=str(tmp_path / "restored"))
    operations.initiate_recovery(job.id, target, settings=settings, workers=workers)
    order = decode_order(workers.orders[0])
    with pytest.raises(InputError, match="does not see"):
        bring_packs(opened_repository(settings), order.packs, tmp_path / "elsewhere", progress=SilentProgress())  # type: ignore[arg-type]


def test_what_a_worker_raises_fails_the_job_and_stops_the_others(settings: Settings) -> None:
    def fail(at: int) -> None:
        if at == 1:
            raise SpaceError("no room left in the store")

    with pytest.raises(SpaceError):
        operations.create_backup(BackupType.FILES, settings=settings, workers=ThreadWorkers(settings, around=fail))
    (job,) = operations.get_backups(BackupFilters(), settings=settings)
    assert (job.status, job.error) == (JobStatus.FAILED, "no room left in the store")


def test_an_order_names_things_and_holds_no_secret(settings: Settings) -> None:
    workers = ThreadWorkers(settings)
    job = operations.create_backup(BackupType.FILES, settings=settings, workers=workers)
    operations.verify_backup(job.id, settings=settings, workers=workers)
    assert workers.orders
    key = opened_repository(settings).box.key.to_bytes()
    assert not any(engine.PASSPHRASE.encode() in order or key in order for order in workers.orders)


def test_without_workers_one_process_does_it_and_says_so(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="edurise_backup")
    job = operations.create_backup(BackupType.FILES, settings=settings)
    assert job.status is JobStatus.COMPLETED
    assert "this process backs it up alone" in caplog.text


def test_the_command_line_shows_the_plan_and_says_that_it_backs_up_alone(settings: Settings) -> None:
    def run(*words: str) -> str:
        command = [sys.executable, "-m", "edurise_backup", *words, "--config", str(settings.path)]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment()).stdout

    plan = json.loads(run("shards", "uploads", "--count", "5", "--json"))
    assert len(plan["shards"]) == 5
    assert sum(shard["bytes"] for shard in plan["shards"]) == sum(
        path.stat().st_size for path in Path(settings.files[0].paths[0]).rglob("*") if path.is_file()
    )
    assert "shard 3: " in run("shards", "uploads")
    assert "uploads was backed up by this process alone" in run("backup", "files")


def test_a_worker_tells_the_device_numbers_of_the_machine_that_runs_the_job(settings: Settings) -> None:
    """Else a file with two names in two shards would come back as two files."""
    workers = ThreadWorkers(settings)
    job = operations.create_backup(BackupType.FILES, settings=settings, incremental=False, workers=workers)
    with open_catalog(settings) as catalog:
        catalog.sessions.run(lambda connection: connection.execute(_AGAIN, {"job": job.id}))
    order = decode_order(workers.orders[0])
    elsewhere = msgspec.structs.replace(order, devices=(4711,))  # type: ignore[arg-type]
    answer, _ = decode_answer(shard_work.do_order(encode_order(elsewhere), settings), ShardAnswer)
    assert isinstance(answer, ShardAnswer)
    repository = opened_repository(settings)
    repository.load_index()
    found = [node for _, node in walk_files(repository, answer.archived.tree) if node.inode]
    assert found
    assert {node.device_id for node in found} == {4711}


_AGAIN = """
    WITH again AS (UPDATE job_shards SET status = 'waiting', completed_at = NULL WHERE job_id = %(job)s)
    UPDATE backup_jobs SET status = 'running', completed_at = NULL WHERE id = %(job)s"""
