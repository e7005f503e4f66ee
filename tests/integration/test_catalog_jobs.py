"""The life of jobs in the catalog, on a real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from edurise_backup.catalog.jobs import BackupJobs
from edurise_backup.catalog.lifecycle import Beat
from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.processes import Process, process_on_this_host, this_process
from edurise_backup.catalog.reconcile import reconcile_dead
from edurise_backup.catalog.records import JobKind
from edurise_backup.catalog.recoveries import RecoveryJobs
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.catalog.statistics import backup_stats, open_jobs, recent_jobs, storage_by_day
from edurise_backup.catalog.verifications import Verifications
from edurise_backup.errors import AmbiguousError, ConflictError, InputError, NotFoundError
from edurise_backup.model.jobs import (
    BackupFilters,
    BackupJob,
    BackupType,
    JobId,
    JobStatus,
    PartResult,
    Phase,
    RecoveryJob,
    RecoveryTarget,
    Usage,
    Verdict,
    Verification,
)
from edurise_backup.postgres.connection import Address

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Hands:
    """A clock that stands where it was put."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def sessions(catalog_database: Address) -> Iterator[Sessions]:
    with Sessions.to(catalog_database) as sessions:
        migrate(sessions)
        yield sessions


@pytest.fixture
def backups(sessions: Sessions, clock: Hands) -> BackupJobs:
    return BackupJobs(sessions, clock=clock)


def _queued(kind: BackupType = BackupType.FULL, **fields: object) -> BackupJob:
    return replace(BackupJob(JobId(uuid4()), kind, JobStatus.QUEUED), **fields)  # type: ignore[arg-type]


def _part(part: BackupType, source: str) -> PartResult:
    return PartResult(part, "b" * 64, source, 60, 6, 60, 3, lsn="0/1A2B", snapshot_time=NOON)


def _good(job: BackupJob, **fields: object) -> BackupJob:
    done = replace(
        job,
        status=JobStatus.COMPLETED,
        size=100,
        location="local:somewhere",
        checksum="c" * 64,
        stored_bytes=10,
        read_bytes=100,
        files=5,
    )
    return replace(done, **fields)  # type: ignore[arg-type]


def _done(backups: BackupJobs, clock: Hands, *, takes: timedelta = MINUTE, **fields: object) -> BackupJob:
    job = _queued(**fields)  # type: ignore[arg-type]
    backups.create(job)
    backups.start(job.id)
    clock.now += takes
    assert backups.finish(_good(job))
    return backups.get(job.id)


def test_a_backup_is_kept_with_all_its_parts_and_figures(backups: BackupJobs, clock: Hands) -> None:
    job = _queued(set_id=uuid4(), tags=("nightly", "a b"), product_version="0.1.0", flow_run_id=uuid4())
    assert backups.create(job)
    started = backups.start(job.id)
    assert (started.status, started.started_at, started.pid) == (JobStatus.RUNNING, NOON, this_process().pid)
    clock.now += MINUTE
    parts = (_part(BackupType.DATABASE, "edurise"), _part(BackupType.FILES, "media"))
    result = _good(started, parts=parts, warnings=("a file has gone",), usage=Usage(1.25, 1 << 40, 77))
    result = replace(result, status=JobStatus.COMPLETED_WITH_WARNINGS)
    assert backups.finish(result)
    kept = backups.get(job.id)
    assert kept == replace(result, completed_at=clock.now, heartbeat_at=clock.now)
    assert kept.created_at == NOON


def test_a_job_is_created_once(backups: BackupJobs) -> None:
    job = _queued(source="first")
    assert backups.create(job)
    assert not backups.create(replace(job, source="second"))
    assert backups.get(job.id).source == "first"


def test_text_that_postgresql_cannot_hold_is_escaped(backups: BackupJobs) -> None:
    job = _queued()
    backups.create(job)
    assert backups.finish(replace(job, status=JobStatus.FAILED, error="nul \0", warnings=("name \udcff",)))
    kept = backups.get(job.id)
    assert (kept.error, kept.warnings) == ("nul \\x00", ("name \\udcff",))


def test_a_job_runs_in_one_process_only(backups: BackupJobs) -> None:
    job = _queued()
    backups.create(job)
    backups.start(job.id)
    backups.start(job.id)  # the same process may ask again
    with pytest.raises(ConflictError, match="is run by process"):
        backups.start(job.id, process=Process("elsewhere", 7))


def test_a_job_ends_once(backups: BackupJobs, clock: Hands) -> None:
    job = _queued()
    backups.create(job)
    started = backups.start(job.id)
    assert backups.finish(replace(started, status=JobStatus.FAILED, error="the disk is full"))
    assert not backups.finish(_good(started))
    assert backups.get(job.id).error == "the disk is full"
    with pytest.raises(ConflictError, match=r"has ended \(failed\)"):
        backups.start(job.id)


def test_the_same_end_may_be_written_twice(backups: BackupJobs) -> None:
    job = _queued()
    backups.create(job)
    result = _good(backups.start(job.id), completed_at=NOON + MINUTE)
    assert backups.finish(result)
    assert backups.finish(result)


def test_a_success_without_a_checksum_is_refused_and_the_job_still_runs(backups: BackupJobs) -> None:
    job = _queued()
    backups.create(job)
    with pytest.raises(InputError, match="backup_good_is_whole"):
        backups.finish(_good(backups.start(job.id), checksum=None))
    with pytest.raises(InputError, match="cannot end as running"):
        backups.finish(replace(job, status=JobStatus.RUNNING))
    assert backups.get(job.id).status is JobStatus.RUNNING


def test_a_clock_that_was_set_back_does_not_lose_the_result(backups: BackupJobs, clock: Hands) -> None:
    job = _queued()
    backups.create(job)
    started = backups.start(job.id)
    clock.now -= timedelta(hours=1)
    assert backups.finish(_good(started))
    assert backups.get(job.id).completed_at == NOON


def test_unknown_jobs_are_named(backups: BackupJobs) -> None:
    unknown = uuid4()
    for call in (backups.get, backups.start, backups.request_cancel):
        with pytest.raises(NotFoundError, match=str(unknown)):
            call(unknown)
    with pytest.raises(NotFoundError):
        backups.attach_flow_run(unknown, uuid4())
    with pytest.raises(NotFoundError):
        backups.finish(_good(_queued()))


def test_a_flow_run_is_attached(backups: BackupJobs) -> None:
    job, run = _queued(), uuid4()
    backups.create(job)
    backups.attach_flow_run(job.id, run)
    assert backups.get(job.id).flow_run_id == run


def test_a_sign_of_life_tells_phase_progress_and_cost(backups: BackupJobs, clock: Hands) -> None:
    job = _queued()
    backups.create(job)
    backups.start(job.id)
    clock.now += MINUTE
    reading = Phase("reading", NOON, bytes_done=5, bytes_total=10, files_done=1)
    standing = backups.beat(job.id, Beat("reading", 0.5, Usage(2.0, 4096), phases=[(0, reading)]))
    assert (standing.status, standing.cancel_requested) == (JobStatus.RUNNING, False)
    kept = backups.get(job.id)
    assert (kept.heartbeat_at, kept.phase, kept.progress, kept.phases) == (clock.now, "reading", 0.5, (reading,))
    assert kept.usage == Usage(2.0, 4096)


def test_a_late_sign_of_life_does_not_touch_an_ended_job(backups: BackupJobs, clock: Hands) -> None:
    done = _done(backups, clock)
    clock.now += MINUTE
    standing = backups.beat(done.id, Beat("late", 0.1, Usage(), phases=[(0, Phase("late", NOON))]))
    assert standing.status is JobStatus.COMPLETED
    assert backups.get(done.id) == done


def test_the_end_of_a_job_ends_its_open_phase(backups: BackupJobs, clock: Hands) -> None:
    job = _queued()
    backups.create(job)
    started = backups.start(job.id)
    backups.beat(job.id, Beat("reading", None, Usage(), phases=[(0, Phase("reading", NOON))]))
    clock.now += MINUTE
    backups.finish(_good(started))
    assert backups.get(job.id).phases[0].completed_at == clock.now


def test_cancelling_ends_a_queued_job_and_asks_a_running_one(backups: BackupJobs) -> None:
    waiting, working = _queued(), _queued()
    backups.create(waiting)
    backups.create(working)
    backups.start(working.id)
    assert backups.request_cancel(waiting.id)
    assert backups.request_cancel(working.id)
    assert backups.get(waiting.id).status is JobStatus.CANCELLED
    assert backups.beat(working.id, Beat(None, None, Usage())).cancel_requested
    assert not backups.request_cancel(waiting.id)


def test_short_ids_are_resolved(backups: BackupJobs) -> None:
    first, second = UUID(f"{'ab' * 16}"), UUID(f"{'ab' * 15}cd")
    for each in (first, second):
        backups.create(_queued(id=JobId(each)))
    assert backups.resolve(str(first)) == first
    assert backups.resolve(f"{'AB' * 15}c") == second
    with pytest.raises(AmbiguousError, match=str(first)):
        backups.resolve("abab")
    for unknown in ("f00", "", "not-an-id", "ab" * 17, "%"):
        with pytest.raises(NotFoundError):
            backups.resolve(unknown)


def test_backups_are_found_by_every_filter_newest_first(sessions: Sessions, backups: BackupJobs, clock: Hands) -> None:
    set_id = uuid4()
    old = _done(backups, clock, kind=BackupType.DATABASE, source="edurise", tags=("nightly",))
    new = _done(backups, clock, set_id=set_id)
    failed = _queued()
    backups.create(failed)
    backups.finish(replace(failed, status=JobStatus.FAILED, parts=(_part(BackupType.FILES, "media"),)))
    _verify(sessions, clock, new.id, Verdict.PASSED)

    def found(**filters: object) -> list[JobId]:
        return [job.id for job in backups.find(BackupFilters(**filters))]  # type: ignore[arg-type]

    assert found() == [failed.id, new.id, old.id]
    assert found(limit=1, offset=1) == [new.id]
    assert found(type=BackupType.DATABASE) == [old.id]
    assert found(status=JobStatus.FAILED) == [failed.id]
    assert found(source="edurise") == [old.id]
    assert found(source="media") == [failed.id]
    assert found(since=NOON + MINUTE) == [failed.id, new.id]
    assert found(until=NOON + MINUTE) == [old.id]
    assert found(verified=True) == [new.id]
    assert found(verified=False) == [failed.id, old.id]
    assert found(tag="nightly") == [old.id]
    assert found(tag="night") == []
    assert found(set_id=set_id, verified=True, status=JobStatus.COMPLETED) == [new.id]
    with pytest.raises(InputError):
        backups.find(BackupFilters(limit=0))


def _verify(sessions: Sessions, clock: Hands, backup_id: JobId, verdict: Verdict, *finding: str) -> Verification:
    verifications = Verifications(sessions, clock=clock)
    job = Verification(JobId(uuid4()), backup_id, JobStatus.QUEUED)
    verifications.create(job)
    started = verifications.start(job.id)
    clock.now += MINUTE
    status = JobStatus.FAILED if verdict is Verdict.PENDING else JobStatus.COMPLETED
    assert verifications.finish(replace(started, status=status, verification_status=verdict, findings=finding))
    return verifications.get(job.id)


def test_the_last_verdict_is_written_on_the_backup(sessions: Sessions, backups: BackupJobs, clock: Hands) -> None:
    backup = _done(backups, clock)
    passed = _verify(sessions, clock, backup.id, Verdict.PASSED)
    failed = _verify(sessions, clock, backup.id, Verdict.FAILED, "a blob is missing")
    undone = _verify(sessions, clock, backup.id, Verdict.PENDING)
    kept = backups.get(backup.id)
    assert (kept.verification_status, kept.verified_at) == (Verdict.FAILED, failed.completed_at)
    assert Verifications(sessions).of_backup(backup.id) == (undone, failed, passed)


def test_a_recovery_is_kept_with_its_target_and_proof(sessions: Sessions, backups: BackupJobs, clock: Hands) -> None:
    backup = _done(backups, clock)
    recoveries = RecoveryJobs(sessions, clock=clock)
    target = RecoveryTarget("a directory", "edurise", "_again", (BackupType.FILES,))
    job = RecoveryJob(JobId(uuid4()), backup.id, BackupType.FULL, JobStatus.QUEUED, NOON, target=target)
    recoveries.create(job)
    clock.now += MINUTE
    result = replace(
        recoveries.start(job.id),
        status=JobStatus.COMPLETED,
        verification_status=Verdict.PASSED,
        restored_bytes=100,
        checks=("12 tables are equal",),
    )
    assert recoveries.finish(result)
    assert recoveries.of_backup(backup.id) == (replace(result, completed_at=clock.now, heartbeat_at=clock.now),)


def test_the_figures_are_right(sessions: Sessions, backups: BackupJobs, clock: Hands) -> None:
    for minutes in (1, 2, 9):
        _done(backups, clock, kind=BackupType.FILES, takes=minutes * MINUTE)
    full = _queued()
    backups.create(full)
    began = backups.start(full.id)
    clock.now += MINUTE
    backups.finish(_good(began, parts=(_part(BackupType.DATABASE, "edurise"),)))
    bad = _queued(BackupType.CONFIGURATION)
    backups.create(bad)
    backups.finish(replace(bad, status=JobStatus.FAILED))
    _verify(sessions, clock, full.id, Verdict.PASSED)
    running = _queued()
    backups.create(running)
    backups.start(running.id)

    stats = backup_stats(sessions, clock.now)
    by_type = {each.type: each for each in stats.types}
    assert list(by_type) == list(BackupType)
    files = by_type[BackupType.FILES]
    assert (files.completed, files.warned, files.failed) == (3, 0, 0)
    assert files.median_duration == 2 * MINUTE
    database = by_type[BackupType.DATABASE]
    assert (database.completed, database.last_good_id) == (0, full.id)  # the full backup holds it
    assert database.last_good_age == clock.now - (began.started_at or NOON)
    assert by_type[BackupType.CONFIGURATION].failed == 1
    assert by_type[BackupType.METADATA].last_good_at is None
    assert (stats.running, stats.source_bytes, stats.stored_bytes) == (1, 400, 40)
    assert (stats.verified, stats.unverified, stats.dedup_ratio) == (1, 3, 10.0)


def test_an_empty_catalog_has_figures_too(sessions: Sessions) -> None:
    stats = backup_stats(sessions, NOON)
    assert (len(stats.types), stats.running, stats.source_bytes, stats.dedup_ratio) == (len(BackupType), 0, 0, None)
    assert not any((recent_jobs(sessions), open_jobs(sessions), storage_by_day(sessions)))


def test_recent_jobs_are_of_all_kinds(sessions: Sessions, backups: BackupJobs, clock: Hands) -> None:
    backup = _done(backups, clock, kind=BackupType.FILES)
    verification = _verify(sessions, clock, backup.id, Verdict.FAILED, "a blob is missing")
    waiting = RecoveryJob(JobId(uuid4()), backup.id, BackupType.FILES, JobStatus.QUEUED)
    RecoveryJobs(sessions, clock=clock).create(waiting)
    recent = recent_jobs(sessions)
    assert [(job.kind, job.id) for job in recent] == [
        (JobKind.RECOVERY, waiting.id),
        (JobKind.VERIFICATION, verification.id),
        (JobKind.BACKUP, backup.id),
    ]
    assert {job.backup_id for job in recent} == {backup.id}
    assert (recent[1].type, recent[1].remarks) == (BackupType.FILES, 1)
    assert [job.id for job in open_jobs(sessions)] == [waiting.id]
    assert [job.id for job in recent_jobs(sessions, limit=1)] == [waiting.id]


def test_storage_is_added_up_over_the_days(sessions: Sessions, backups: BackupJobs, clock: Hands) -> None:
    for kind in (BackupType.FILES, BackupType.DATABASE):
        _done(backups, clock, kind=kind)
    clock.now += timedelta(days=2)
    _done(backups, clock)
    days = storage_by_day(sessions)
    assert [(day.day.day, day.backups, day.stored_bytes, day.stored_bytes_total) for day in days] == [
        (1, 2, 20, 20),
        (3, 1, 10, 30),
    ]
    assert storage_by_day(sessions, days=1) == days[1:]


def test_a_job_whose_process_was_killed_is_failed(sessions: Sessions, backups: BackupJobs, clock: Hands) -> None:
    job, mine = _queued(), _queued()
    backups.create(job)
    backups.create(mine)
    backups.start(mine.id)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as worker:
        backups.start(job.id, process=process_on_this_host(worker.pid))
        backups.beat(job.id, Beat("reading", 0.5, Usage(), phases=[(0, Phase("reading", NOON))]))
        assert reconcile_dead(sessions, NOON) == ()
        worker.kill()
    clock.now += MINUTE
    (ended,) = reconcile_dead(sessions, clock.now)
    assert (ended.kind, ended.id) == (JobKind.BACKUP, job.id)
    kept = backups.get(job.id)
    assert (kept.status, kept.completed_at) == (JobStatus.FAILED, clock.now)
    assert f"process {worker.pid}" in (kept.error or "")
    assert "unharmed" in (kept.hint or "")
    assert kept.phases[0].completed_at == clock.now
    assert not backups.finish(_good(kept))
    assert backups.get(mine.id).status is JobStatus.RUNNING


def test_a_process_that_was_killed_but_not_reaped_is_dead(sessions: Sessions, backups: BackupJobs) -> None:
    job = _queued()
    backups.create(job)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        backups.start(job.id, process=process_on_this_host(worker.pid))
        worker.kill()
        assert worker.stdout is not None
        worker.stdout.read()  # ends when the kernel has closed the process's files; nobody has waited for it yet
        while not reconcile_dead(sessions, NOON):
            pass
    assert backups.get(job.id).status is JobStatus.FAILED


def test_a_reused_process_number_does_not_keep_a_job_alive(sessions: Sessions, backups: BackupJobs) -> None:
    job = _queued()
    backups.create(job)
    me = this_process()
    backups.start(job.id, process=replace(me, ticks=(me.ticks or 0) - 1))
    assert [ended.id for ended in reconcile_dead(sessions, NOON)] == [job.id]


def test_a_restarted_machine_ends_its_jobs_and_not_those_of_another_of_its_name(
    sessions: Sessions, backups: BackupJobs
) -> None:
    here = replace(this_process(), machine_id="this machine")
    mine, others = _queued(), _queued()
    for job in (mine, others):
        backups.create(job)
    backups.start(mine.id, process=replace(here, boot_id="another boot"))
    backups.start(others.id, process=replace(here, boot_id="another boot", machine_id="another machine"))
    assert [ended.id for ended in reconcile_dead(sessions, NOON, seen_from=here)] == [mine.id]


def test_a_job_of_another_machine_is_judged_by_its_heartbeat(sessions: Sessions, backups: BackupJobs) -> None:
    job = _queued()
    backups.create(job)
    backups.start(job.id, process=Process("elsewhere", 1))
    timeout = timedelta(minutes=5)
    assert reconcile_dead(sessions, NOON + timeout, heartbeat_timeout=timeout) == ()
    (ended,) = reconcile_dead(sessions, NOON + timeout + MINUTE, heartbeat_timeout=timeout)
    assert "no sign of life for 6 min from process 1 on elsewhere" in ended.error


def test_a_job_that_nobody_started_is_failed(sessions: Sessions, backups: BackupJobs) -> None:
    job = _queued()
    backups.create(job)
    limit = timedelta(hours=1)
    assert reconcile_dead(sessions, NOON + limit, start_timeout=limit) == ()
    (ended,) = reconcile_dead(sessions, NOON + 3 * limit, start_timeout=limit)
    assert ended.error == "was never started: it waited for 3 h"
    assert backups.get(job.id).status is JobStatus.FAILED


def test_dead_verifications_and_recoveries_are_failed_too(
    sessions: Sessions, backups: BackupJobs, clock: Hands
) -> None:
    backup = _done(backups, clock)
    verification = Verification(JobId(uuid4()), backup.id, JobStatus.QUEUED)
    recovery = RecoveryJob(JobId(uuid4()), backup.id, BackupType.FULL, JobStatus.QUEUED)
    verifications, recoveries = Verifications(sessions, clock=clock), RecoveryJobs(sessions, clock=clock)
    verifications.create(verification)
    recoveries.create(recovery)
    dead = replace(this_process(), ticks=1)
    verifications.start(verification.id, process=dead)
    recoveries.start(recovery.id, process=dead)
    ended = reconcile_dead(sessions, clock.now)
    assert {(each.kind, each.id) for each in ended} == {
        (JobKind.VERIFICATION, verification.id),
        (JobKind.RECOVERY, recovery.id),
    }
    assert backups.get(backup.id).status is JobStatus.COMPLETED
