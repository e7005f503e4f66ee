"""One backup of a source at a time: a second one is refused, a paused one publishes nothing, a dead one lets go."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from uuid import uuid4

import pytest

from edurise_backup import operations
from edurise_backup.catalog.leases import Leases
from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.errors import ConflictError, TransientError, UnreachableError
from edurise_backup.model.alarms import AlarmKind
from edurise_backup.model.jobs import BackupFilters, BackupJob, BackupType, JobStatus
from edurise_backup.operations.leases import HeldLeases
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.stores.local import LocalStore
from flows.processes import wait_until
from tests.faults.test_operations_kill import doomed, hold_before_files, started
from tests.support.catalog import Acting, Product, opened
from tests.support.engine import opened as repository_of

__all__ = ["doomed"]


def jobs(product: Product, status: JobStatus) -> list[BackupJob]:
    return operations.get_backups(BackupFilters(status=status), settings=product.settings)


def snapshots(product: Product) -> int:
    return len(repository_of(LocalStore(product.repository)).snapshots())


def test_a_second_backup_of_a_source_is_refused_and_leaves_no_row(files_product: Product) -> None:
    refused: list[ConflictError] = []

    def second() -> None:
        with pytest.raises(ConflictError, match="files/uploads is being backed up by the job") as told:
            operations.create_backup(BackupType.FILES, settings=files_product.settings)
        refused.append(told.value)
        operations.create_backup(BackupType.CONFIGURATION, settings=files_product.settings)  # another source may run

    progress = Acting({"files": second})
    operations.create_backup(BackupType.FILES, settings=files_product.settings, progress=progress)
    assert progress.done
    assert [error.exit_status for error in refused] == [2]
    assert len(jobs(files_product, JobStatus.COMPLETED)) == 2
    with opened(files_product) as catalog:
        assert catalog.leases.held() == ()


def test_a_backup_whose_lease_went_to_somebody_else_publishes_nothing(files_product: Product) -> None:
    def steal() -> None:
        with opened(files_product) as catalog, catalog.sessions.transaction() as connection:
            connection.execute(
                "UPDATE leases SET token = nextval('lease_tokens'), holder = %s WHERE name = 'files/uploads'",
                (uuid4(),),
            )

    with pytest.raises(ConflictError, match="has gone to somebody else"):
        operations.create_backup(BackupType.FILES, settings=files_product.settings, progress=Acting({"files": steal}))
    assert snapshots(files_product) == 0
    (job,) = jobs(files_product, JobStatus.FAILED)
    assert "has gone to somebody else" in (job.error or "")
    with opened(files_product) as catalog:
        assert [alarm.kind for alarm in catalog.alarms.open()] == [AlarmKind.LEASE_STOLEN]
        assert [lease.name for lease in catalog.leases.held()] == ["files/uploads"]  # the other's is left alone


def test_a_catalog_that_is_away_does_not_cost_the_lease_until_it_has_run_out(catalog_database: Address) -> None:
    there, seconds = [True], [0.0]

    def open_connection() -> Connection:
        if not there[0]:
            raise UnreachableError("the catalog does not answer")
        return connect(catalog_database, application_name="tests")

    with Sessions(open_connection, patience=timedelta(0)) as sessions:
        migrate(sessions)
        leases = Leases(sessions)
        held = HeldLeases(leases, leases.acquire(["files/uploads"], uuid4()), seconds=lambda: seconds[0])
        sessions.close()
        there[0] = False
        held.confirm()
        seconds[0] = leases.length.total_seconds()
        with pytest.raises(TransientError, match="cannot be proved"):
            held.confirm()
        there[0] = True
        held.confirm()
        held.release()
        assert leases.held() == ()


def test_a_killed_backup_lets_go_of_its_source_at_once(doomed: Product) -> None:
    hold_before_files(doomed)
    with started(doomed, "files") as process:
        wait_until((doomed.home / "held").exists, "the backup that holds the source", seconds=60)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    (doomed.home / "hold").unlink()
    job = operations.create_backup(BackupType.FILES, settings=doomed.settings)
    assert job.status is JobStatus.COMPLETED
    assert len(jobs(doomed, JobStatus.FAILED)) == 1
