"""A copy of the product that is cut at every write, meets a full disk, or loses its server: what is there is whole."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from edurise_backup import operations
from edurise_backup.config import Settings
from edurise_backup.errors import SpaceError, UnreachableError
from edurise_backup.model.jobs import JobStatus
from edurise_backup.model.stores import CopyState
from edurise_backup.ports import Store
from edurise_backup.repository.repository import Repository
from tests.support.catalog import Product
from tests.support.copies import COPY_PASSPHRASE, configure_copy, with_stores
from tests.support.engine import QUICK, check, names_that_lie
from tests.support.stores import Crash, CrashingStore, Fault, FaultyStore, MemoryStore


@dataclass(slots=True)
class InMemory:
    """A product whose copy lies in memory."""

    product: Product
    disk: MemoryStore = field(default_factory=MemoryStore)

    def settings(self, around: Store | None = None) -> Settings:
        """Return settings that put the copy's disk, or what stands around it, in the place of its directory."""
        place = str(self.product.home / "copy in memory")

        def put(found: Store) -> Store:
            return (around or self.disk) if found.address == place else found

        return with_stores(self.product.settings, put)

    def states(self) -> set[CopyState]:
        (status,) = operations.get_copies(settings=self.product.settings)
        return {point.state for point in status.points}


@pytest.fixture
def copied(files_product: Product) -> InMemory:
    """Give a product with two backups and an empty copy in memory."""
    made = InMemory(files_product)
    configure_copy(files_product, "offsite", str(files_product.home / "copy in memory"))
    Repository.create(made.disk, COPY_PASSPHRASE, cost=QUICK)
    operations.create_backup("full", settings=files_product.settings)
    files_product.put("essays/later.txt", b"later" * 500)
    operations.create_backup("files", settings=files_product.settings)
    return made


def opened(disk: MemoryStore) -> Repository:
    return Repository.open(disk, COPY_PASSPHRASE)


@pytest.mark.slow
def test_a_crash_at_any_write_leaves_whole_snapshots_and_the_next_run_completes(copied: InMemory) -> None:
    empty = copied.disk
    for survive in range(200):
        copied.disk = empty.copy()
        try:
            operations.copy_backups("offsite", settings=copied.settings(CrashingStore(copied.disk, survive)))
        except Crash:
            assert check(opened(copied.disk), read_data=True).findings == []
            again = operations.copy_backups("offsite", settings=copied.settings())
            assert again.status is JobStatus.COMPLETED, again.warnings
            assert len(opened(copied.disk).snapshots()) == 4
            assert check(opened(copied.disk), read_data=True).findings == []
            assert names_that_lie(copied.disk) == []
            with operations.open_catalog(copied.product.settings) as catalog:
                catalog.sessions.run(lambda connection: connection.execute("DELETE FROM backup_copies") and None)
                catalog.sessions.run(lambda connection: connection.execute("DELETE FROM stores") and None)
            continue
        break
    assert survive > 10
    assert copied.states() == {CopyState.WHOLE}


@pytest.mark.parametrize(
    ("error", "prefix"),
    [
        (lambda: SpaceError("the disk is full", hint="make room"), "data/"),
        (lambda: SpaceError("the disk is full", hint="make room"), "snapshots/"),
        (lambda: UnreachableError("the server has gone"), "data/"),
        (lambda: UnreachableError("the server has gone"), "index/"),
    ],
    ids=["full before the packs", "full before the snapshot", "gone before the packs", "gone before the index"],
)
def test_a_full_or_lost_destination_fails_in_its_row_and_the_next_run_goes_on(
    copied: InMemory, error: object, prefix: str
) -> None:
    fault = Fault("put", prefix, error, first=1)  # type: ignore[arg-type]
    with FaultyStore(copied.disk, fault) as faulty, pytest.raises((SpaceError, UnreachableError)):
        operations.copy_backups("offsite", settings=copied.settings(faulty))
    assert fault.fired
    (status,) = operations.get_copies(settings=copied.product.settings)
    assert status.last_copy and status.last_copy.status is JobStatus.FAILED
    assert status.row.trouble
    assert check(opened(copied.disk), read_data=True).findings == []
    assert operations.copy_backups("offsite", settings=copied.settings()).status is JobStatus.COMPLETED
    assert copied.states() == {CopyState.WHOLE}
    (status,) = operations.get_copies(settings=copied.product.settings)
    assert status.row.trouble == ""
