"""The repository's disk is full in the middle of a backup: a failed job, and nothing else is harmed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.errors import SpaceError
from edurise_backup.model.jobs import BackupFilters, BackupJob, JobStatus, RecoveryTarget, Verdict
from edurise_backup.postgres.connection import Address
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.catalog import Product, command_line, environment, run
from tests.support.restic import Restic

LIMIT_KIB = 1024


def failed_row(product: Product) -> BackupJob:
    (job,) = operations.get_backups(BackupFilters(status=JobStatus.FAILED), settings=product.settings)
    return job


def assert_goes_on(product: Product, before: BackupJob, tmp_path: Path) -> None:
    """What was there restores, both clients find nothing wrong, and the next backup succeeds."""
    assert engine.check(engine.opened(LocalStore(product.repository))).findings == []
    Restic(product.repository, tmp_path / "restic").check()
    assert operations.verify_backup(before.id, settings=product.settings).verification_status is Verdict.PASSED
    again = run(product, "backup", "files")
    assert again.returncode == 0, again.stderr
    latest = operations.initiate_recovery(
        "latest", RecoveryTarget(str(tmp_path / "restored")), settings=product.settings
    )
    assert latest.verification_status is Verdict.PASSED


def test_a_pack_that_does_not_fit_fails_the_job_and_nothing_else(files_product: Product, tmp_path: Path) -> None:
    before = operations.create_backup("files", settings=files_product.settings)
    files_product.put("media/new.bin", os.urandom(4 * LIMIT_KIB * 1024))
    # sh counts 512 bytes; a write beyond the limit fails in that process as on a full disk
    limited = ["sh", "-c", f'ulimit -f {LIMIT_KIB * 2} && exec "$@"', "sh", *command_line("backup", "files")]
    told = subprocess.run(
        limited, env=environment(files_product.settings_path), capture_output=True, text=True, check=False, timeout=60
    )
    assert told.returncode == SpaceError.exit_status, told.stderr
    assert "To do: " in told.stderr
    assert "Safe: " in told.stderr
    job = failed_row(files_product)
    assert job.error
    assert job.parts == ()
    assert_goes_on(files_product, before, tmp_path)


SCRIPT = """
set -eu
cp -a "$REPOSITORY" "$REPOSITORY.copy"
mount -t tmpfs -o size=2m tmpfs "$REPOSITORY"
cp -a "$REPOSITORY.copy/." "$REPOSITORY"
status=0
"$@" || status=$?
rm -rf "$REPOSITORY.copy"
cp -a "$REPOSITORY" "$REPOSITORY.after"
exit $status
"""


def may_mount() -> bool:
    probe = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not may_mount(), reason="this machine lets nobody mount a small disk in a namespace of their own")
def test_a_disk_without_a_free_byte_fails_the_job_and_nothing_else(
    files_product: Product, tmp_path: Path, catalog_database: Address
) -> None:
    # in a namespace of its own not even root enters the folder of the server's socket
    files_product.configure(f"host={catalog_database.host} ", "host=127.0.0.1 ")
    before = operations.create_backup("files", settings=files_product.settings)
    for number in range(8):
        files_product.put(f"media/new {number}.bin", os.urandom(600_000))
    told = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", SCRIPT, "sh", *command_line("backup", "files")],
        env=environment(files_product.settings_path, {"REPOSITORY": str(files_product.repository)}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert told.returncode == SpaceError.exit_status, told.stderr
    assert "no room left" in told.stderr
    assert failed_row(files_product).parts == ()
    # what the small disk held in the end goes where a disk has room
    files_product.repository.rename(tmp_path / "old")
    files_product.repository.with_name("repository.after").rename(files_product.repository)
    assert_goes_on(files_product, before, tmp_path)
