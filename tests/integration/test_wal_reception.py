"""A cluster's log comes into the repository while it is written, whatever part of the way is away for a while."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.errors import BackupError, ConfigError
from edurise_backup.model.jobs import BackupType, JobStatus
from edurise_backup.model.wal_status import WalState
from edurise_backup.operations.doctor_clusters import examine_clusters
from edurise_backup.operations.findings import Level
from edurise_backup.operations.wal.receiving import Reception, slot_of, spool_folder
from edurise_backup.operations.wal.service import chosen_clusters
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.server import Server
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.catalog import Product, opened
from tests.support.cluster_product import archive_of, configure_cluster, numbers, receiving, shipped, until, written
from tests.support.clusters import MAJORS, SOURCE, ask, reachable_folder, running


@pytest.fixture(scope="module", params=MAJORS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Yield a server of each version."""
    with reachable_folder() as folder, running(folder / "data", request.param) as found:
        ask(found, "CREATE TABLE t (id int, v text)")
        yield found


@pytest.fixture(scope="module")
def newest() -> Iterator[Server]:
    """Yield a server of the newest version alone."""
    with reachable_folder() as folder, running(folder / "data") as found:
        ask(found, "CREATE TABLE t (id int, v text)")
        yield found


@pytest.fixture
def product(tmp_path: Path, server: Server, catalog_database: Address) -> Iterator[Product]:
    """Yield a product around the server; its slot is gone afterwards."""
    yield configure_cluster(tmp_path / "product", server, catalog_database)
    drop_slot(server)


@pytest.fixture
def small(tmp_path: Path, newest: Server, catalog_database: Address) -> Iterator[Product]:
    """Yield the same around the newest version."""
    yield configure_cluster(tmp_path / "product", newest, catalog_database)
    drop_slot(newest)


def drop_slot(server: Server) -> None:
    query = "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE NOT active"
    until(lambda: ask(server, "SELECT count(*) FROM pg_replication_slots WHERE active") == [(0,)])
    ask(server, query)


def test_what_is_written_is_in_the_repository_a_moment_later_without_a_gap(server: Server, product: Product) -> None:
    with opened(product) as catalog, receiving(product, catalog) as reception:
        until(lambda: reception.status.state is WalState.RECEIVING, reception.step)
        ask(server, "INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 1000) g")
        end = shipped(reception, server)
        assert any(name.endswith(".partial") for name, _ in archive_of(product).names())
        for _ in range(3):
            ask(server, "INSERT INTO t VALUES (1, 'x')")
            ask(server, "SELECT pg_switch_wal()")
        later = shipped(reception, server)
        found = numbers(archive_of(product))
        assert found == list(range(found[0], found[-1] + 1))
        assert found[-1] >= later // reception.status.segment_size - 1
        assert later > end
        until(lambda: reception.status.exposed_since is None, reception.step)
        (status,) = catalog.wal.statuses()
        assert status == reception.status
        assert status.exposure(status.seen_at) == timedelta(0)
        rows = catalog.wal.segments(SOURCE, status.system_identifier)
        assert [row.number for row in rows] == found
        assert sum(row.commits for row in rows) >= 4
        assert all(row.follows for row in rows[1:])
        assert status.last_commit_at == max(row.last_commit_at for row in rows if row.last_commit_at)
    (status,) = opened_statuses(product)
    assert status.state is WalState.STOPPED
    assert engine.check(engine.opened(LocalStore(product.repository))).findings == []


def opened_statuses(product: Product) -> tuple[object, ...]:
    with opened(product) as catalog:
        return catalog.wal.statuses()


def test_a_receiver_that_is_killed_goes_on_where_it_was(newest: Server, small: Product) -> None:
    with opened(small) as catalog, receiving(small, catalog) as reception:
        shipped(reception, newest)
        process = reception._receiver._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        ask(newest, "INSERT INTO t VALUES (2, 'after the kill')")
        shipped(reception, newest)
        assert reception.status.state is WalState.RECEIVING
    with opened(small) as catalog, receiving(small, catalog) as again:  # and so does another process
        ask(newest, "SELECT pg_switch_wal()")
        ask(newest, "INSERT INTO t VALUES (3, 'after the restart')")
        shipped(again, newest)
        found = numbers(archive_of(small))
        assert found == list(range(found[0], found[-1] + 1))
        rows = catalog.wal.segments(SOURCE, again.status.system_identifier)
        assert all(row.follows for row in rows[1:])


def test_while_the_repository_is_away_the_log_waits_in_the_spool_and_it_is_told(newest: Server, small: Product) -> None:
    with opened(small) as catalog, receiving(small, catalog) as reception:
        shipped(reception, newest)
        before = reception.status.shipped_lsn
        away = small.repository.with_name("away")
        small.repository.rename(away)
        for _ in range(3):
            ask(newest, "INSERT INTO t VALUES (4, 'x')")
            ask(newest, "SELECT pg_switch_wal()")
        until(lambda: reception.status.trouble.startswith("shipping"), reception.step)
        assert reception.status.shipped_lsn == before
        until(lambda: reception.status.exposed_since is not None, reception.step)
        until(lambda: len(list(spool_folder(small.settings, SOURCE).iterdir())) >= 4, reception.step)
        away.rename(small.repository)
        shipped(reception, newest)
        until(lambda: not reception.status.trouble, reception.step)
        assert len(list(spool_folder(small.settings, SOURCE).iterdir())) <= 2
        found = numbers(archive_of(small))
        assert found == list(range(found[0], found[-1] + 1))


def test_while_somebody_holds_the_repository_alone_the_log_waits(newest: Server, small: Product) -> None:
    with opened(small) as catalog, receiving(small, catalog) as reception:
        shipped(reception, newest)
        other = engine.opened(LocalStore(small.repository))
        with other.lock(exclusive=True):
            ask(newest, "INSERT INTO t VALUES (5, 'x')")
            until(lambda: "shipping" in reception.status.trouble, reception.step)
        shipped(reception, newest)


def test_what_is_no_segment_is_put_aside_and_holds_nothing_up(newest: Server, small: Product) -> None:
    """SCENARIOS S-30: truncated_wal_archived."""
    with opened(small) as catalog, receiving(small, catalog) as reception:
        end = shipped(reception, newest)
        size = reception.status.segment_size
        spool = spool_folder(small.settings, SOURCE)
        name = f"00000001{0:08X}{end // size + 200:08X}"
        (spool / name).write_bytes(b"cut short")
        ask(newest, "INSERT INTO t VALUES (6, 'x')")
        shipped(reception, newest)
        until(lambda: reception.status.quarantined == 1, reception.step)
        assert not (spool / name).exists()
        assert (spool / "aside" / name).read_bytes() == b"cut short"
        assert name not in dict(archive_of(small).names())


def test_a_slot_that_somebody_else_uses_is_told(newest: Server, small: Product) -> None:
    settings = small.settings
    with opened(small) as catalog, receiving(small, catalog) as reception:
        shipped(reception, newest)
        other = Reception(settings, settings.clusters[0], catalog)
        other.step()
        assert "wal/main" in other.status.trouble  # the lease says who, before the slot does
        other._receiver.start()
        process = other._receiver._process
        assert process is not None
        process.wait(20)
        assert slot_of(settings.clusters[0]) in str(other._receiver.trouble())
        other._receiver.stop()


def test_a_heartbeat_moves_an_idle_clusters_restore_point_on(newest: Server, small: Product) -> None:
    small.configure("ship_seconds = 1", "ship_seconds = 1\nheartbeat_seconds = 1")
    with opened(small) as catalog, receiving(small, catalog) as reception:
        shipped(reception, newest)
        first = reception.status.last_commit_at
        until(lambda: (reception.status.last_commit_at or first) != first, reception.step)


def test_what_happened_to_which_table_is_known(newest: Server, small: Product) -> None:
    with opened(small) as catalog, receiving(small, catalog) as reception:
        shipped(reception, newest)
        ask(newest, "CREATE TABLE submissions AS SELECT g AS id FROM generate_series(1, 5000) g")
        ask(newest, "DELETE FROM submissions WHERE id <= 3000")
        ask(newest, "DROP TABLE submissions")
        ask(newest, "SELECT pg_create_restore_point('before the release')")
        shipped(reception, newest)
        events = catalog.wal.events(SOURCE)
        assert [event.kind for event in events][:2] == ["drop", "bulk delete"]
        assert [event.said for event in events][:2] == [
            "DROP TABLE public.submissions",
            "DELETE of 3,000 rows from public.submissions",
        ]
        assert events[0].commit_lsn < events[0].commit_end
        rows = catalog.wal.segments(SOURCE, reception.status.system_identifier)
        assert [point.name for row in rows for point in row.points] == ["before the release"]


def test_a_base_backup_is_a_job_with_its_place_in_the_log(newest: Server, small: Product) -> None:
    settings = small.settings
    done = operations.create_backup("cluster", settings=settings)
    assert done.status is JobStatus.COMPLETED, done.warnings
    assert [part.part for part in done.parts] == [BackupType.CLUSTER]
    with opened(small) as catalog:
        (base,) = catalog.wal.bases(SOURCE)
    assert (base.backup_id, base.snapshot_id) == (done.id, done.parts[0].snapshot_id)
    assert base.start_lsn < base.stop_lsn <= written(newest)
    assert operations.verify_backup(done.id, settings=settings).findings == ()
    full = operations.create_backup("full", settings=settings)
    assert BackupType.CLUSTER in {part.part for part in full.parts}
    operations.rebuild_catalog(settings=settings)
    with opened(small) as catalog:
        assert len(catalog.wal.bases(SOURCE)) == 2


def test_the_doctor_looks_at_a_cluster(newest: Server, small: Product) -> None:
    settings = small.settings
    found = {one.message: one.level for one in examine_clusters(settings)}
    assert any("lets postgres replicate; its files are read at" in said for said in found)
    assert found["no moment of it can be brought back: no base backup"] is Level.FAULT
    operations.create_backup("cluster", settings=settings)
    said = [one.message for one in examine_clusters(settings)]
    assert any(one.startswith("every moment from") for one in said)
    assert "its log is not received" in said
    small.configure(f"user={newest.address.user}", "user=nobody_at_all", after="[[cluster]]")
    (fault,) = [one for one in examine_clusters(small.settings) if one.level is Level.FAULT]
    assert fault.remedy


def test_mistakes_in_what_is_to_be_received_are_told(small: Product) -> None:
    with pytest.raises(BackupError, match="no log of a cluster named other"):
        chosen_clusters(small.settings, ["other"])
    small.configure("ship_seconds = 1", 'method = "off"')
    with pytest.raises(ConfigError, match="no cluster is configured"):
        chosen_clusters(small.settings)
