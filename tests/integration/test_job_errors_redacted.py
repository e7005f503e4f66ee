"""A job's error goes to its row, to Prefect, to logs and to people: without secrets from where it leaves the job."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from edurise_backup.catalog.jobs import BackupJobs
from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.errors import BackupError, SourceError
from edurise_backup.model.jobs import BackupJob, BackupType, JobId, JobStatus
from edurise_backup.monitoring.redaction import REDACTOR
from edurise_backup.operations.jobs import run_job
from edurise_backup.postgres.connection import Address

SECRET = "canary-of-a-job-5e1d"


@pytest.fixture
def jobs(catalog_database: Address) -> Iterator[BackupJobs]:
    with Sessions.to(catalog_database) as sessions:
        migrate(sessions)
        yield BackupJobs(sessions)


@pytest.mark.parametrize(
    "error",
    [
        SourceError(f"the server said {SECRET}", safe=f"not {SECRET}", hint=f"ask {SECRET}"),
        ValueError(f"a driver quotes postgresql://ana:{SECRET}@h/db"),
    ],
)
def test_an_error_that_quotes_a_secret_is_cleaned_in_the_row_and_for_whoever_catches_it(
    jobs: BackupJobs, error: Exception
) -> None:
    REDACTOR.learn(SECRET)
    job = BackupJob(JobId(uuid4()), BackupType.FILES, JobStatus.QUEUED)

    def work(_reporter: object, _job: BackupJob) -> BackupJob:
        raise error

    with pytest.raises(BackupError) as caught:
        run_job(jobs, job, work, keep=lambda _done: None)
    told = [str(caught.value), repr(caught.value), *caught.value.lines()]
    row = jobs.get(job.id)
    assert row.status is JobStatus.FAILED
    assert SECRET not in "\n".join([*told, row.error or "", row.hint or ""])
    assert "***" in caught.value.message


def test_an_error_without_a_secret_stays_what_it_is(jobs: BackupJobs) -> None:
    job = BackupJob(JobId(uuid4()), BackupType.FILES, JobStatus.QUEUED)

    def work(_reporter: object, _job: BackupJob) -> BackupJob:
        raise ZeroDivisionError("nothing to hide")

    with pytest.raises(ZeroDivisionError):
        run_job(jobs, job, work, keep=lambda _done: None)
