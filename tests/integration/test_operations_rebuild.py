"""The catalog is lost: the repository alone brings the list of backups and the history of good jobs back."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg import sql

from edurise_backup import operations
from edurise_backup.catalog.export import export
from edurise_backup.errors import BackupError
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.jobs import BackupType, JobStatus, RecoveryTarget, Verdict
from edurise_backup.model.people import SYSTEM
from edurise_backup.postgres.connection import Address
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.catalog import Product, opened, run
from tests.support.postgres import drop_database, execute
from tests.support.restic import Restic


def lose_catalog(address: Address) -> None:
    """Drop the catalog's database and make an empty one of its name."""
    drop_database(address.with_database("postgres"), address.database)
    execute(address.with_database("postgres"), sql.SQL("CREATE DATABASE {}").format(sql.Identifier(address.database)))


def exported(product: Product) -> list[object]:
    with opened(product) as catalog, catalog.sessions.transaction() as connection:
        lines = [json.loads(line) for line in export(connection)]
    return [line for line in lines if line["kind"] != "row"]  # jobs alone: a rebuild is itself in the audit trail


def test_s07_every_kept_job_comes_back_exactly_as_it_was(
    product: Product, catalog_database: Address, tmp_path: Path
) -> None:
    settings = product.settings
    full = operations.create_backup(settings=settings, tags=("term",))
    operations.create_backup("files", settings=settings)
    operations.verify_backup(full.id, settings=settings)
    operations.initiate_recovery(
        full.id, RecoveryTarget(str(tmp_path / "back"), parts=(BackupType.FILES,)), settings=settings
    )
    before = exported(product)
    lose_catalog(catalog_database)
    rebuilt = operations.rebuild_catalog(settings=settings)
    assert (rebuilt.written, rebuilt.kept, rebuilt.from_snapshots, rebuilt.remarks) == (4, 0, 0, ())
    assert exported(product) == before
    again = operations.rebuild_catalog(settings=settings)
    assert (again.written, again.kept) == (0, 4)
    assert exported(product) == before


def test_what_no_job_tells_comes_from_the_newest_metadata(files_product: Product, catalog_database: Address) -> None:
    settings = files_product.settings
    with opened(files_product) as catalog:
        catalog.audit.add(SYSTEM, "test.add", "first", detail={"grüße": [1, None]})
        catalog.audit.add(SYSTEM, "test.add", "second")
        catalog.alarms.raise_alarm(Alarm(AlarmKind.CLOCK_OFF, "here", Severity.WARNING, "it is late"))
        audited, alarms = list(catalog.audit.rows()), catalog.alarms.newest()
    storage = files_product.storage.rename(files_product.home / "away")
    with pytest.raises(BackupError):
        operations.create_backup("files", settings=settings, flow_run_id=uuid4())
    storage.rename(files_product.storage)
    operations.create_backup("metadata", settings=settings)
    lose_catalog(catalog_database)
    assert operations.rebuild_catalog(settings=settings).remarks == ()
    with opened(files_product) as catalog:
        assert list(catalog.audit.rows())[: len(audited)] == audited
        assert catalog.alarms.newest() == alarms
        assert [job.status for job in catalog.jobs.newest()] == [JobStatus.COMPLETED, JobStatus.FAILED]
    assert operations.rebuild_catalog(settings=settings).written == 0


def test_an_audit_trail_that_has_begun_anew_is_not_mixed_with_the_lost_one(
    files_product: Product, catalog_database: Address
) -> None:
    settings = files_product.settings
    with opened(files_product) as catalog:
        catalog.audit.add(SYSTEM, "test.add", "before the loss")
    operations.create_backup("metadata", settings=settings)
    lose_catalog(catalog_database)
    with opened(files_product) as catalog:
        catalog.audit.add(SYSTEM, "test.add", "after the loss")
    remarks = operations.rebuild_catalog(settings=settings).remarks
    assert any("another has begun here" in remark for remark in remarks)
    with opened(files_product) as catalog:
        assert "after the loss" in [row.subject for row in catalog.audit.rows()]
        assert "before the loss" not in [row.subject for row in catalog.audit.rows()]


@pytest.mark.slow
def test_a_rebuilt_catalog_is_enough_to_verify_and_recover(
    product: Product, catalog_database: Address, tmp_path: Path
) -> None:
    full = operations.create_backup(settings=product.settings)
    lose_catalog(catalog_database)
    operations.rebuild_catalog(settings=product.settings)
    assert operations.verify_backup(full.id, settings=product.settings).verification_status is Verdict.PASSED
    done = operations.initiate_recovery("latest", RecoveryTarget(str(tmp_path / "restored")), settings=product.settings)
    assert (done.backup_id, done.verification_status) == (full.id, Verdict.PASSED)
    assert product.restored_differences(tmp_path / "restored") == []


def test_snapshots_of_the_engine_and_of_stock_restic_become_backups_that_can_be_recovered(
    files_product: Product, tmp_path: Path
) -> None:
    options = ("--repository", str(files_product.repository), "--password-file", str(files_product.home / "passphrase"))
    done = run(files_product, "repo", "backup", *options, "--tag", "by hand", str(files_product.storage))
    assert done.returncode == 0, done.stderr
    restic = Restic(files_product.repository, tmp_path / "restic")
    restic.back_up(files_product.storage, options=("--tag", "stock", "--tag", "type=of its own"))
    rebuilt = operations.rebuild_catalog(settings=files_product.settings)
    assert (rebuilt.written, rebuilt.from_snapshots, rebuilt.remarks) == (2, 2, ())
    jobs = operations.get_backups(settings=files_product.settings)
    assert {job.tags for job in jobs} == {("by hand",), ("stock", "type=of its own")}
    for number, job in enumerate(jobs):
        assert (job.type, job.status) == (BackupType.FILES, JobStatus.COMPLETED)
        verified = operations.verify_backup(job.id, settings=files_product.settings)
        assert verified.verification_status is Verdict.PASSED
        target = tmp_path / f"back {number}"
        back = operations.initiate_recovery(job.id, RecoveryTarget(str(target)), settings=files_product.settings)
        assert back.verification_status is Verdict.PASSED
        assert list(target.rglob("film.bin"))


def test_a_forgotten_set_is_remarked_and_not_listed(product: Product, catalog_database: Address) -> None:
    settings = product.settings
    first = operations.create_backup(settings=settings)
    second = operations.create_backup(settings=settings)
    operations.verify_backup(first.id, settings=settings)
    for part in first.parts:
        (product.repository / "snapshots" / part.snapshot_id).unlink()
    lose_catalog(catalog_database)
    rebuilt = operations.rebuild_catalog(settings=settings)
    assert f"the backup {first.id} was forgotten: its snapshots are gone" in rebuilt.remarks
    assert [job.id for job in operations.get_backups(settings=settings)] == [second.id]


def test_a_set_that_was_cut_short_is_listed_by_its_parts_with_a_warning(
    product: Product, catalog_database: Address
) -> None:
    product.configure('paths = ["storage"]', 'paths = ["storage"]\npre_hook = ["false"]')
    with pytest.raises(BackupError):
        operations.create_backup(settings=product.settings)
    lose_catalog(catalog_database)
    rebuilt = operations.rebuild_catalog(settings=product.settings)
    assert (rebuilt.written, rebuilt.from_snapshots) == (1, 1)
    (job,) = operations.get_backups(settings=product.settings)
    assert (job.type, job.status) == (BackupType.DATABASE, JobStatus.COMPLETED_WITH_WARNINGS)
    assert "cut short" in job.warnings[0]


def test_a_record_that_is_damaged_is_remarked_and_its_snapshot_still_listed(files_product: Product) -> None:
    job = operations.create_backup("files", settings=files_product.settings)
    record = next((files_product.repository / "edurise" / "jobs").rglob(str(job.id)))
    record.chmod(0o600)
    record.write_bytes(b"x" * record.stat().st_size)
    rebuilt = operations.rebuild_catalog(settings=files_product.settings)
    assert rebuilt.from_snapshots == 1
    assert len(rebuilt.remarks) == 1


@pytest.mark.slow
def test_what_rebuild_finds_needs_nothing_but_the_repository(files_product: Product, tmp_path: Path) -> None:
    job = operations.create_backup("files", settings=files_product.settings)
    elsewhere = tmp_path / "another machine"
    elsewhere.mkdir()
    (elsewhere / "edurise-backup.toml").write_text(
        f'data_directory = "data"\n[repository]\nlocation = "{files_product.repository}"\n'
        f'password_file = "{files_product.home / "passphrase"}"\n'
    )
    there = Product(elsewhere, elsewhere / "edurise-backup.toml")
    with opened(there):  # the embedded catalog runs until the last one leaves
        assert operations.rebuild_catalog(settings=there.settings).written == 1
        assert operations.get_backups(settings=there.settings)[0].checksum == job.checksum
    assert engine.check(engine.opened(LocalStore(files_product.repository))).findings == []
