"""A verification of a backup proves packs: a later check of everything knows that, and reads them last."""

from __future__ import annotations

from edurise_backup import operations
from edurise_backup.model.jobs import BackupType, Verdict
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.stores.local import LocalStore
from edurise_backup.verification.checker import check
from tests.support import engine
from tests.support.catalog import Product


def test_a_verified_backup_counts_as_proved(files_product: Product) -> None:
    job = operations.create_backup(BackupType.FILES, settings=files_product.settings)
    verified = operations.verify_backup(job.id, settings=files_product.settings)
    assert verified.verification_status is Verdict.PASSED
    assert verified.blobs
    found = check(engine.opened(LocalStore(files_product.repository)), progress=SilentProgress())
    assert found.sound
    assert (found.coverage.never, found.coverage.within_percent) == (0, 100.0)
