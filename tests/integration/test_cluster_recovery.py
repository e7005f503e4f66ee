"""Recoveries of real clusters to moments: the ledger is whole up to the target and holds nothing behind it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edurise_backup.model.recovery_target import TargetMoment
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.recovery.cluster.recovering import RecoveryOptions, recover_cluster
from tests.support.clusters import ask, given_to_server, reachable_folder, running, started_on
from tests.support.recoveries import (
    QUICKLY,
    Recoverable,
    backed_up,
    ledger_of,
    published,
    restore_point,
    switched,
)

SETTINGS = {"track_commit_timestamp": "on"}
BRANCH_AT = 25


@pytest.fixture(scope="module", params=[15, pytest.param(16, marks=pytest.mark.nightly), 18])
def cluster(request: pytest.FixtureRequest) -> Iterator[Recoverable]:
    """Yield a base backup, its log, and a second timeline that left the first at a transaction."""
    with reachable_folder() as folder, running(folder / "data", request.param, SETTINGS) as server:
        space = given_to_server(folder / "space", server)
        ask(server, f"CREATE TABLESPACE elsewhere LOCATION '{space}'")
        ask(server, "CREATE TABLE far TABLESPACE elsewhere AS SELECT g AS id FROM generate_series(1, 1000) g")
        ask(server, "CREATE UNLOGGED TABLE fleeting AS SELECT 1 AS x")
        found = backed_up(server)
        for number in range(1, 5):
            found.ledger.write(server.address, 10)
            restore_point(server.address, f"after {number}0")
            current = switched(server.address)
        pg_wal = server.data_directory / "pg_wal"
        published(found.repository, found.archive, pg_wal, only=lambda name: name < current)
        at = TargetMoment(lsn=found.ledger.entries[BRANCH_AT - 1].lsn)
        with found.recovered(folder / "branch", at) as other:
            found.branch = found.ledger.branched(BRANCH_AT, "other")
            found.branch.write(other.address, 15)
            restore_point(other.address, "other end")
            second = switched(other.address)
            pg_wal = other.recovered.data / "pg_wal"
            published(
                found.repository,
                found.archive,
                pg_wal,
                only=lambda name: name.startswith("00000002") and name < second,
            )
        yield found


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder that the server's user can reach."""
    with reachable_folder() as found:
        yield found


def on_the_old(moment: TargetMoment) -> TargetMoment:
    return moment.on_timeline("current")


def random_target(cluster: Recoverable, chance: random.Random) -> tuple[TargetMoment, int]:
    """Return a target on one of both timelines, and how many entries there are then."""
    new = chance.random() < 0.5
    assert cluster.branch is not None
    entries = (cluster.branch if new else cluster.ledger).entries
    entry = chance.choice(entries[BRANCH_AT:-1] if new else entries[:-1])
    before, same = entry.n - 1, entry.n
    # behind a switch an aborted transaction has the number of another one: the way says which is meant
    targets = [
        (TargetMoment(xid=entry.xid), same),
        (TargetMoment(xid=entry.xid, inclusive=False), before),
        (TargetMoment(time=entry.after), same),
        (TargetMoment(time=entry.committed), same),
        (TargetMoment(time=entry.committed, inclusive=False), before),
        (TargetMoment(lsn=entry.lsn), same),
        (TargetMoment(lsn=entry.lsn, inclusive=False), same),
    ]
    moment, expected = chance.choice(targets)
    return replace(moment, timeline=2 if new else "current", action=chance.choice(["pause", "promote"])), expected


def test_named_moments_on_both_timelines_land_exactly(cluster: Recoverable, folder: Path) -> None:
    """SCENARIOS S-33: timeline_switch_between_bases, .history."""
    assert cluster.landed(folder / "a", on_the_old(TargetMoment(name="after 30"))) == 30
    assert cluster.landed(folder / "b", TargetMoment(name="other end")) == 40
    assert cluster.landed(folder / "c", TargetMoment(immediate=True, action="pause")) == 0


@pytest.mark.parametrize("seed", range(2))
def test_random_moments_land_exactly(cluster: Recoverable, folder: Path, seed: int) -> None:
    moment, expected = random_target(cluster, random.Random(seed))
    assert cluster.landed(folder / "a", moment) == expected, moment


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 130))
def test_thirty_random_moments_land_exactly(cluster: Recoverable, folder: Path, seed: int) -> None:
    moment, expected = random_target(cluster, random.Random(seed))
    assert cluster.landed(folder / "a", moment) == expected, moment


def test_what_is_recovered_is_a_cluster_of_its_own_with_its_tablespaces(cluster: Recoverable, folder: Path) -> None:
    """SCENARIOS S-32: tablespace_symlink."""
    oid = cluster.record.tablespaces[0].oid
    elsewhere = folder / "other disk" / "far"
    moment = on_the_old(TargetMoment(xid=cluster.ledger.entries[11].xid))
    found = recover_cluster(
        cluster.repository,
        cluster.tree,
        cluster.record,
        cluster.archive,
        moment,
        folder / "data",
        tablespaces={oid: elsewhere},
        options=RecoveryOptions(settings=QUICKLY.settings),
        progress=SilentProgress(),
    )
    assert (found.replayed.timeline, found.target.timeline) == (1, 1)
    assert found.replayed.new_timeline == 3  # 2 is taken: its history is in the archive
    assert found.replayed.stop is not None
    assert found.replayed.stop.xid == moment.xid
    assert any("fleeting" in one for one in found.proof.findings)
    assert any("page by page" in one or "pg_amcheck found nothing" in one for one in found.proof.checks)
    assert not any("was not asked for" in one for one in found.proof.checks)
    assert not (folder / "data.recovery").exists()
    assert not (folder / "data" / "recovery.signal").exists()
    with started_on(folder / "data", cluster.record.server_major) as server:
        assert len(ledger_of(server.address)) == 12
        assert ask(server, "SELECT count(*) FROM far") == [(1000,)]
        assert ask(server, f"SELECT pg_tablespace_location({oid})") == [(str(elsewhere),)]
        assert (elsewhere / next(iter(elsewhere.iterdir())).name).is_dir()
