"""The main job on the demonstration's platform: back up, verify, change, recover, compare every row and byte."""

from __future__ import annotations

from pathlib import Path

from edurise_backup import operations
from edurise_backup.demonstration.comparison import compare, describe, describe_places
from edurise_backup.demonstration.platform import Platform
from edurise_backup.model.jobs import BackupJob, BackupType, JobStatus, RecoveryTarget, Verdict
from edurise_backup.repository.repository import Repository
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.catalog import Product, aged
from tests.support.postgres import drop_database


def recovered_facts(product: Product, platform: Platform, job: BackupJob, target: Path, suffix: str) -> list[str]:
    """Recover a set and return how it differs from the platform as it is now."""
    done = operations.initiate_recovery(
        job.id, RecoveryTarget(str(target), database_suffix=suffix), settings=product.settings
    )
    assert (done.status, done.verification_status, done.findings) == (JobStatus.COMPLETED, Verdict.PASSED, ())
    assert len(done.checks) == len(set(done.checks))
    places = {
        "storage": target / "files/storage" / str(platform.storage).lstrip("/"),
        "configuration": target / "configuration/settings" / str(platform.configuration).lstrip("/"),
    }
    names = {name: name + suffix for name in platform.databases}
    differences = compare(describe(platform), describe_places(platform.address, names, places))
    for name in names.values():  # else the next backup would take them, too
        drop_database(platform.address, name)
    return differences


def test_two_sets_of_a_changing_platform_come_back_to_the_last_row_and_byte(
    demonstration: Product, platform: Platform, tmp_path: Path
) -> None:
    settings = demonstration.settings
    aged(platform.storage)
    first = operations.create_backup(settings=settings)
    assert first.warnings == ()
    assert first.status is JobStatus.COMPLETED
    assert operations.verify_backup(first.id, settings=settings).verification_status is Verdict.PASSED
    assert recovered_facts(demonstration, platform, first, tmp_path / "one", "_one") == []
    platform.change(41)
    second = operations.create_backup(settings=settings)
    assert second.warnings == ()
    assert second.status is JobStatus.COMPLETED
    files = next(part for part in second.parts if part.part is BackupType.FILES)
    assert 0 < files.read_bytes < files.source_bytes
    assert (second.stored_bytes or 0) < (first.stored_bytes or 0)
    assert operations.verify_backup(second.id, settings=settings).verification_status is Verdict.PASSED
    assert recovered_facts(demonstration, platform, second, tmp_path / "two", "_two") == []
    assert engine.check(repository_of(demonstration)).findings == []


def repository_of(product: Product) -> Repository:
    return engine.opened(LocalStore(product.repository))
