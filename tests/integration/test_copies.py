"""Copies of the backups in a further repository, by the operations: what arrives, in what order, and what rows say."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from edurise_backup import operations
from edurise_backup.catalog.leases import COPIES
from edurise_backup.errors import CancelledError, ConflictError, InputError, NotFoundError, UnreachableError
from edurise_backup.model.jobs import BackupJob, JobStatus, Verdict
from edurise_backup.model.stores import CopyState
from edurise_backup.operations.copies import in_order
from edurise_backup.operations.copy_status import CopyStatus
from edurise_backup.repository.repository import Repository
from edurise_backup.stores.local import LocalStore
from tests.support.catalog import Acting, Product
from tests.support.copies import COPY_PASSPHRASE, add_copy, flip, lose_snapshot, opened_copy, originals, packs_of
from tests.support.engine import QUICK, check


@pytest.fixture
def copied(files_product: Product) -> Product:
    """Give a product with one copy, whose folder is `copies/offsite`; nothing was backed up yet."""
    add_copy(files_product)
    return files_product


def folder_of(product: Product) -> Path:
    return product.home / "copies" / "offsite"


def status_of(product: Product) -> CopyStatus:
    (found,) = operations.get_copies(settings=product.settings)
    return found


def back_up(product: Product, kind: str = "full") -> BackupJob:
    return operations.create_backup(kind, settings=product.settings)


def test_a_copy_brings_every_restore_point_under_its_own_key(copied: Product) -> None:
    first, second = back_up(copied), back_up(copied, "files")
    job = operations.copy_backups("offsite", settings=copied.settings)
    assert job.status is JobStatus.COMPLETED
    assert job.figures and job.figures.copied
    assert set(job.figures.copied.backups) == {first.id, second.id}
    there = originals(folder_of(copied))
    assert there.keys() == {part.snapshot_id for one in (first, second) for part in one.parts}
    assert not set(there) & set(there.values())
    assert check(opened_copy(folder_of(copied))).findings == []


def test_a_second_run_brings_only_what_is_new(copied: Product) -> None:
    back_up(copied)
    operations.copy_backups("offsite", settings=copied.settings)
    again = operations.copy_backups("offsite", settings=copied.settings)
    assert again.figures and again.figures.copied
    assert (again.figures.copied.backups, again.figures.copied.blobs) == ((), 0)
    newer = back_up(copied, "files")
    last = operations.copy_backups("offsite", settings=copied.settings)
    assert last.figures and last.figures.copied
    assert last.figures.copied.backups == (newer.id,)


def test_the_newest_whole_set_comes_first_and_then_the_newest(copied: Product) -> None:
    old, whole, new = back_up(copied, "files"), back_up(copied), back_up(copied, "files")
    assert [job.id for job in in_order([old, whole, new])] == [whole.id, new.id, old.id]
    progress = Acting({})
    operations.copy_backups("offsite", settings=copied.settings, progress=progress)
    told = [name for name in progress.begun if name.startswith("copy ")]
    assert told == [f"copy {job.type.value} {str(job.id)[:8]}" for job in (whole, new, old)]


def test_rows_follow_from_what_the_copy_lists(copied: Product) -> None:
    backup = back_up(copied)
    operations.copy_backups("offsite", settings=copied.settings)
    (row,) = status_of(copied).points
    assert (row.backup_id, row.state) == (backup.id, CopyState.WHOLE)
    assert set(row.snapshots) == set(originals(folder_of(copied)).values())
    lose_snapshot(folder_of(copied), row.snapshots[0])
    with operations.open_catalog(copied.settings) as catalog:
        catalog.sessions.run(lambda connection: connection.execute("DELETE FROM backup_copies") and None)
    job = operations.copy_backups("offsite", settings=copied.settings)
    assert job.figures and job.figures.copied
    assert job.figures.copied.backups == (backup.id,)
    assert status_of(copied).count(CopyState.WHOLE) == 1


def test_a_restore_point_that_vanished_from_a_copy_is_told_and_copied_again(copied: Product) -> None:
    back_up(copied)
    operations.copy_backups("offsite", settings=copied.settings)
    for name in originals(folder_of(copied)).values():
        lose_snapshot(folder_of(copied), name)
    job = operations.copy_backups("offsite", settings=copied.settings)
    assert job.status is JobStatus.COMPLETED_WITH_WARNINGS
    assert "gone, and nobody has forgotten them" in job.warnings[0]
    assert status_of(copied).count(CopyState.WHOLE) == 1


def test_a_part_of_a_restore_point_that_vanished_is_noticed_by_everybody(copied: Product) -> None:
    """Whoever deletes all but one snapshot of each set must not be taken for a copy that is under way."""
    backup = back_up(copied)
    operations.copy_backups("offsite", settings=copied.settings)
    assert operations.verify_copy("offsite", settings=copied.settings).verification_status is Verdict.PASSED
    (point,) = status_of(copied).points
    lose_snapshot(folder_of(copied), point.snapshots[0])
    checked = operations.check_copy("offsite", read_data=True, settings=copied.settings)
    assert checked.verification_status is Verdict.FAILED
    assert str(backup.id) in checked.findings[0]
    assert [found.backup_id for found in status_of(copied).damaged] == [backup.id]
    with pytest.raises(ConflictError, match="gone from the copy offsite"):
        operations.prune_copy("offsite", grace="0", max_removed="100%", settings=copied.settings)
    job = operations.copy_backups("offsite", settings=copied.settings)
    assert "gone, and nobody has forgotten them" in job.warnings[0]
    (point,) = status_of(copied).points
    assert (point.state, point.outcome, point.verified_at) == (CopyState.WHOLE, None, None), "nobody has read it yet"


def test_what_the_primary_lost_is_a_warning_and_the_rest_arrives(copied: Product) -> None:
    (copied.storage / "media" / "film.bin").unlink()
    good = back_up(copied, "files")
    before = set(packs_of(copied.repository))
    copied.put("media/new.bin", bytes(range(255)) * 500)
    bad = back_up(copied, "files")
    for pack in set(packs_of(copied.repository)) - before:
        flip(pack, 60)
    job = operations.copy_backups("offsite", settings=copied.settings)
    assert job.status is JobStatus.COMPLETED_WITH_WARNINGS
    assert any(str(bad.id)[:8] in warning for warning in job.warnings)
    assert {row.backup_id for row in status_of(copied).points if row.state is CopyState.WHOLE} == {good.id}


def test_a_copy_is_late_once_a_restore_point_has_waited_too_long(copied: Product) -> None:
    backup = back_up(copied)
    status = status_of(copied)
    assert status.lag < timedelta(hours=1)
    assert not status.late
    later = replace(status, as_of=status.as_of + timedelta(hours=27))
    assert later.late
    operations.copy_backups("offsite", settings=copied.settings)
    assert status_of(copied).lag == timedelta(0)
    assert all(lag.copied_at == backup.completed_at for lag in status_of(copied).lags)


def test_two_runs_into_one_copy_exclude_each_other(copied: Product) -> None:
    back_up(copied)
    other = uuid4()
    with operations.open_catalog(copied.settings) as catalog:
        tokens = catalog.leases.acquire([f"{COPIES}offsite"], other)
        with pytest.raises(ConflictError, match="offsite is being copied into by the job"):
            operations.copy_backups("offsite", settings=copied.settings)
        catalog.leases.release(tokens)
    assert operations.copy_backups("offsite", settings=copied.settings).status is JobStatus.COMPLETED


def test_a_cancelled_copy_leaves_whole_snapshots_and_goes_on_later(copied: Product) -> None:
    older, whole = back_up(copied, "files"), back_up(copied)
    stop = threading.Event()
    progress = Acting({f"copy files {str(older.id)[:8]}": stop.set})
    with pytest.raises(CancelledError):
        operations.copy_backups("offsite", settings=copied.settings, progress=progress, stop=stop)
    assert progress.done
    assert originals(folder_of(copied)).keys() == {part.snapshot_id for part in whole.parts}
    assert check(opened_copy(folder_of(copied))).findings == []
    assert operations.copy_backups("offsite", settings=copied.settings).status is JobStatus.COMPLETED
    assert status_of(copied).count(CopyState.WHOLE) == 2


def test_a_copy_that_is_away_says_so_in_job_and_register(copied: Product) -> None:
    back_up(copied)
    folder = folder_of(copied)
    folder.rename(folder.with_name("away"))
    with pytest.raises(InputError):
        operations.copy_backups("offsite", settings=copied.settings)
    assert status_of(copied).row.unreachable_since is not None
    folder.with_name("away").rename(folder)
    operations.copy_backups("offsite", settings=copied.settings)
    assert (status_of(copied).row.trouble, status_of(copied).row.unreachable_since) == ("", None)


def test_another_repository_in_the_place_of_a_copy_is_refused(copied: Product) -> None:
    back_up(copied)
    operations.copy_backups("offsite", settings=copied.settings)
    folder = folder_of(copied)
    folder.rename(folder.with_name("the real one"))
    Repository.create(LocalStore(folder), COPY_PASSPHRASE, cost=QUICK)
    with pytest.raises(ConflictError, match="another repository than before"):
        operations.verify_copy("offsite", settings=copied.settings)
    assert originals(folder) == {}


def test_a_copy_that_is_the_primary_is_refused(copied: Product) -> None:
    back_up(copied)
    copied.configure('location = "' + str(folder_of(copied)), f'location = "{copied.home}/repository')
    copied.configure(f'password_file = "{copied.home}/offsite.passphrase"', 'password_file = "passphrase"')
    with pytest.raises(InputError, match="is the primary repository itself"):
        operations.copy_backups("offsite", settings=copied.settings)


def test_a_verification_of_a_copy_is_the_copys_and_not_the_primarys(copied: Product) -> None:
    backup = back_up(copied)
    operations.copy_backups("offsite", settings=copied.settings)
    job = operations.verify_copy("offsite", settings=copied.settings)
    assert job.verification_status is Verdict.PASSED
    assert job.figures and job.figures.checked and job.figures.checked.bytes_read
    (row,) = status_of(copied).points
    assert row.outcome is Verdict.PASSED
    (primary,) = operations.get_backups(settings=copied.settings)
    assert (primary.id, primary.verification_status) == (backup.id, None)


def test_damage_in_a_copy_is_found_there_and_leaves_the_primary_good(copied: Product) -> None:
    back_up(copied)
    operations.copy_backups("offsite", settings=copied.settings)
    for pack in packs_of(folder_of(copied)):
        flip(pack)
    job = operations.verify_copy("offsite", settings=copied.settings)
    assert job.verification_status is Verdict.FAILED
    assert status_of(copied).damaged
    assert operations.verify_backup("latest", settings=copied.settings).verification_status is Verdict.PASSED
    checked = operations.check_copy("offsite", settings=copied.settings, read_data=True)
    assert checked.verification_status is Verdict.FAILED


def test_a_check_of_every_byte_proves_every_restore_point_of_the_copy(copied: Product) -> None:
    back_up(copied)
    back_up(copied, "files")
    operations.copy_backups("offsite", settings=copied.settings)
    job = operations.check_copy("offsite", settings=copied.settings, read_data=True)
    assert job.verification_status is Verdict.PASSED
    assert [row.outcome for row in status_of(copied).points] == [Verdict.PASSED, Verdict.PASSED]


def test_the_next_to_be_proved_is_the_newest_without_a_proof(copied: Product) -> None:
    back_up(copied, "files")
    newer = back_up(copied, "files")
    operations.copy_backups("offsite", settings=copied.settings)
    first = operations.verify_copy("offsite", settings=copied.settings)
    assert first.asked == f"backup {newer.id}"
    second = operations.verify_copy("offsite", settings=copied.settings)
    assert second.asked != first.asked
    third = operations.verify_copy("offsite", settings=copied.settings)
    assert third.asked == first.asked


def test_what_is_not_in_a_copy_cannot_be_verified_there(copied: Product) -> None:
    back_up(copied)
    with pytest.raises(NotFoundError, match="has no whole restore point yet"):
        operations.verify_copy("offsite", settings=copied.settings)
    with pytest.raises(NotFoundError, match="no copy is named 'elsewhere'"):
        operations.copy_backups("elsewhere", settings=copied.settings)


def test_a_queued_copy_that_cannot_start_fails_in_its_row(copied: Product) -> None:
    back_up(copied)
    queued = operations.queue_copy("offsite", settings=copied.settings)
    folder_of(copied).rename(folder_of(copied).with_name("away"))
    with pytest.raises((InputError, UnreachableError)):
        operations.copy_backups("offsite", settings=copied.settings, job_id=queued)
    with operations.open_catalog(copied.settings) as catalog:
        row = catalog.maintenance.get(queued)
    assert (row.status, row.store) == (JobStatus.FAILED, "offsite")
    assert row.error
