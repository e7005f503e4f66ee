"""What becomes of copies over time: retention, pins and holds, prunes, a lost catalog, a lost primary."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.errors import ConflictError
from edurise_backup.model.jobs import BackupJob, JobStatus, RecoveryTarget, Verdict
from edurise_backup.model.maintenance import MaintenanceKind
from edurise_backup.model.protections import ProtectionKind
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.model.stores import CopyState
from edurise_backup.operations.people import local_actor
from edurise_backup.operations.schedule_config import ScheduleConfig
from edurise_backup.ports import utc_now
from edurise_backup.repository.holds import read_protections
from tests.support.catalog import Product
from tests.support.copies import COPY_PASSPHRASE, add_copy, lose_snapshot, opened_copy, originals, packs_of


@pytest.fixture
def copied(files_product: Product) -> Product:
    """Give a product with one copy."""
    add_copy(files_product)
    return files_product


def folder_of(product: Product) -> Path:
    return product.home / "copies" / "offsite"


def copy_now(product: Product) -> None:
    job = operations.copy_backups("offsite", settings=product.settings)
    assert job.status is JobStatus.COMPLETED, job.warnings


def states(product: Product) -> dict[object, CopyState]:
    (status,) = operations.get_copies(settings=product.settings)
    return {point.backup_id: point.state for point in status.points}


def taken(product: Product, days_ago: int, *tags: str) -> BackupJob:
    """Take a backup of the files as if it were so many days ago."""
    moment = utc_now() - timedelta(days=days_ago)
    settings = product.settings
    then = replace(settings, around=replace(settings.around, clock=lambda: moment))
    return operations.create_backup("files", settings=then, tags=tags)


def three_backups(product: Product) -> list[BackupJob]:
    """Take three backups of a schedule, of which its retention keeps the last one."""
    made = operations.schedule_backup(
        ScheduleConfig("files", "files", "1d", retention=1), settings=product.settings, actor=local_actor()
    )
    return [taken(product, days, f"schedule={made.id}") for days in (30, 20, 10)]


def test_retention_goes_over_the_copies_by_the_same_policies(copied: Product) -> None:
    old, middle, new = three_backups(copied)
    copy_now(copied)
    operations.apply_retention(settings=copied.settings, actor=local_actor())
    assert states(copied) == {old.id: CopyState.FORGOTTEN, middle.id: CopyState.FORGOTTEN, new.id: CopyState.WHOLE}
    assert set(originals(folder_of(copied))) == {part.snapshot_id for part in new.parts}
    copy_now(copied)
    assert states(copied)[old.id] is CopyState.FORGOTTEN


def test_a_copy_keeps_its_own_newest_while_it_is_behind(copied: Product) -> None:
    old, middle, new = three_backups(copied)
    snapshots = [part.snapshot_id for job in (middle, new) for part in job.parts]
    for name in snapshots:  # while the newer ones cannot be seen, only the oldest is copied
        (copied.repository / "snapshots" / name).rename(copied.home / name)
    copy_now(copied)
    for name in snapshots:
        (copied.home / name).rename(copied.repository / "snapshots" / name)
    operations.check_repository(settings=copied.settings)
    operations.apply_retention(settings=copied.settings, actor=local_actor())
    assert states(copied) == {old.id: CopyState.WHOLE}
    assert [job.id for job in operations.get_backups(settings=copied.settings) if job.restorable] == [new.id]


def test_a_dry_run_of_retention_changes_nothing_in_a_copy(copied: Product) -> None:
    backups = three_backups(copied)
    copy_now(copied)
    operations.apply_retention(settings=copied.settings, actor=local_actor(), dry_run=True)
    assert states(copied) == dict.fromkeys((job.id for job in backups), CopyState.WHOLE)


def test_a_hold_is_in_force_in_the_copy_and_ends_there_with_its_release(copied: Product) -> None:
    old, _, _ = three_backups(copied)
    operations.hold_backup(old.id, "case 7", actor=local_actor(), settings=copied.settings)
    copy_now(copied)
    (note,) = read_protections(opened_copy(folder_of(copied)).box)
    assert note.kind is ProtectionKind.HOLD
    assert set(note.snapshots) == {originals(folder_of(copied))[part.snapshot_id] for part in old.parts}
    operations.apply_retention(settings=copied.settings, actor=local_actor())
    assert states(copied)[old.id] is CopyState.WHOLE
    with pytest.raises(ConflictError, match="is held"):
        opened_copy(folder_of(copied)).forget(SnapshotId(note.snapshots[0]))
    operations.release_hold(old.id, actor=local_actor(), settings=copied.settings)
    copy_now(copied)
    assert read_protections(opened_copy(folder_of(copied)).box) == ()


def test_a_primary_that_lost_its_notes_ends_no_hold_in_the_copy(copied: Product) -> None:
    (backup,) = [operations.create_backup("files", settings=copied.settings)]
    operations.hold_backup(backup.id, "case 7", actor=local_actor(), settings=copied.settings)
    copy_now(copied)
    shutil.rmtree(copied.repository / "edurise" / "holds")
    with operations.open_catalog(copied.settings) as catalog:
        catalog.sessions.run(lambda connection: connection.execute("DELETE FROM protections") and None)
    copy_now(copied)
    assert len(read_protections(opened_copy(folder_of(copied)).box)) == 1


def test_a_prune_of_a_copy_frees_what_its_retention_dropped_and_no_more(copied: Product) -> None:
    copied.put("media/old.bin", bytes(range(253)) * 3000)
    backups = three_backups(copied)
    (copied.storage / "media" / "old.bin").unlink()
    schedule = next(tag for tag in backups[0].tags if tag.startswith("schedule="))
    last = taken(copied, 0, schedule)
    copy_now(copied)
    operations.apply_retention(settings=copied.settings, actor=local_actor(), grace="0")
    before = sum(pack.stat().st_size for pack in packs_of(folder_of(copied)))
    job = operations.prune_copy("offsite", settings=copied.settings, grace="0", max_unused="0", max_removed="100%")
    assert (job.kind, job.store) == (MaintenanceKind.PRUNE, "offsite")
    assert sum(pack.stat().st_size for pack in packs_of(folder_of(copied))) < before
    assert operations.verify_copy("offsite", last.id, settings=copied.settings).verification_status is Verdict.PASSED


def test_a_prune_of_a_copy_refuses_while_a_restore_point_is_gone_there(copied: Product) -> None:
    operations.create_backup("files", settings=copied.settings)
    operations.create_backup("configuration", settings=copied.settings)
    copy_now(copied)
    (status,) = operations.get_copies(settings=copied.settings)
    lose_snapshot(folder_of(copied), status.points[0].snapshots[0])
    with pytest.raises(ConflictError, match="gone from the copy offsite"):
        operations.prune_copy("offsite", settings=copied.settings)


def test_a_lost_catalog_comes_back_with_what_the_copies_hold_and_what_was_proved_there(copied: Product) -> None:
    backup = operations.create_backup("full", settings=copied.settings)
    copy_now(copied)
    operations.verify_copy("offsite", settings=copied.settings)
    forget_catalog(copied)
    operations.rebuild_catalog(settings=copied.settings)
    (status,) = operations.get_copies(settings=copied.settings)
    (point,) = status.points
    assert (point.backup_id, point.state, point.outcome) == (backup.id, CopyState.WHOLE, Verdict.PASSED)


def test_with_primary_and_catalog_lost_the_copy_tells_all_and_a_recovery_is_equal(copied: Product) -> None:
    backup = operations.create_backup("full", settings=copied.settings)
    copy_now(copied)
    forget_catalog(copied)
    shutil.rmtree(copied.repository)
    rebuilt = operations.rebuild_catalog(settings=copied.settings, store="offsite")
    assert rebuilt.from_snapshots == 0
    job = operations.initiate_recovery(backup.id, RecoveryTarget(str(copied.home / "target")), settings=copied.settings)
    assert job.verification_status is Verdict.PASSED
    assert job.stores == ("offsite",)
    assert copied.restored_differences(copied.home / "target") == []


def test_a_copy_becomes_the_new_primary_with_the_same_restore_points(copied: Product) -> None:
    backup = operations.create_backup("full", settings=copied.settings)
    copy_now(copied)
    there = originals(folder_of(copied))
    shutil.rmtree(copied.repository)
    text = copied.settings_path.read_text().partition("\n[[copy]]")[0]
    copied.settings_path.write_text(text.replace('"repository"', f'"{folder_of(copied)}"', 1))
    (copied.home / "passphrase").write_text(COPY_PASSPHRASE)
    operations.adopt_store(settings=copied.settings)
    operations.rebuild_catalog(settings=copied.settings)
    (found,) = operations.get_backups(settings=copied.settings)
    assert (found.id, found.missing_since) == (backup.id, None)
    assert [part.snapshot_id for part in found.parts] == [there[part.snapshot_id] for part in backup.parts]
    assert operations.verify_backup(found.id, settings=copied.settings).verification_status is Verdict.PASSED
    newer = operations.create_backup("full", settings=copied.settings)
    checked = operations.check_repository(settings=copied.settings, read_data=True)
    assert (newer.status.good, checked.findings) == (True, ())


def test_a_fresh_catalog_knows_a_copy_that_became_the_primary(copied: Product) -> None:
    backup = operations.create_backup("full", settings=copied.settings)
    copy_now(copied)
    forget_catalog(copied)
    text = copied.settings_path.read_text().partition("\n[[copy]]")[0]
    copied.settings_path.write_text(text.replace('"repository"', f'"{folder_of(copied)}"', 1))
    (copied.home / "passphrase").write_text(COPY_PASSPHRASE)
    operations.rebuild_catalog(settings=copied.settings)
    (found,) = operations.get_backups(settings=copied.settings)
    assert found.id == backup.id
    assert operations.verify_backup(found.id, settings=copied.settings).verification_status is Verdict.PASSED


def forget_catalog(product: Product) -> None:
    """Empty the catalog, as if its server were new."""
    with operations.open_catalog(product.settings) as catalog:
        catalog.sessions.run(
            lambda c: (
                c.execute("DROP SCHEMA public CASCADE; DROP SCHEMA analytics CASCADE; CREATE SCHEMA public") and None
            )
        )


def test_lag_counts_from_the_oldest_that_waits(copied: Product) -> None:
    first = operations.create_backup("files", settings=copied.settings)
    operations.create_backup("files", settings=copied.settings)
    (status,) = operations.get_copies(settings=copied.settings)
    waiting = {lag.part: lag.behind_since for lag in status.lags}
    assert waiting["files"] == first.completed_at
    assert status.lag >= timedelta(0)
