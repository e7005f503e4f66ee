"""Signs of life from a running job, with a catalog that comes and goes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from edurise_backup.catalog.heartbeat import JobReporter
from edurise_backup.catalog.jobs import BackupJobs
from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.reconcile import reconcile_dead
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.errors import CancelledError, TransientError, UnreachableError
from edurise_backup.model.jobs import BackupJob, BackupType, JobId, JobStatus
from edurise_backup.ports import utc_now
from edurise_backup.postgres.connection import Address, connect
from tests.support.postgres import execute

QUICK = timedelta(milliseconds=10)
HOUR = timedelta(hours=1)


class Door:
    """Opens connections to the catalog, unless it is shut; tells how many were opened."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.shut = False
        self.opened = 0

    def __call__(self) -> Connection:
        if self.shut:
            raise UnreachableError("the server does not answer")
        self.opened += 1
        return connect(self.address, application_name="catalog under test")

    def cut(self) -> None:
        """End every connection that went through here, from the server's side."""
        execute(
            self.address,
            """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
               WHERE application_name = 'catalog under test' AND datname = current_database()""",
        )


class Listener:
    """A second progress."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        self.heard.append((name, bytes_total))

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        self.heard.append((bytes_done, files_done))

    def raise_if_cancelled(self) -> None:
        self.heard.append("asked")


@pytest.fixture
def door(catalog_database: Address) -> Door:
    return Door(catalog_database)


@pytest.fixture
def sessions(door: Door) -> Iterator[Sessions]:
    with Sessions(door, patience=timedelta(seconds=5)) as sessions:
        migrate(sessions)
        yield sessions


@pytest.fixture
def backups(sessions: Sessions) -> BackupJobs:
    return BackupJobs(sessions)


@pytest.fixture
def job(backups: BackupJobs) -> BackupJob:
    queued = BackupJob(JobId(uuid4()), BackupType.FILES, JobStatus.QUEUED)
    backups.create(queued)
    return backups.start(queued.id)


def _wait_until(true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if true():
            return
        pause.wait(0.01)
    pytest.fail("it did not come true within 10 s")


def test_phases_progress_and_cost_reach_the_row_while_the_job_runs(backups: BackupJobs, job: BackupJob) -> None:
    with JobReporter(backups, job.id, interval=QUICK) as reporter:
        reporter.phase("reading", bytes_total=200)
        threads = [threading.Thread(target=reporter.advance, kwargs={"bytes_done": 25}) for _ in range(4)]
        for thread in threads:
            thread.start()
        reporter.advance(files_done=3)
        _wait_until(lambda: backups.get(job.id).progress == 0.5)
        running = backups.get(job.id)
        assert (running.phase, running.phases[0].bytes_done, running.phases[0].bytes_total) == ("reading", 100, 200)
        assert running.heartbeat_at is not None and job.heartbeat_at is not None
        assert running.heartbeat_at > job.heartbeat_at
        reporter.phase("publishing")
    ended = backups.get(job.id)
    assert [(phase.name, phase.files_done) for phase in ended.phases] == [("reading", 3), ("publishing", 0)]
    assert all(phase.completed_at for phase in ended.phases)
    assert ended.phases == reporter.phases()
    assert ended.usage.cpu_seconds > 0
    assert ended.usage.peak_memory > 10_000_000


def test_the_last_counts_are_written_when_the_reporter_is_closed(backups: BackupJobs, job: BackupJob) -> None:
    with JobReporter(backups, job.id, interval=HOUR) as reporter:
        reporter.phase("reading")
        reporter.advance(bytes_done=7)
    assert backups.get(job.id).phases[0].bytes_done == 7


def test_a_second_progress_hears_the_same(backups: BackupJobs, job: BackupJob) -> None:
    listener = Listener()
    with JobReporter(backups, job.id, interval=HOUR, also=listener) as reporter:
        reporter.phase("reading", bytes_total=2)
        reporter.advance(bytes_done=1, files_done=1)
        reporter.raise_if_cancelled()
    assert listener.heard == [("reading", 2), (1, 1), "asked"]


def _cancelled(reporter: JobReporter) -> bool:
    try:
        reporter.raise_if_cancelled()
    except CancelledError:
        return True
    return False


def test_a_request_in_the_row_cancels_the_work(backups: BackupJobs, job: BackupJob) -> None:
    with JobReporter(backups, job.id, interval=QUICK) as reporter:
        reporter.raise_if_cancelled()
        assert backups.request_cancel(job.id)
        _wait_until(lambda: _cancelled(reporter))


def test_an_event_cancels_the_work_at_once(backups: BackupJobs, job: BackupJob) -> None:
    stop = threading.Event()
    with JobReporter(backups, job.id, interval=HOUR, stop=stop) as reporter:
        reporter.raise_if_cancelled()
        stop.set()
        with pytest.raises(CancelledError):
            reporter.raise_if_cancelled()


def test_a_connection_that_is_cut_is_replaced(door: Door, backups: BackupJobs, job: BackupJob) -> None:
    with JobReporter(backups, job.id, interval=QUICK) as reporter:
        reporter.phase("reading", bytes_total=10)
        _wait_until(lambda: backups.get(job.id).phase == "reading")
        opened = door.opened
        door.cut()
        reporter.advance(bytes_done=5)
        _wait_until(lambda: backups.get(job.id).progress == 0.5)
        assert reporter.fault is None
    assert door.opened > opened


def test_the_work_goes_on_without_the_catalog_and_is_told_whole_afterwards(
    door: Door, backups: BackupJobs, job: BackupJob
) -> None:
    with JobReporter(backups, job.id, interval=QUICK) as reporter:
        _wait_until(lambda: backups.get(job.id).usage.peak_memory > 0)
        door.shut = True
        door.cut()
        reporter.phase("reading")
        reporter.advance(bytes_done=5)
        _wait_until(lambda: reporter.fault is not None)
        reporter.phase("publishing")
        reporter.raise_if_cancelled()
        door.shut = False
        _wait_until(lambda: backups.get(job.id).phase == "publishing")
    assert [(phase.name, phase.bytes_done) for phase in backups.get(job.id).phases] == [
        ("reading", 5),
        ("publishing", 0),
    ]
    result = replace(job, status=JobStatus.FAILED, usage=reporter.usage(sent_bytes=9))
    assert backups.finish(result)
    assert backups.get(job.id).usage.sent_bytes == 9


def test_a_catalog_that_stays_away_does_not_keep_the_reporter_from_closing(
    door: Door, backups: BackupJobs, job: BackupJob
) -> None:
    with JobReporter(backups, job.id, interval=QUICK, flush_patience=QUICK) as reporter:
        door.shut = True
        door.cut()
        reporter.phase("reading")
        _wait_until(lambda: reporter.fault is not None)
    assert isinstance(reporter.fault, UnreachableError)
    door.shut = False
    assert backups.get(job.id).phases == ()
    assert [phase.name for phase in reporter.phases()] == ["reading"]


def test_a_job_that_was_taken_for_dead_is_not_brought_back(
    sessions: Sessions, backups: BackupJobs, job: BackupJob
) -> None:
    with JobReporter(backups, job.id, interval=HOUR) as reporter:
        _wait_until(lambda: backups.get(job.id).usage.peak_memory > 0)
        assert len(reconcile_dead(sessions, utc_now() + HOUR)) == 1
        reporter.phase("reading")
        _wait_until(lambda: reporter.ended_as is JobStatus.FAILED)
        reporter.raise_if_cancelled()  # the work itself is not stopped by it
    failed = backups.get(job.id)
    assert (failed.status, failed.phases) == (JobStatus.FAILED, ())
    assert not backups.finish(replace(job, status=JobStatus.CANCELLED))


def test_a_deadlock_is_tried_again(sessions: Sessions, backups: BackupJobs) -> None:
    first, second = (BackupJob(JobId(uuid4()), BackupType.FILES, JobStatus.QUEUED) for _ in range(2))
    backups.create(first)
    backups.create(second)
    both_hold_one = threading.Barrier(2)
    tries: list[int] = []

    def touch(connection: Connection, one: BackupJob, other: BackupJob, *, meet: bool) -> None:
        connection.execute("SET LOCAL deadlock_timeout = '20ms'")
        connection.execute("UPDATE backup_jobs SET source = source || 'x' WHERE id = %s", (one.id,))
        if meet:
            both_hold_one.wait()
        connection.execute("UPDATE backup_jobs SET source = source || 'x' WHERE id = %s", (other.id,))

    def work(one: BackupJob, other: BackupJob) -> None:
        mine: list[int] = []

        def attempt(connection: Connection) -> None:
            mine.append(1)
            touch(connection, one, other, meet=len(mine) == 1)

        sessions.run(attempt)
        tries.append(len(mine))

    threads = [threading.Thread(target=work, args=pair) for pair in ((first, second), (second, first))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(tries) > 2
    assert {backups.get(job.id).source for job in (first, second)} == {"xx"}


def test_a_catalog_that_never_answered_is_reported_at_once(door: Door) -> None:
    door.shut = True
    with Sessions(door, patience=HOUR) as sessions, pytest.raises(UnreachableError):
        sessions.run(lambda connection: connection.execute("SELECT 1"))


def test_a_fault_that_stays_is_reported_as_one_that_may_pass(sessions: Sessions) -> None:
    def cut_own_connection(connection: Connection) -> None:
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(TransientError, match="the catalog did not answer"):
        sessions.run(cut_own_connection, patience=timedelta(milliseconds=50))


def test_work_that_raises_leaves_the_catalog_as_it_was(sessions: Sessions, backups: BackupJobs) -> None:
    job = BackupJob(JobId(uuid4()), BackupType.FILES, JobStatus.QUEUED)
    backups.create(job)

    def change_and_raise(connection: Connection) -> None:
        connection.execute("UPDATE backup_jobs SET source = 'changed'")
        raise CancelledError("enough")

    with pytest.raises(CancelledError):
        sessions.run(change_and_raise)
    assert backups.get(job.id).source == ""


def test_idle_connections_are_used_again(door: Door, sessions: Sessions) -> None:
    opened = door.opened
    for _ in range(5):
        sessions.run(lambda connection: connection.execute("SELECT 1"))
    assert door.opened == opened


def test_names_are_looked_up_in_public_alone(catalog_database: Address) -> None:
    execute(catalog_database, "CREATE SCHEMA postgres")  # of the role's own name: first on the default path
    with Sessions.to(catalog_database) as sessions:
        migrate(sessions)
        place = sessions.run(
            lambda connection: connection.execute("SELECT current_schemas(false), to_regclass('backup_jobs')::text")
        )
        assert place.fetchone() == (["public"], "backup_jobs")
