"""Workers that stand still: found by what their shards' rows say, or do not say any more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from edurise_backup.catalog.records import JobKind
from edurise_backup.catalog.shards import ShardStatus
from edurise_backup.errors import CancelledError
from edurise_backup.model.jobs import JobId
from edurise_backup.operations import open_catalog, queue_backup
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.shard_orders import BringOrder
from edurise_backup.operations.shard_telling import telling
from edurise_backup.operations.shard_watch import ShardWatch
from tests.support.catalog import Product

SILENCE = timedelta(seconds=100)


class Hand:
    """A clock that is moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def catalog(files_product: Product) -> Iterator[Catalog]:
    """Give a catalog with a running job."""
    with open_catalog(files_product.settings) as opened:
        yield opened


@pytest.fixture
def job(catalog: Catalog, files_product: Product) -> JobId:
    """Give a job whose shards 0 to 2 are planned, and 1 and 2 begun."""
    job_id = queue_backup("files", settings=files_product.settings)
    catalog.jobs.start(job_id)
    assert catalog.shards.plan(JobKind.BACKUP, job_id, ["a", "b", "c"]) == 0
    assert catalog.shards.begin(job_id, 1)
    assert catalog.shards.begin(job_id, 2)
    return job_id


def test_who_gives_no_sign_is_named_once_and_who_works_never(catalog: Catalog, job: JobId) -> None:
    clock = Hand()
    watch = ShardWatch(catalog.shards, job, 0, silence=SILENCE, clock=clock)
    named = []
    for step in range(1, 9):
        clock.now += 26
        catalog.shards.beat(job, 2, bytes_done=step, files_done=0)
        named.append(watch.still())
    assert named == [[], [], [], [], [1], [], [], []]


def test_who_gives_signs_and_gets_no_further_has_more_patience(catalog: Catalog, job: JobId) -> None:
    clock = Hand()
    watch = ShardWatch(catalog.shards, job, 2, silence=SILENCE, clock=clock)
    found = 0
    for _ in range(40):
        clock.now += 26
        catalog.shards.beat(job, 2, bytes_done=7, files_done=0)
        if watch.still() == [0]:
            found = int(clock.now) - 1000
            break
    assert 600 <= found <= 660


def test_who_has_ended_or_begun_anew_is_not_still(catalog: Catalog, job: JobId) -> None:
    clock = Hand()
    watch = ShardWatch(catalog.shards, job, 0, silence=SILENCE, clock=clock)
    for step in range(3):
        clock.now += 30
        assert watch.still() == [], step
    catalog.shards.end(job, 1, ShardStatus.DONE, bytes_done=1, files_done=1)
    catalog.shards.begin(job, 2)  # by another worker
    clock.now += 30
    assert watch.still() == []
    clock.now += 60
    assert watch.still() == []


def test_who_comes_back_late_does_not_end_what_another_one_does_now(catalog: Catalog, job: JobId) -> None:
    take = "UPDATE job_shards SET pid = pid + 1, tries = 2 WHERE number = 1"
    catalog.sessions.run(lambda connection: connection.execute(take) and None)
    assert not catalog.shards.beat(job, 1, bytes_done=5, files_done=0)
    catalog.shards.end(job, 1, ShardStatus.FAILED, bytes_done=5, files_done=0)
    row = catalog.shards.of(job)[1]
    assert (row.status, row.bytes_done) == (ShardStatus.RUNNING, 0)


def test_a_plan_is_written_once_though_nobody_heard_of_it(catalog: Catalog, job: JobId) -> None:
    assert catalog.shards.plan(JobKind.BACKUP, job, ["d", "e"]) == 3
    assert [row.what for row in catalog.shards.of(job)] == ["a", "b", "c", "d", "e"]


def test_who_brings_bytes_and_stood_still_asks_before_the_next_step(catalog: Catalog, job: JobId) -> None:
    """Another one has brought them, and people work on those files by now."""
    order = BringOrder(job=job, number=1, store="", repository="", target="", packs=(), helped=False)
    with telling(catalog.shards, order, 0.0) as progress:
        progress.raise_if_cancelled()  # still wanted
        take = "UPDATE job_shards SET pid = pid + 1, tries = 2 WHERE number = 1"
        catalog.sessions.run(lambda connection: connection.execute(take) and None)
        with pytest.raises(CancelledError):
            progress.raise_if_cancelled()
    assert catalog.shards.of(job)[1].status is ShardStatus.RUNNING
