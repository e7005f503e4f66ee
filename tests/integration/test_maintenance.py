"""Prune, check and forget as jobs of the product: rows, figures, refusals, and what the catalog says of backups."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg import sql

from edurise_backup import operations
from edurise_backup.catalog.export import export, import_rows, read_export
from edurise_backup.catalog.migrate import migrate, packaged_migrations
from edurise_backup.catalog.processes import Process, this_process
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.catalog.statistics import recent_jobs
from edurise_backup.errors import CancelledError, ConflictError, DamageError, InputError, NotFoundError
from edurise_backup.model.jobs import BackupFilters, BackupJob, BackupType, JobId, JobStatus, RecoveryTarget, Verdict
from edurise_backup.model.maintenance import CheckFigures, MaintenanceJob, MaintenanceKind, PruneFigures
from edurise_backup.model.policy import RetentionPolicy
from edurise_backup.postgres.connection import Address
from edurise_backup.repository.repository import Repository
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.catalog import Acting, Product, environment, opened, run, run_json
from tests.support.postgres import drop_database, execute
from tests.support.restic import Restic

_KILLED = """
import os, signal, sys
from edurise_backup import operations
from edurise_backup.monitoring.progress import SilentProgress

class Killed(SilentProgress):
    def phase(self, name, *, bytes_total=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGKILL)

operations.prune_repository(grace="0", max_unused="0", max_removed="100%", progress=Killed())
"""
AT_ONCE = {"grace": "0", "max_unused": "0", "max_removed": "100%"}


def two_backups(product: Product) -> tuple[BackupJob, BackupJob]:
    """Back up twice; the first holds a film that is gone by the second."""
    first = operations.create_backup("files", settings=product.settings)
    (product.storage / "media" / "film.bin").unlink()
    return first, operations.create_backup("files", settings=product.settings)


def prune(product: Product, **changes: str) -> MaintenanceJob:
    """Prune at once, and leave nothing that no snapshot refers to, unless told otherwise."""
    words = AT_ONCE | changes
    return operations.prune_repository(
        settings=product.settings,
        grace=words["grace"],
        max_unused=words["max_unused"],
        max_removed=words["max_removed"],
    )


def repository_of(product: Product) -> Repository:
    return engine.opened(LocalStore(product.repository))


def row_of(product: Product, job_id: JobId) -> BackupJob:
    with opened(product) as catalog:
        return catalog.jobs.get(job_id)


def newest(product: Product) -> MaintenanceJob:
    with opened(product) as catalog:
        return catalog.maintenance.newest(limit=1)[0]


def pruned(job: MaintenanceJob) -> PruneFigures:
    assert job.figures
    assert job.figures.pruned
    return job.figures.pruned


def checked(job: MaintenanceJob) -> CheckFigures:
    assert job.figures
    assert job.figures.checked
    return job.figures.checked


def remove_snapshots(product: Product, backup: BackupJob) -> None:
    """Take a backup's snapshots away without a word, as a stranger would."""
    for part in backup.parts:
        (product.repository / "snapshots" / part.snapshot_id).unlink()


def damage_a_pack(product: Product) -> None:
    pack = next(path for path in sorted((product.repository / "data").rglob("*")) if path.is_file())
    content = bytearray(pack.read_bytes())
    content[10] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)


# Forget and prune


def test_what_a_forgotten_backup_held_is_pruned_as_the_dry_run_said(files_product: Product) -> None:
    first, second = two_backups(files_product)
    settings = files_product.settings
    done = operations.forget_backups([first.id], settings=settings, grace="0")
    assert (done.gone, done.until) == ((first.id,), None)
    dry = operations.prune_repository(settings=settings, dry_run=True, grace="0", max_unused="0", max_removed="100%")
    job = prune(files_product)
    assert dry.figures
    assert job.figures
    assert (dry.status, job.status) == (JobStatus.COMPLETED, JobStatus.COMPLETED)
    assert pruned(dry).deleted_bytes == pruned(job).deleted_bytes > 0
    assert job.figures.snapshots == 1
    with opened(files_product) as catalog:
        assert catalog.maintenance.last(MaintenanceKind.PRUNE) == job
        assert catalog.maintenance.last(MaintenanceKind.PRUNE, dry_run=True) == dry
        assert [size.bytes for size in catalog.maintenance.sizes()] == [dry.figures.bytes, job.figures.bytes]
        assert recent_jobs(catalog.sessions)[0].maintenance is MaintenanceKind.PRUNE
    assert engine.check(repository_of(files_product)).findings == []
    assert operations.verify_backup(second.id, settings=settings).verification_status is Verdict.PASSED


def test_a_forgotten_backup_is_no_restore_point_until_it_is_brought_back(
    files_product: Product, tmp_path: Path
) -> None:
    first, second = two_backups(files_product)
    settings = files_product.settings
    done = operations.forget_backups([second.id], settings=settings)
    row = row_of(files_product, second.id)
    assert not row.restorable
    assert row.forgotten_until == done.until
    assert operations.get_backups(BackupFilters(restorable=True), settings=settings)[0].id == first.id
    assert operations.get_backups(BackupFilters(restorable=False), settings=settings)[0].id == second.id
    stats = operations.get_backup_stats(settings=settings)
    assert {kind.last_good_id for kind in stats.types if kind.type is BackupType.FILES} == {first.id}
    assert (stats.verified, stats.unverified) == (0, 1)
    with pytest.raises(InputError, match="was forgotten") as refused:
        operations.initiate_recovery(second.id, RecoveryTarget(str(tmp_path / "back")), settings=settings)
    assert f"forget --undo {second.id}" in refused.value.hint
    assert operations.verify_backup("latest", settings=settings).backup_id == first.id

    prune(files_product)  # its grace lasts
    operations.bring_backups_back([second.id], settings=settings)
    assert row_of(files_product, second.id).restorable
    assert operations.verify_backup(second.id, settings=settings).verification_status is Verdict.PASSED


def test_a_backup_that_was_pruned_cannot_be_brought_back_and_says_so(files_product: Product) -> None:
    first, _ = two_backups(files_product)
    operations.forget_backups([first.id], settings=files_product.settings, grace="0")
    prune(files_product)
    with pytest.raises(NotFoundError, match="1 of its 1 snapshots are gone"):
        operations.bring_backups_back([first.id], settings=files_product.settings)
    row = row_of(files_product, first.id)
    assert row.forgotten_at is not None
    assert row.forgotten_until is None
    assert newest(files_product).status is JobStatus.FAILED


def test_what_is_not_forgotten_cannot_be_brought_back(files_product: Product) -> None:
    first, _ = two_backups(files_product)
    with pytest.raises(InputError, match="is not forgotten"):
        operations.bring_backups_back([first.id], settings=files_product.settings)


def test_a_policy_judges_each_type_apart_and_forgets_sets_as_a_whole(files_product: Product) -> None:
    settings = files_product.settings
    files = operations.create_backup("files", settings=settings)
    old = operations.create_backup("configuration", settings=settings)
    new = operations.create_backup("configuration", settings=settings)
    policy = RetentionPolicy(last=1)
    tried = operations.forget_backups(settings=settings, policy=policy, dry_run=True)
    assert (tried.gone, tried.job) == ((old.id,), None)
    assert {one.backup.id for one in tried.decisions if one.keep} == {files.id, new.id}
    assert row_of(files_product, old.id).restorable
    assert operations.forget_backups(settings=settings, policy=policy).gone == (old.id,)
    assert operations.forget_backups(settings=settings, policy=policy).gone == ()
    assert operations.forget_backups(settings=settings, keep_within="1d").gone == ()


def test_a_policy_judges_each_host_apart_and_leaves_what_no_job_of_ours_made(
    files_product: Product, tmp_path: Path
) -> None:
    here = operations.create_backup("files", settings=files_product.settings)
    files_product.configure('host = "tests"', 'host = "another"')
    there = operations.create_backup("files", settings=files_product.settings)
    stranger = Restic(files_product.repository, tmp_path / "restic")
    for _ in range(2):
        stranger.back_up(files_product.storage)
    operations.rebuild_catalog(settings=files_product.settings)
    done = operations.forget_backups(settings=files_product.settings, policy=RetentionPolicy(last=1))
    assert done.gone == ()
    assert len(done.decisions) == 4
    reasons = {one.backup.id: one.reasons for one in done.decisions}
    assert reasons.pop(here.id) == reasons.pop(there.id) == ("last snapshot",)
    assert set(reasons.values()) == {("no job of ours made it: not judged",)}


def test_a_policy_forgets_nothing_while_a_snapshot_is_not_readable(files_product: Product) -> None:
    first, second = two_backups(files_product)
    snapshot = files_product.repository / "snapshots" / second.parts[0].snapshot_id
    snapshot.chmod(0o600)
    snapshot.write_bytes(b"x" * snapshot.stat().st_size)
    with pytest.raises(DamageError):
        operations.forget_backups(settings=files_product.settings, policy=RetentionPolicy(last=1))
    assert row_of(files_product, first.id).restorable


@pytest.mark.parametrize("grace", ["soon", "1", "-1d"])
def test_a_wish_that_means_nothing_forgets_nothing(files_product: Product, grace: str) -> None:
    first, _ = two_backups(files_product)
    settings = files_product.settings
    with pytest.raises(InputError):
        operations.forget_backups([first.id], settings=settings, grace=grace)
    with pytest.raises(InputError, match="no policy says what to keep"):
        operations.forget_backups(settings=settings)
    with pytest.raises(InputError):
        operations.forget_backups([first.id], settings=settings, policy=RetentionPolicy(last=1))
    with pytest.raises(InputError, match="no backup is named"):
        operations.accept_gone([], settings=settings)
    assert row_of(files_product, first.id).restorable


# Missing


def test_a_prune_refuses_while_a_backup_is_missing_that_nobody_has_forgotten(
    files_product: Product, tmp_path: Path
) -> None:
    first, second = two_backups(files_product)
    settings = files_product.settings
    Restic(files_product.repository, tmp_path / "restic").run("forget", first.parts[0].snapshot_id)
    with pytest.raises(ConflictError, match=str(first.id)[:8]) as refused:
        prune(files_product)
    assert "forget --gone" in refused.value.hint
    job = newest(files_product)
    assert (job.status, job.kind) == (JobStatus.FAILED, MaintenanceKind.PRUNE)
    assert str(first.id)[:8] in (job.error or "")
    check = operations.check_repository(settings=settings)
    assert check.verification_status is Verdict.FAILED
    assert check.findings == (f"the backup {first.id} is missing: a snapshot of it is neither listed nor forgotten",)
    with pytest.raises(InputError, match="is missing"):
        operations.verify_backup(first.id, settings=settings)
    with pytest.raises(InputError, match="is missing"):
        operations.forget_backups([first.id], settings=settings)
    with pytest.raises(InputError, match="is not missing"):
        operations.accept_gone([second.id], settings=settings)

    operations.accept_gone([first.id], settings=settings)
    assert pruned(prune(files_product)).deleted_bytes > 0
    assert operations.check_repository(settings=settings).verification_status is Verdict.PASSED


def test_what_the_engine_s_forget_noted_is_forgotten_and_not_missing(files_product: Product) -> None:
    first, _ = two_backups(files_product)
    repository_of(files_product).forget(engine.SnapshotId(first.parts[0].snapshot_id))
    assert operations.check_repository(settings=files_product.settings).verification_status is Verdict.PASSED
    assert row_of(files_product, first.id).forgotten_at is not None


def test_a_prune_that_would_take_too_much_refuses_and_its_dry_run_says_so(files_product: Product) -> None:
    first, _ = two_backups(files_product)
    operations.forget_backups([first.id], settings=files_product.settings, grace="0")
    dry = operations.prune_repository(settings=files_product.settings, dry_run=True, max_removed="1%")
    assert dry.status is JobStatus.COMPLETED_WITH_WARNINGS
    assert "at most 1% may go at once" in pruned(dry).refusal
    assert any("would be refused" in warning for warning in dry.warnings)
    with pytest.raises(ConflictError, match="at most 1% may go"):
        prune(files_product, max_removed="1%")
    assert engine.check(repository_of(files_product)).findings == []


# Check


def test_a_check_proves_bytes_and_tells_how_fresh_the_proof_is(files_product: Product) -> None:
    two_backups(files_product)
    settings = files_product.settings
    structure = operations.check_repository(settings=settings)
    assert (checked(structure).bytes_read, checked(structure).within_percent) == (0, 0.0)
    some = operations.check_repository(settings=settings, budget="1%")
    every = operations.check_repository(settings=settings, budget="100%")
    assert 0 < checked(some).within_percent < 100
    assert checked(every).within_percent == 100.0
    oldest = checked(every).oldest_proof
    assert oldest
    assert datetime.now(UTC) - oldest < timedelta(minutes=5)
    assert every.figures
    assert every.figures.bytes == sum(
        path.stat().st_size for path in (files_product.repository / "data").rglob("*") if path.is_file()
    )


def test_a_check_that_finds_damage_is_done_and_failed_the_repository(files_product: Product) -> None:
    two_backups(files_product)
    damage_a_pack(files_product)
    job = operations.check_repository(settings=files_product.settings, read_data=True)
    assert (job.status, job.verification_status) == (JobStatus.COMPLETED, Verdict.FAILED)
    assert checked(job).damaged_packs == 1
    assert any(finding.startswith("affected: snapshot") for finding in job.findings)


def test_a_budget_and_all_bytes_are_refused_before_a_row_is_written(files_product: Product) -> None:
    for call in (operations.check_repository, operations.queue_check):
        with pytest.raises(InputError):
            call(settings=files_product.settings, budget="5%", read_data=True)
        with pytest.raises(InputError):
            call(settings=files_product.settings, budget="much")
    with pytest.raises(InputError):
        operations.queue_prune(settings=files_product.settings, max_removed="all")
    with opened(files_product) as catalog:
        assert catalog.maintenance.newest() == ()


# The life of the rows


def test_queued_jobs_are_run_under_their_own_rows(files_product: Product) -> None:
    two_backups(files_product)
    settings = files_product.settings
    check = operations.queue_check(settings=settings, budget="100%")
    dry = operations.queue_prune(settings=settings, dry_run=True)
    assert operations.check_repository(settings=settings, budget="100%", job_id=check).id == check
    done = operations.prune_repository(settings=settings, dry_run=True, job_id=dry)
    assert (done.id, done.dry_run) == (dry, True)
    assert "grace 1d" in done.asked


def test_a_job_that_cannot_begin_says_why_in_its_row(files_product: Product) -> None:
    shutil.rmtree(files_product.repository)
    queued, flow_run = operations.queue_check(settings=files_product.settings), uuid4()
    with pytest.raises(InputError):
        operations.check_repository(settings=files_product.settings, job_id=queued)
    assert newest(files_product).status is JobStatus.FAILED
    with pytest.raises(InputError):
        operations.prune_repository(settings=files_product.settings, flow_run_id=flow_run)
    job = newest(files_product)
    assert (job.kind, job.status, job.flow_run_id) == (MaintenanceKind.PRUNE, JobStatus.FAILED, flow_run)
    assert job.error


def test_a_cancelled_prune_removes_nothing_and_is_told_as_cancelled(files_product: Product) -> None:
    first, _ = two_backups(files_product)
    operations.forget_backups([first.id], settings=files_product.settings, grace="0")
    stop = threading.Event()
    with pytest.raises(CancelledError):
        operations.prune_repository(
            settings=files_product.settings, max_removed="100%", progress=Acting({"un-index": stop.set}), stop=stop
        )
    assert newest(files_product).status is JobStatus.CANCELLED
    assert engine.check(repository_of(files_product)).findings == []
    assert pruned(prune(files_product)).deleted_packs > 0


def test_s13_a_prune_goes_on_while_the_catalog_drops_its_connections(
    files_product: Product, catalog_database: Address
) -> None:
    """S-13: the lock does not live in the catalog, and neither does the prune."""
    first, _ = two_backups(files_product)
    operations.forget_backups([first.id], settings=files_product.settings, grace="0")

    def cut() -> None:
        execute(
            catalog_database.with_database("postgres"),
            sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}").format(
                sql.Literal(catalog_database.database)
            ),
        )

    progress = Acting({"un-index": cut})
    job = operations.prune_repository(
        settings=files_product.settings, grace="0", max_unused="0", max_removed="100%", progress=progress
    )
    assert progress.done
    assert job.status is JobStatus.COMPLETED
    assert engine.check(repository_of(files_product)).findings == []


@pytest.mark.parametrize("phase", ["look again", "un-index", "delete"])
def test_a_prune_that_is_killed_is_told_as_dead_and_the_next_one_finishes_it(
    files_product: Product, phase: str
) -> None:
    first, second = two_backups(files_product)
    operations.forget_backups([first.id], settings=files_product.settings, grace="0")
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, phase], env=environment(files_product.settings_path), check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    with opened(files_product) as catalog:
        dead = catalog.maintenance.newest(limit=1)[0]
    assert (dead.kind, dead.status) == (MaintenanceKind.PRUNE, JobStatus.FAILED)
    assert "ended without finishing" in (dead.error or "")
    assert prune(files_product).status is JobStatus.COMPLETED
    assert engine.check(repository_of(files_product)).findings == []
    verified = operations.verify_backup(second.id, settings=files_product.settings)
    assert verified.verification_status is Verdict.PASSED


def test_a_maintenance_job_whose_process_died_is_ended_with_what_is_safe(files_product: Product) -> None:
    job = MaintenanceJob(JobId(uuid4()), MaintenanceKind.PRUNE, JobStatus.QUEUED)
    with opened(files_product) as catalog:
        catalog.maintenance.create(job)
        here = this_process(files_product.settings.host)
        catalog.maintenance.start(job.id, process=replace_ticks(here))
        (dead,) = catalog.reconcile()
        assert dead.id == job.id
        row = catalog.maintenance.get(job.id)
    assert row.status is JobStatus.FAILED
    assert "start the same again" in (row.hint or "")


def replace_ticks(process: Process) -> Process:
    """Return a process of this one's number that began earlier: it is dead."""
    return replace(process, ticks=(process.ticks or 2) - 1)


def test_the_history_of_maintenance_comes_back_with_the_catalog_and_dry_runs_do_not(
    files_product: Product, catalog_database: Address
) -> None:
    settings = files_product.settings
    first, _ = two_backups(files_product)
    operations.forget_backups([first.id], settings=settings)
    operations.prune_repository(settings=settings, dry_run=True)
    kept = {prune(files_product).id, operations.check_repository(settings=settings).id}
    with opened(files_product) as catalog:
        before = {job.id: job for job in catalog.maintenance.newest()}
    forgotten = row_of(files_product, first.id)
    drop_database(catalog_database.with_database("postgres"), catalog_database.database)
    name = sql.Identifier(catalog_database.database)
    execute(catalog_database.with_database("postgres"), sql.SQL("CREATE DATABASE {}").format(name))
    rebuilt = operations.rebuild_catalog(settings=settings)
    assert rebuilt.remarks == ()
    with opened(files_product) as catalog:
        after = {job.id: job for job in catalog.maintenance.newest()}
    assert kept < after.keys()
    assert all(not job.dry_run and job == before[job.id] for job in after.values())
    again = row_of(files_product, first.id)
    assert again.forgotten_at is not None
    assert again.forgotten_until == forgotten.forgotten_until


def test_an_export_with_maintenance_comes_back_as_it_was(files_product: Product) -> None:
    first, _ = two_backups(files_product)
    operations.forget_backups([first.id], settings=files_product.settings)
    prune(files_product)
    with opened(files_product) as catalog:
        with catalog.sessions.transaction() as connection:
            lines = list(export(connection))
        catalog.sessions.run(lambda connection: connection.execute("TRUNCATE backup_jobs, maintenance_jobs CASCADE"))
        result = import_rows(catalog.sessions, read_export(lines), now=datetime.now(UTC))
        assert (result.written, result.refused) == (4, ())
        with catalog.sessions.transaction() as connection:
            assert list(export(connection)) == lines


def test_phases_of_jobs_before_this_release_keep_their_job(empty_database: Address) -> None:
    with Sessions.to(empty_database) as sessions:
        migrate(sessions, packaged_migrations()[:2])
        backup = uuid4()
        with sessions.transaction() as connection:
            connection.execute("INSERT INTO backup_jobs (id, type, status) VALUES (%s, 'files', 'queued')", (backup,))
            connection.execute(
                "INSERT INTO job_phases (backup_id, ordinal, name, started_at) VALUES (%s, 0, 'files', now())",
                (backup,),
            )
        assert migrate(sessions, packaged_migrations()[:3]) == (3,)
        with sessions.transaction() as connection:
            assert connection.execute("SELECT job_id, name FROM job_phases").fetchall() == [(backup, "files")]


# The command line


def test_the_commands_say_what_was_done_and_as_json(files_product: Product) -> None:
    first, second = two_backups(files_product)
    forgotten = run_json(files_product, "forget", "--keep-last", "1")
    assert isinstance(forgotten, dict)
    assert forgotten["forgotten"] == [str(first.id)]
    assert forgotten["until"]
    listed = run(files_product, "list")
    assert "completed, forgotten" in listed.stdout
    back = run(files_product, "forget", "--undo", str(first.id)[:8])
    assert back.stdout == f"backup {first.id} is back, and whole\n"
    run_json(files_product, "forget", str(first.id), "--grace", "0")
    dry = run(files_product, "prune", "--dry-run", "--max-removed", "100%")
    assert dry.stdout.endswith("nothing was changed\n")
    job = run_json(files_product, "prune", "--max-removed", "100%")
    assert isinstance(job, dict)
    assert job["figures"]["pruned"]["waiting_packs"] > 0
    assert job["figures"]["pruned"]["deleted_packs"] == 0
    check = run(files_product, "check", "--budget", "100%")
    assert check.returncode == 0, check.stderr
    assert "100 % of all bytes were proved within 30 days" in check.stdout
    assert second.parts[0].snapshot_id in {path.name for path in (files_product.repository / "snapshots").iterdir()}


def test_a_missing_backup_is_status_one_of_a_check_and_two_of_a_prune(files_product: Product) -> None:
    first, _ = two_backups(files_product)
    remove_snapshots(files_product, first)
    check = run(files_product, "check", "--json")
    assert check.returncode == 1
    assert "is missing" in json.loads(check.stdout)["findings"][0]
    pruned = run(files_product, "prune")
    assert pruned.returncode == 2
    assert "Safe: nothing was removed" in pruned.stderr
    accepted = run(files_product, "forget", "--gone", str(first.id))
    assert "counts as forgotten" in accepted.stdout
    assert run(files_product, "prune", "--max-removed", "100%").returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ("prune", "--max-removed", "lots"),
        ("prune", "--grace", "soon"),
        ("prune", "--wait", "-1"),
        ("check", "--budget", "5"),
        ("check", "--budget", "5%", "--read-data"),
        ("forget",),
        ("forget", "--undo"),
        ("forget", "--undo", "--gone", "abc"),
        ("forget", "--undo", "abc", "--keep-last", "1"),
        ("forget", "0000"),
    ],
)
def test_bad_input_is_status_two_with_a_sentence(files_product: Product, words: tuple[str, ...]) -> None:
    done = run(files_product, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr
