"""A recovery takes its bytes from the nearest store that has them whole, and goes on when that one fails."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.errors import DamageError, InputError, NotFoundError, UnreachableError
from edurise_backup.model.jobs import BackupJob, RecoveryJob, RecoveryTarget, Verdict
from edurise_backup.ports import Store
from edurise_backup.stores.local import LocalStore
from tests.support.catalog import Product
from tests.support.copies import add_copy, flip, packs_of, with_stores
from tests.support.stores import Fault, FaultyStore


@pytest.fixture
def copied(files_product: Product) -> Product:
    """Give a product whose one full backup lies in the primary and in two copies."""
    for name in ("near", "far"):
        add_copy(files_product, name)
    files_product.put("media/long.bin", random.Random(7).randbytes(2_000_000))
    operations.create_backup("full", settings=files_product.settings)
    for name in ("near", "far"):
        operations.copy_backups(name, settings=files_product.settings)
    return files_product


def folder_of(product: Product, name: str) -> Path:
    return product.repository if name == "primary" else product.home / "copies" / name


def damage(product: Product, *names: str) -> None:
    """Flip a byte in every pack of these stores: sizes stay, so it is found when the bytes are read."""
    for name in names:
        for pack in packs_of(folder_of(product, name)):
            flip(pack, pack.stat().st_size // 3)


def recover(product: Product, store: str = "", *, around: Sequence[Fault] = ()) -> RecoveryJob:
    settings = product.settings
    if around:

        def put(found: Store) -> Store:
            return FaultyStore(found, *around) if found.address == str(product.repository) else found

        settings = with_stores(settings, put)
    target = RecoveryTarget(str(product.home / "target"), store=store)
    return operations.initiate_recovery("latest", target, settings=settings)


def assert_equal(product: Product, job: RecoveryJob) -> None:
    assert job.verification_status is Verdict.PASSED
    assert product.restored_differences(product.home / "target") == []


def test_the_primary_serves_while_it_is_whole(copied: Product) -> None:
    job = recover(copied)
    assert_equal(copied, job)
    assert job.stores == ("primary",)


def test_a_primary_that_is_gone_costs_nothing(copied: Product) -> None:
    shutil.rmtree(copied.repository)
    job = recover(copied)
    assert_equal(copied, job)
    assert job.stores == ("near",)
    assert job.store_notes[0].startswith("primary was passed over: ")
    assert job.store_notes[1].startswith("near serves: ")


def test_a_store_that_lacks_packs_is_passed_over(copied: Product) -> None:
    for name in ("primary", "near"):
        for pack in packs_of(folder_of(copied, name)):
            pack.unlink()
    job = recover(copied)
    assert_equal(copied, job)
    assert job.stores == ("far",)


def test_damage_that_shows_in_the_middle_is_made_up_for_by_the_next_store(copied: Product) -> None:
    media = max(packs_of(copied.repository), key=lambda pack: pack.stat().st_size)
    flip(media, media.stat().st_size // 2)
    job = recover(copied)
    assert_equal(copied, job)
    assert job.stores == ("primary", "near")
    assert any(note.startswith("near stepped in for primary: ") for note in job.store_notes)


def test_two_damaged_stores_make_up_for_each_other(copied: Product) -> None:
    largest = max(packs_of(copied.repository), key=lambda pack: pack.stat().st_size)
    flip(largest, largest.stat().st_size // 2)
    for pack in packs_of(folder_of(copied, "near")):
        pack.unlink()
    job = recover(copied)
    assert_equal(copied, job)
    assert job.stores == ("primary", "far")


def test_a_primary_that_dies_in_the_middle_is_replaced_without_starting_over(copied: Product) -> None:
    def away() -> UnreachableError:
        return UnreachableError("the server has gone")

    largest = max(packs_of(copied.repository), key=lambda pack: pack.stat().st_size)
    faults = [
        Fault("get", str(largest.relative_to(copied.repository)), away, times=10_000),
        Fault("delete", "locks/", away, times=10_000),
    ]
    job = recover(copied, around=faults)
    assert_equal(copied, job)
    assert faults[0].fired
    assert job.stores == ("primary", "near")


def test_damage_everywhere_fails_and_writes_no_wrong_byte(copied: Product) -> None:
    largest = [max(packs_of(folder_of(copied, name)), key=lambda pack: pack.stat().st_size) for name in STORES]
    for pack in largest:
        for at in range(1000, pack.stat().st_size, 50_000):
            flip(pack, at)
    with pytest.raises(DamageError, match="cannot be restored"):
        recover(copied)
    whole = {path.name: path.read_bytes() for path in copied.storage.rglob("*") if path.is_file()}
    for path in (copied.home / "target").rglob("*"):
        if path.is_file() and path.name in whole:
            written = path.read_bytes()
            assert all(one in (0, other) for one, other in zip(written, whole[path.name], strict=False)), path


STORES = ("primary", "near", "far")


@pytest.mark.parametrize("name", STORES)
def test_a_store_can_be_forced(copied: Product, name: str) -> None:
    job = recover(copied, name)
    assert_equal(copied, job)
    assert job.stores == (name,)


def test_a_forced_store_that_is_damaged_fails_and_asks_no_other(copied: Product) -> None:
    damage(copied, "near")
    with pytest.raises(DamageError):
        recover(copied, "near")


def test_an_unknown_store_is_refused(copied: Product) -> None:
    with pytest.raises(NotFoundError, match="no store is named 'moon'"):
        recover(copied, "moon")


def test_without_any_store_the_error_names_each(copied: Product) -> None:
    for name in STORES:
        shutil.rmtree(folder_of(copied, name))
    with pytest.raises(UnreachableError, match=r"primary: .*near: .*far: "):
        recover(copied)


def test_what_the_primary_is_known_to_have_lost_is_recovered_from_a_copy(copied: Product) -> None:
    (backup,) = operations.get_backups(settings=copied.settings)
    for part in backup.parts:
        (copied.repository / "snapshots" / part.snapshot_id).unlink()
    operations.check_repository(settings=copied.settings)
    (lost,) = operations.get_backups(settings=copied.settings)
    assert lost.missing_since is not None
    job = recover(copied)
    assert_equal(copied, job)
    assert job.stores == ("near",)


def test_a_backup_that_is_in_no_copy_is_recovered_from_the_primary_alone(files_product: Product) -> None:
    add_copy(files_product)
    backup: BackupJob = operations.create_backup("full", settings=files_product.settings)
    job = recover(files_product)
    assert (job.backup_id, job.stores) == (backup.id, ("primary",))
    shutil.rmtree(files_product.repository)
    LocalStore(files_product.repository)
    with pytest.raises(InputError):
        operations.initiate_recovery(
            backup.id, RecoveryTarget(str(files_product.home / "second")), settings=files_product.settings
        )
