"""A copy has the log, too: when the primary is lost, any moment up to the last copy comes back from there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.errors import InputError, NotFoundError
from edurise_backup.model.jobs import JobStatus
from edurise_backup.operations import point_in_time
from edurise_backup.operations.point_in_time.windows import windows_by_repository
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.server import Server
from edurise_backup.repository.wal_series import is_wal
from edurise_backup.stores.local import LocalStore
from tests.integration.test_point_in_time import LEDGER, read_ledger, write
from tests.support import engine
from tests.support.catalog import Product, opened
from tests.support.cluster_product import configure_cluster, receiving, shipped
from tests.support.clusters import ask, reachable_folder, running
from tests.support.copies import add_copy, opened_copy


@pytest.fixture
def server() -> Iterator[Server]:
    with reachable_folder() as folder, running(folder / "data") as found:
        ask(found, LEDGER)
        yield found


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as found:
        yield found


def ship(product: Product, server: Server) -> None:
    with opened(product) as catalog, receiving(product, catalog) as reception:
        shipped(reception, server)


def test_the_primary_is_lost_and_the_copy_brings_back_a_moment_behind_its_base_backup(
    tmp_path: Path, folder: Path, server: Server, catalog_database: Address
) -> None:
    product = configure_cluster(tmp_path / "product", server, catalog_database)
    copy = add_copy(product)
    settings = product.settings
    ship(product, server)
    operations.create_backup("cluster", settings=settings)
    first = write(server, 5)
    ship(product, server)
    assert operations.copy_backups("offsite", settings=settings).status is JobStatus.COMPLETED
    write(server, 5, 6)
    ship(product, server)
    brought = operations.copy_backups("offsite", settings=settings)
    assert brought.figures
    assert brought.figures.copied
    assert (brought.figures.copied.backups, brought.figures.copied.blobs > 0) == ((), True), "the log alone"
    again = operations.copy_backups("offsite", settings=settings)
    assert again.figures
    assert again.figures.copied
    assert again.figures.copied.blobs == 0
    there = opened_copy(copy)
    assert len([one for one in there.snapshots().values() if is_wal(one)]) == 1
    assert engine.check(there).findings == []

    (alone,) = windows_by_repository(store="offsite", settings=settings)
    (known,) = point_in_time.recovery_windows(settings=settings)
    assert [(one.begin_lsn, one.end_lsn) for one in alone.windows] == [
        (one.begin_lsn, one.end_lsn) for one in known.windows
    ]
    shutil.rmtree(product.repository)
    target = folder / "latest"
    done = point_in_time.recover_to("latest", target, amcheck=False, settings=settings)
    assert done.stores == ("offsite",)
    assert any(note.startswith("primary was passed over") for note in done.store_notes)
    with Server(target, binaries=server.binaries, password=server._password, settings={"fsync": "off"}) as back:
        assert read_ledger(back.address) == 10
    target = folder / "fifth"
    done = point_in_time.recover_to(
        f"before xid:{first[4].xid}", target, store="offsite", amcheck=False, settings=settings
    )
    with Server(target, binaries=server.binaries, password=server._password, settings={"fsync": "off"}) as back:
        assert read_ledger(back.address) == 4


def test_what_the_primary_has_forgotten_comes_back_from_the_copy(
    tmp_path: Path, folder: Path, server: Server, catalog_database: Address
) -> None:
    product = configure_cluster(tmp_path / "product", server, catalog_database)
    add_copy(product)
    settings = product.settings
    backup = operations.create_backup("cluster", settings=settings)
    write(server, 3)
    ship(product, server)
    operations.copy_backups("offsite", settings=settings)
    with opened(product) as catalog:
        catalog.sessions.run(
            lambda session: session.execute("UPDATE backup_jobs SET missing_since = now() WHERE id = %s", (backup.id,))
        )
    target = folder / "back"
    done = point_in_time.recover_to("latest", target, store="offsite", amcheck=False, settings=settings)
    assert done.backup_id == backup.id


def test_a_store_that_is_not_known_is_told_with_those_that_are(
    tmp_path: Path, folder: Path, server: Server, catalog_database: Address
) -> None:
    product = configure_cluster(tmp_path / "product", server, catalog_database)
    add_copy(product)
    with pytest.raises(NotFoundError, match="no store is named 'moon'") as error:
        point_in_time.recover_to("latest", folder / "r", store="moon", settings=product.settings)
    assert "primary, offsite" in error.value.hint
    with pytest.raises((InputError, NotFoundError), match="there is no base backup"):
        point_in_time.recover_to("latest", folder / "r", store="offsite", settings=product.settings)


def test_a_host_that_may_only_add_leaves_its_snapshots_of_the_log_to_the_next_prune(
    tmp_path: Path, server: Server, catalog_database: Address
) -> None:
    product = configure_cluster(tmp_path / "product", server, catalog_database)
    pruner = product.settings
    text = product.settings_path.read_text()
    product.settings_path.write_text(text.replace("[repository]\n", "[repository]\nappend_only = true\n", 1))
    operations.create_backup("cluster", settings=product.settings)
    for start in (1, 4, 7):
        write(server, 3, start)
        ship(product, server)
    (before,) = point_in_time.recovery_windows(settings=product.settings)
    assert len(logs_of(product)) >= 3
    operations.prune_repository(settings=pruner, grace="0")
    assert len(logs_of(product)) == 1
    (alone,) = windows_by_repository(settings=pruner)
    assert [one.end_lsn for one in alone.windows] == [one.end_lsn for one in before.windows]


def logs_of(product: Product) -> list[str]:
    return [key for key, one in engine.opened(LocalStore(product.repository)).snapshots().items() if is_wal(one)]
