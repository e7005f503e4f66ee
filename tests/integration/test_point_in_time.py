"""Any moment comes back exactly: a ledger in which every transaction counts, received while it is written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.errors import ConflictError, InputError, NotFoundError
from edurise_backup.model.jobs import JobStatus, RecoveryTarget, Verdict
from edurise_backup.model.wal import Lsn, format_lsn, parse_lsn
from edurise_backup.operations import point_in_time
from edurise_backup.operations.point_in_time.rescuing import Options, Wanted
from edurise_backup.operations.point_in_time.windows import windows_by_repository
from edurise_backup.operations.wal.remapping import map_logs
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.server import Server
from tests.support.catalog import Product, opened
from tests.support.cluster_product import configure_cluster, receiving, shipped, until
from tests.support.clusters import SOURCE, ask, reachable_folder, running

LEDGER = "CREATE TABLE ledger (n int PRIMARY KEY, hash text NOT NULL, at timestamptz NOT NULL)"


@dataclass(frozen=True)
class Entry:
    """One transaction of the ledger."""

    n: int
    xid: int
    committed: Lsn
    """Behind its commit."""
    after: datetime
    """After its commit, and before the next transaction."""


def write(server: Server, count: int, start: int = 1) -> list[Entry]:
    """Write transactions, each with its number and the hash over all before it."""
    entries = []
    with connect(server.address, autocommit=True) as connection:
        before = connection.execute("SELECT hash FROM ledger ORDER BY n DESC LIMIT 1").fetchone()
        digest = str(before[0]) if before else ""
        for n in range(start, start + count):
            digest = hashlib.sha256(f"{digest}{n}".encode()).hexdigest()
            with connection.transaction():
                connection.execute("INSERT INTO ledger VALUES (%s, %s, clock_timestamp())", (n, digest))
                row = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
            place = connection.execute("SELECT pg_current_wal_insert_lsn()::text, clock_timestamp()").fetchone()
            assert row
            assert place
            assert isinstance(place[1], datetime)
            entries.append(Entry(n, int(str(row[0])), parse_lsn(str(place[0])), place[1]))
    return entries


def read_ledger(address: Address) -> int:
    """Return the last number of a ledger that is whole up to it; fail for one that is not."""
    with connect(address, autocommit=True) as connection:
        rows = connection.execute("SELECT n, hash FROM ledger ORDER BY n").fetchall()
    digest = ""
    for place, (n, found) in enumerate(rows, 1):
        digest = hashlib.sha256(f"{digest}{n}".encode()).hexdigest()
        assert (n, found) == (place, digest)
    return len(rows)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with reachable_folder() as folder, running(folder / "data") as found:
        ask(found, LEDGER)
        yield found


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as found:
        yield found


def recovered_ledger(product: Product, server: Server, moment: str, target: Path) -> int:
    """Recover to a moment, start the result, and return its ledger's last number."""
    done = point_in_time.recover_to(moment, target, amcheck=False, settings=product.settings)
    assert (done.status, done.verification_status) in [
        (JobStatus.COMPLETED, Verdict.PASSED),
        (JobStatus.COMPLETED_WITH_WARNINGS, Verdict.PASSED),
    ], done
    with Server(target, binaries=server.binaries, password=server._password, settings={"fsync": "off"}) as again:
        return read_ledger(again.address)


def test_every_kind_of_moment_comes_back_exactly(
    tmp_path: Path, folder: Path, server: Server, catalog_database: Address
) -> None:
    product = configure_cluster(tmp_path / "product", server, catalog_database)
    with opened(product) as catalog, receiving(product, catalog) as reception:
        shipped(reception, server)
        operations.create_backup("cluster", settings=product.settings)
        entries = write(server, 20)
        ask(server, "SELECT pg_create_restore_point('after twenty')")
        entries += write(server, 10, 21)
        shipped(reception, server)
    at = {entry.n: entry for entry in entries}
    wanted = {
        f"time:{at[7].after.isoformat()}": 7,
        f"lsn:{format_lsn(at[12].committed)}": 12,
        f"before xid:{at[16].xid}": 15,
        "name:after twenty": 20,
        "latest": 30,
    }
    found = {
        moment: recovered_ledger(product, server, moment, folder / f"r{number}") for number, moment in enumerate(wanted)
    }
    assert found == wanted
    (windows,) = windows_by_repository(settings=product.settings)
    (window,) = windows.windows
    (known,) = point_in_time.recovery_windows(settings=product.settings)
    assert known.windows[0].end_at == window.end_at
    assert (known.windows[0].begin_lsn, known.windows[0].end_lsn) == (window.begin_lsn, window.end_lsn)
    with opened(product) as catalog:
        before = catalog.wal.segments(SOURCE, window.system_identifier)
        catalog.wal.trimmed(SOURCE, window.system_identifier, 1 << 40)
    (mapped,) = map_logs(settings=product.settings)
    assert (mapped.read, mapped.known, mapped.unreadable) == (len(before), 0, ())
    assert point_in_time.recovery_windows(settings=product.settings)[0].windows == known.windows


def test_what_cannot_be_is_refused_before_anything_is_written_with_what_can(
    tmp_path: Path, folder: Path, server: Server, catalog_database: Address
) -> None:
    product = configure_cluster(tmp_path / "product", server, catalog_database)
    settings, target = product.settings, folder / "r"
    with pytest.raises(NotFoundError, match="there is no base backup"):
        point_in_time.recover_to("latest", target, settings=settings)
    operations.create_backup("cluster", settings=settings)
    (windows,) = point_in_time.recovery_windows(settings=settings)
    begin = windows.windows[0].begin_at
    for moment, words in (
        (f"time:{(begin - timedelta(hours=1)).isoformat()}", "no recovery window"),
        (f"time:{(datetime.now(UTC) + timedelta(hours=1)).isoformat()}", "no recovery window"),
        ("lsn:0/1", "no recovery window"),
        ("name:never made", "no restore point"),
        ("xid:3", "began before every base backup"),
        ("time:2026-11-28 14:03:07", "zone"),
        ("yesterday", "no target"),
    ):
        with pytest.raises((InputError, NotFoundError), match=words) as refused:
            point_in_time.recover_to(moment, target, settings=settings)
        assert refused.value.hint
        assert not target.exists()
    (folder / "full").mkdir()
    (folder / "full" / "file").write_text("x")
    with pytest.raises(ConflictError, match="full"):
        point_in_time.recover_to("immediate", folder / "full", settings=settings)
    assert os.listdir(folder / "full") == ["file"]
    explained = point_in_time.explain_time("", begin - timedelta(hours=1), settings=settings)
    assert (explained.window, explained.nearest) == (None, (begin,))


def test_a_table_that_was_dropped_comes_back_as_it_was_just_before(
    tmp_path: Path, folder: Path, server: Server, catalog_database: Address
) -> None:
    product = configure_cluster(tmp_path / "product", server, catalog_database)
    settings = product.settings
    with opened(product) as catalog, receiving(product, catalog) as reception:
        shipped(reception, server)
        operations.create_backup("cluster", settings=settings)
        ask(server, "CREATE TABLE submissions (id int PRIMARY KEY, essay text)")
        ask(server, "INSERT INTO submissions SELECT g, 'essay ' || g FROM generate_series(1, 500) g")
        shipped(reception, server)
        ask(server, "DROP TABLE submissions")
        shipped(reception, server)
        (event, *_) = catalog.wal.events(SOURCE, relation="submissions")
    assert event.said == "DROP TABLE public.submissions"
    moment = f"before lsn:{format_lsn(event.commit_lsn)}"
    tables = [Wanted("public", "submissions")]
    shown = point_in_time.plan_rescue_from(moment, tables, database="postgres", folder=folder, settings=settings)
    assert shown.plan is not None
    assert not shown.plan.obstacles
    assert ask(server, "SELECT to_regclass('submissions')") == [(None,)]
    done = point_in_time.rescue_from(
        moment,
        tables,
        database="postgres",
        expected=shown.plan.hash,
        options=Options(),
        folder=folder,
        settings=settings,
    )
    assert done.merged is not None
    assert ask(server, "SELECT count(*), min(essay) FROM submissions") == [(500, "essay 1")]
    assert list(folder.iterdir()) == []
    ask(server, "DROP TABLE submissions")


def test_a_full_set_brings_its_cluster_back_as_it_was_at_its_end(
    tmp_path: Path, folder: Path, server: Server, catalog_database: Address
) -> None:
    product = configure_cluster(tmp_path / "product", server, catalog_database)
    full = operations.create_backup("full", settings=product.settings)
    expected = read_ledger(server.address)
    done = operations.initiate_recovery(full.id, RecoveryTarget(str(folder / "all")), settings=product.settings)
    assert done.verification_status is Verdict.PASSED, done
    target = folder / "all" / "cluster" / SOURCE / "data"
    with Server(target, binaries=server.binaries, password=server._password, settings={"fsync": "off"}) as again:
        assert read_ledger(again.address) == expected


def test_a_promotion_is_followed_and_both_timelines_come_back(
    tmp_path: Path, folder: Path, catalog_database: Address
) -> None:
    """SCENARIOS S-33: timeline_switch_between_bases."""
    with running(folder / "data") as server:
        ask(server, LEDGER)
        product = configure_cluster(tmp_path / "product", server, catalog_database)
        with opened(product) as catalog, receiving(product, catalog) as reception:
            shipped(reception, server)
            operations.create_backup("cluster", settings=product.settings)
            first = write(server, 10)
            shipped(reception, server)
            server.stop()
            (server.data_directory / "standby.signal").touch()
            server.start()
            assert ask(server, "SELECT pg_promote(true)") == [(True,)]
            second = write(server, 5, 11)
            ask(server, "SELECT pg_switch_wal()")
            second += write(server, 5, 16)
            shipped(reception, server)
            until(lambda: reception.status.timeline == 2, reception.step)
            system = reception.status.system_identifier
            assert [(one.timeline, one.parent) for one in catalog.wal.timelines(SOURCE, system)] == [(2, 1)]
        (known,) = point_in_time.recovery_windows(settings=product.settings)
        assert {window.timeline for window in known.windows} == {1, 2}
        alone = windows_by_repository(settings=product.settings)[0].windows
        assert [(one.timeline, one.begin_lsn, one.end_lsn, one.end_at) for one in known.windows] == [
            (one.timeline, one.begin_lsn, one.end_lsn, one.end_at) for one in alone
        ]
        wanted = {
            "latest": 20,
            f"time:{first[5].after.isoformat()}": 6,
            f"lsn:{format_lsn(second[2].committed)}": 13,
            f"before xid:{second[7].xid}": 17,
        }
        found = {
            moment: recovered_ledger(product, server, moment, folder / f"r{number}")
            for number, moment in enumerate(wanted)
        }
        assert found == wanted
