"""Recoveries that cannot be: refused before a byte is written, or ended so that nothing can be taken for whole."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from edurise_backup.errors import (
    CancelledError,
    ConfigError,
    ConflictError,
    DamageError,
    InputError,
    NotFoundError,
    SpaceError,
    ToolError,
    TransientError,
    UnsupportedVersionError,
)
from edurise_backup.model.content import Node
from edurise_backup.model.database import Secret
from edurise_backup.model.recovery_target import TargetMoment
from edurise_backup.model.wal import Segment, Timeline, format_lsn, history_name, parse_wal_name
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.postmaster import find_postmaster
from edurise_backup.postgres.privileges import Account
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.tools import find_server
from edurise_backup.recovery.cluster.feeding import Feeder
from edurise_backup.recovery.cluster.placing import refuse_without_room
from edurise_backup.recovery.cluster.restoring import restore_cluster
from edurise_backup.recovery.cluster.target import plan_route
from edurise_backup.repository.grafting import graft
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_archive import WalArchive
from tests.support import engine
from tests.support.clusters import QUICK, ask, given_to_server, reachable_folder, running
from tests.support.recoveries import (
    QUICKLY,
    Recoverable,
    archive_of,
    backed_up,
    ledger_of,
    publish,
    published,
    switched,
)
from tests.support.stores import Fault, FaultyStore

LATEST = TargetMoment(latest=True)
OWN_SETTINGS = """
archive_mode = 'always'
archive_command = 'false'
recovery_target_name = 'of an earlier recovery'
recovery_target_timeline = '77'
primary_conninfo = 'host=elsewhere.invalid'
ssl = 'on'
not_known_here = 'on'
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Recoverable]:
    """Yield a base backup and six segments of its log; the settings were raised in the fourth."""
    with reachable_folder() as folder:
        settings = {"track_commit_timestamp": "on", "max_connections": "40"}
        with running(folder / "data", 18, settings) as server:
            # what a cluster brings with it must not count in its copy
            own = server.data_directory / "postgresql.auto.conf"
            own.write_text(OWN_SETTINGS)
            found = backed_up(server)
            own.write_text("")
            for _ in range(3):
                found.ledger.write(server.address, 5)
                current = switched(server.address)
            published(found.repository, found.archive, server.data_directory / "pg_wal", only=lambda one: one < current)
        raised = {"max_connections": "150", "max_prepared_transactions": "7", "max_worker_processes": "20"}
        again = Server(
            folder / "data", binaries=server.binaries, password=server._password, settings=QUICK | settings | raised
        )
        with again as server:
            for _ in range(3):
                found.ledger.write(server.address, 5)
                current = switched(server.address)
            published(found.repository, found.archive, server.data_directory / "pg_wal", only=lambda one: one < current)
        yield found


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder that the server's user can reach."""
    with reachable_folder() as found:
        yield found


def without(cluster: Recoverable, *gone: str, also: list[tuple[str, bytes]] | None = None) -> WalArchive:
    """Return an archive in a repository of its own that has the same files but some."""
    repository = engine.create()
    archive = archive_of(repository, cluster.record)
    names = [name for name, _ in cluster.archive.names() if name not in gone]
    publish(repository, archive, [*((name, cluster.archive.read(name)) for name in names), *(also or [])])
    return archive


def segments(cluster: Recoverable) -> list[str]:
    return [name for name, _ in cluster.archive.names()]


def recovered(cluster: Recoverable, folder: Path, moment: TargetMoment, archive: WalArchive | None = None) -> int:
    return cluster.landed(folder / "data", moment, archive=archive)


def assert_cannot_start(folder: Path, server_major: int = 18) -> None:
    server = Server(folder, binaries=find_server(major=server_major), password=Secret("x"), settings=QUICK)
    with pytest.raises((ToolError, ConfigError)):
        server.start()


def nothing_in(folder: Path) -> bool:
    return not list(folder.iterdir())


# What is refused


def test_a_target_before_or_behind_what_there_is_is_refused_and_nothing_is_written(
    cluster: Recoverable, folder: Path
) -> None:
    last = parse_wal_name(segments(cluster)[-1], cluster.record.segment_size)
    assert last is not None
    assert last.segment is not None
    behind = TargetMoment(lsn=last.segment.end(cluster.record.segment_size))
    with pytest.raises(NotFoundError, match="behind the end of the archive"):
        recovered(cluster, folder, behind)
    with pytest.raises(NotFoundError, match="nothing leads to the timeline 7"):
        recovered(cluster, folder, LATEST.on_timeline(7))
    assert nothing_in(folder)


def test_a_segment_that_is_missing_is_named_before_anything_is_written(cluster: Recoverable, folder: Path) -> None:
    gone = segments(cluster)[-2]
    with pytest.raises(DamageError, match=gone) as refused:
        recovered(cluster, folder, LATEST, without(cluster, gone))
    assert "lsn:" in refused.value.hint
    assert nothing_in(folder)


def test_a_directory_that_is_not_empty_and_one_of_a_running_server_are_refused(
    cluster: Recoverable, folder: Path
) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "something").touch()
    with pytest.raises(ConflictError, match="is not empty"):
        recovered(cluster, folder, LATEST)
    with running(folder / "live", 18) as server:
        with pytest.raises(ConflictError, match="a server runs on"):
            cluster.landed(server.data_directory, LATEST)
        with pytest.raises(ConflictError, match="lies inside the data directory"):
            cluster.landed(server.data_directory / "below", LATEST)
    assert os.listdir(folder / "data") == ["something"]


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(cluster: Recoverable, folder: Path) -> None:
    with pytest.raises(SpaceError, match="bytes on the disk of"):
        restore_cluster(
            cluster.repository,
            cluster.tree,
            cluster.record,
            folder / "data",
            tablespaces={},
            progress=SilentProgress(),
            extra_room=1 << 60,
        )
    half = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize * 2 // 3
    with pytest.raises(SpaceError):  # each would fit, and both lie on the same disk
        refuse_without_room([(folder / "one", half), (folder / "two", half)])
    assert nothing_in(folder)


def test_another_version_is_refused_with_what_to_install(cluster: Recoverable, folder: Path) -> None:
    other = replace_record(cluster, server_major=14)
    with pytest.raises(UnsupportedVersionError, match="PostgreSQL 14") as refused:
        recovered(other, folder, LATEST)
    assert "install postgresql-14" in refused.value.hint
    assert nothing_in(folder)


def test_a_base_backup_without_its_label_is_refused(cluster: Recoverable, folder: Path) -> None:
    """SCENARIOS S-32: backup_label_missing."""
    repository = cluster.repository
    tree = without_file(repository, cluster.tree, [".edurise", "clusters", "main", "data", "backup_label"])
    repository.load_index()
    with pytest.raises(DamageError, match="no backup_label"):
        recovered(replace(cluster, tree=tree), folder, LATEST)
    assert nothing_in(folder)


def test_tablespaces_that_overlap_or_are_unknown_are_refused(cluster: Recoverable, folder: Path) -> None:
    for spaces in ({99: folder / "space"},):
        with pytest.raises(InputError, match="no tablespace 99"):
            restore_cluster(
                cluster.repository,
                cluster.tree,
                cluster.record,
                folder / "data",
                tablespaces=spaces,
                progress=SilentProgress(),
            )


# What ends in between


def test_a_target_that_the_log_never_reaches_is_told_and_nothing_can_be_started(
    cluster: Recoverable, folder: Path
) -> None:
    with pytest.raises(NotFoundError, match="was not reached"):
        recovered(cluster, folder, TargetMoment(name="never made"))


class StopAt(SilentProgress):
    """Cancels when a phase begins whose name begins so."""

    def __init__(self, phase: str) -> None:
        super().__init__()
        self._phase = phase

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        """Cancel."""
        if name.startswith(self._phase):
            self.cancel()


@pytest.mark.parametrize("phase", ["restore", "replay", pytest.param("prove", marks=pytest.mark.slow)])
def test_a_recovery_that_is_cancelled_leaves_nothing_that_starts(
    cluster: Recoverable, folder: Path, phase: str
) -> None:
    with (
        pytest.raises(CancelledError),
        cluster.recovered(folder / "data", LATEST, progress=StopAt(phase), remove=False),
    ):
        pass
    assert not (folder / "data" / "global" / "pg_control").exists()
    assert_cannot_start(folder / "data")


def test_a_store_that_fails_in_between_ends_the_recovery_and_never_promotes_early(
    cluster: Recoverable, folder: Path
) -> None:
    archive = without(cluster)
    store = archive._repository.store
    fault = Fault("get", "data/", error=lambda: TransientError("the line broke"), first=80, times=10**9)
    with FaultyStore(store, fault) as faulty:
        broken = archive_of(engine.opened(faulty), cluster.record)
        with (
            pytest.raises(TransientError, match="the line broke"),
            cluster.recovered(folder / "data", LATEST, archive=broken, remove=False),
        ):
            pass
    log = (folder / "data.recovery" / "server.log").read_text()
    assert "restored log file" in log or "restore" in log
    assert "exit code 200" in log
    assert "selected new timeline" not in log
    assert_cannot_start(folder / "data")


def test_the_restore_command_tells_absence_trouble_and_death_apart(cluster: Recoverable, folder: Path) -> None:
    route = plan_route(segments(cluster), cluster.archive.read, cluster.record, LATEST)
    account = Account(os.geteuid(), os.getegid(), switch=False)
    first = route.steps[0].name

    def run(script: Path, name: str, place: Path) -> int:
        return subprocess.run(["/bin/sh", script, name, place], timeout=60, check=False).returncode

    with Feeder(cluster.archive, route, folder / "wal", account=account, ahead=2) as feeder:
        script = folder / "wal" / "fetch"
        assert run(script, history_name(9), folder / "x") == 1
        assert run(script, Segment(Timeline(1), 999).name(route.size), folder / "x") == 1
        for step in route.steps:
            assert run(script, step.name, folder / "RECOVERYXLOG") == 0
            assert (folder / "RECOVERYXLOG").read_bytes() == cluster.archive.read(step.name)
        assert run(script, first, folder / "again") == 0  # a server asks twice for what it has had
        assert feeder.position == route.steps[0].segment.start(route.size)
        dead = folder / "dead"
        subprocess.run(["cp", "-a", folder / "wal", dead], check=True)
    text = (dead / "fetch").read_text().replace(f"/proc/{os.getpid()}/stat", "/proc/4194305/stat")
    (dead / "fetch").write_text(text)
    assert run(dead / "fetch", route.steps[-1].name, folder / "x") == 200
    assert not (folder / "wal").exists()


def test_a_killed_restore_leaves_nothing_that_starts(cluster: Recoverable, folder: Path) -> None:
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            os.setsid()
            restore_cluster(
                cluster.repository,
                cluster.tree,
                cluster.record,
                folder / "data",
                tablespaces={},
                progress=DiesAt("restore"),
            )
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert not (folder / "data" / "global" / "pg_control").exists()


class DyingArchive(WalArchive):
    """Kills the process when one file is read."""

    deadly = ""

    def read(self, name: str) -> bytes:
        """Read, or die."""
        if name == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(name)


def test_a_recovery_whose_process_is_killed_ends_and_never_promotes_early(cluster: Recoverable, folder: Path) -> None:
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            os.setsid()
            archive = DyingArchive(
                cluster.repository, "main", cluster.record.system_identifier, cluster.record.segment_size, host="tests"
            )
            entry = cluster.ledger.entries[7]
            archive.deadly = Segment(Timeline(1), entry.lsn // archive.size).name(archive.size)
            moment = TargetMoment(lsn=entry.lsn)
            options = replace(QUICKLY, ahead=1, workers=1)
            with cluster.recovered(folder / "data", moment, archive=archive, options=options):
                pass
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    postmaster = find_postmaster(folder / "data")
    if postmaster is not None:  # it ends by itself when it asks for the next segment
        with suppress(ProcessLookupError):
            ended = os.pidfd_open(postmaster.pid)
            assert select.select([ended], [], [], 60)[0]
            os.close(ended)
    log = (folder / "data.recovery" / "server.log").read_text()
    assert "exit code 200" in log
    assert "selected new timeline" not in log
    assert (folder / "data" / "recovery.signal").exists()
    assert_cannot_start(folder / "data")


class DiesAt(SilentProgress):
    """Kills the process in the middle of a phase."""

    def __init__(self, phase: str) -> None:
        super().__init__()
        self._name = phase
        self._armed = False

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        """Arm."""
        self._armed = name.startswith(self._name)

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Die."""
        if self._armed:
            os.kill(os.getpid(), signal.SIGKILL)


# What is made right


def test_settings_that_were_raised_later_are_raised_here_too(cluster: Recoverable, folder: Path) -> None:
    moment = TargetMoment(lsn=cluster.ledger.entries[-2].lsn, action="pause")
    with cluster.recovered(folder / "data", moment, remove=False) as running_now:
        assert running_now.read_only
        assert dict(running_now.recovered.replayed.raised)["max_connections"] == 150
        assert len(ledger_of(running_now.address)) == len(cluster.ledger.entries) - 1
    assert (folder / "data" / "postgresql.auto.conf").read_text() == OWN_SETTINGS
    assert os.listdir(folder) == ["data"]


def test_a_segment_of_the_left_timeline_is_replayed_up_to_where_it_was_left(cluster: Recoverable, folder: Path) -> None:
    """SCENARIOS S-33: timeline_switch_between_bases, .partial without anything newer."""
    entry = cluster.ledger.entries[7]
    name = Segment(Timeline(1), entry.lsn // cluster.record.segment_size).name(cluster.record.segment_size)
    later = [one for one in segments(cluster) if one >= name]
    history = f"1\t{format_lsn(entry.lsn)}\tno recovery target specified\n".encode()
    archive = without(
        cluster, *later, also=[(f"{name}.partial", cluster.archive.read(name)), ("00000002.history", history)]
    )
    assert recovered(cluster, folder, LATEST, archive) == 8


def test_libraries_that_run_jobs_are_held_and_said_so(cluster: Recoverable, folder: Path) -> None:
    settings = {**cluster.record.settings, "shared_preload_libraries": "pg_cron, pg_net, not_here"}
    with replace_record(cluster, settings=settings).recovered(
        folder / "data", TargetMoment(immediate=True)
    ) as running_now:
        assert running_now.recovered.left_out == ("pg_cron", "pg_net", "not_here")
        assert ask_at(running_now.address, "SHOW shared_preload_libraries") == ""
        assert ask_at(running_now.address, "SHOW archive_mode") == "off"
        assert ask_at(running_now.address, "SHOW listen_addresses") == ""


def test_a_backup_that_the_server_sent_recovers_with_its_tablespace(folder: Path) -> None:
    with running(folder / "live", 16, {"track_commit_timestamp": "on"}) as server:
        space = given_to_server(folder / "space", server)
        ask(server, f"CREATE TABLESPACE elsewhere LOCATION '{space}'")
        ask(server, "CREATE TABLE far TABLESPACE elsewhere AS SELECT g AS id FROM generate_series(1, 1000) g")
        found = backed_up(server, "protocol")
        found.ledger.write(server.address, 5)
        current = switched(server.address)
        published(found.repository, found.archive, server.data_directory / "pg_wal", only=lambda one: one < current)
        with pytest.raises(ConflictError, match="has its tablespace"):
            restore_cluster(
                found.repository,
                found.tree,
                found.record,
                folder / "data",
                tablespaces={found.record.tablespaces[0].oid: space / "below"},
                progress=SilentProgress(),
            )
    with found.recovered(folder / "data", TargetMoment(xid=found.ledger.entries[2].xid, action="pause")) as running_now:
        assert len(ledger_of(running_now.address)) == 3
        assert ask_at(running_now.address, "SELECT count(*) FROM far") == "1000"
        assert running_now.recovered.proof.findings == []


def ask_at(address: Address, query: str) -> str:
    with connect(address, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return str(row[0])


def replace_record(cluster: Recoverable, **changes: object) -> Recoverable:
    return replace(cluster, record=msgspec.structs.replace(cluster.record, **changes))


def without_file(repository: Repository, tree: str, path: list[str]) -> str:
    """Store the tree again without one of its names; return the new tree's id."""

    def folder(name: str) -> Node:
        raise AssertionError("every folder is there")

    with repository.lock(settle=engine.AT_ONCE) as lock, repository.writer(lock) as sink:
        return graft(sink, repository.read_tree, tree, {tuple(path): None}, folder=folder)
