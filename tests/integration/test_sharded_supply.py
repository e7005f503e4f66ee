"""Shared recoveries whose store fails: the copies step in, whoever has begun; and what workers ask is counted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.config import Settings
from edurise_backup.model.jobs import BackupJob, JobStatus, RecoveryJob, RecoveryTarget, Verdict
from edurise_backup.operations.shard_orders import BringOrder, decode_order
from tests.support.catalog import Product
from tests.support.copies import add_copy, flip, packs_of
from tests.support.s3_product import in_bucket
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import new_bucket
from tests.support.sharding import ThreadWorkers
from tests.support.trees import describe, differences


@pytest.fixture
def product(files_product: Product) -> Product:
    """Give a product with a shared source, and a copy of what it backs up."""
    rng = random.Random(5)
    for number in range(30):
        files_product.put(f"flat/{number:02}", rng.randbytes(rng.randrange(60_000)))
    text = files_product.settings_path.read_text()
    files_product.settings_path.write_text(text.replace("[[files]]\n", "[[files]]\nshards = 3\n"))
    return files_product


def copied(product: Product) -> BackupJob:
    add_copy(product)
    workers = ThreadWorkers(product.settings)
    job = operations.create_backup("files", settings=product.settings, workers=workers)
    operations.copy_backups("offsite", settings=product.settings)
    return job


def recovered(settings: Settings, job: BackupJob, workers: ThreadWorkers, target: Path) -> RecoveryJob:
    return operations.initiate_recovery(job.id, RecoveryTarget(str(target)), settings=settings, workers=workers)


def as_it_was(product: Product, target: Path) -> bool:
    [source] = [Path(path) for path in product.settings.files[0].paths]
    (restored,) = target.rglob(source.name)
    return differences(describe(source), describe(restored)) == []


@pytest.mark.parametrize("first", [0, 3], ids=["nothing was brought yet", "all was brought, and is proved"])
def test_a_primary_that_vanishes_in_the_middle_costs_nothing(product: Product, tmp_path: Path, first: int) -> None:
    job = copied(product)
    primary = Path(product.settings.repository.location)

    def lose(at: int) -> None:
        if at == first and primary.exists() and isinstance(decode_order(workers.orders[0]), BringOrder):
            primary.rename(primary.with_name("gone"))

    workers = ThreadWorkers(product.settings, around=lose)
    done = recovered(product.settings, job, workers, tmp_path / "target")
    assert not primary.exists()
    assert (done.status, done.verification_status) == (JobStatus.COMPLETED, Verdict.PASSED)
    assert done.stores[0] == "primary"
    assert "offsite" in done.stores or first, "what was read before needs nobody to step in"
    assert as_it_was(product, tmp_path / "target")


def test_a_damaged_pack_is_brought_from_the_copy(product: Product, tmp_path: Path) -> None:
    job = copied(product)
    flip(max(packs_of(Path(product.settings.repository.location)), key=lambda path: path.stat().st_size))
    done = recovered(product.settings, job, ThreadWorkers(product.settings), tmp_path / "target")
    assert (done.status, done.stores) == (JobStatus.COMPLETED, ("primary", "offsite"))
    assert as_it_was(product, tmp_path / "target")


def test_workers_read_the_copy_when_the_primary_was_lost_before(product: Product, tmp_path: Path) -> None:
    job = copied(product)
    primary = Path(product.settings.repository.location)
    primary.rename(primary.with_name("gone"))
    workers = ThreadWorkers(product.settings)
    done = recovered(product.settings, job, workers, tmp_path / "target")
    assert (done.status, done.stores) == (JobStatus.COMPLETED, ("offsite",))
    assert {decode_order(order).store for order in workers.orders} == {"offsite"}
    assert as_it_was(product, tmp_path / "target")


def test_what_workers_ask_of_a_bucket_is_counted_with_the_job(product: Product, rclone: S3Server) -> None:
    settings = in_bucket(product, rclone, new_bucket(rclone)).settings
    operations.make_repository(settings)
    job = operations.create_backup("files", settings=settings, workers=ThreadWorkers(settings))
    with operations.open_catalog(settings) as catalog:
        spent = catalog.store_use.traffic_of(job.id)
    assert spent.total.sent > job.stored_bytes
    assert spent.requests("PutObject") >= 3 * 2 + 3, "a lock, packs and an index for each shard"
