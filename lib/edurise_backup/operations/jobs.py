"""Run a job: its row is written before the work begins, told while it goes on, and ended whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from edurise_backup.catalog.heartbeat import JobReporter
from edurise_backup.catalog.lifecycle import Jobs
from edurise_backup.catalog.rows import RecordT
from edurise_backup.errors import BackupError, CancelledError, ConflictError
from edurise_backup.model.jobs import JobStatus
from edurise_backup.ports import Progress


def run_job(
    jobs: Jobs[RecordT],
    job: RecordT,
    work: Callable[[JobReporter, RecordT], RecordT],
    *,
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> RecordT:
    """Create the row unless it was queued, do the work, write how it ended, and return the row.

    Whatever `work` raises is raised again, after the row says failed (or cancelled).
    """
    jobs.create(job)
    if flow_run_id is not None:
        jobs.attach_flow_run(job.id, flow_run_id)
    started = jobs.start(job.id)
    reporter = JobReporter(jobs, job.id, also=progress, stop=stop)
    try:
        with reporter:
            done = work(reporter, started)
    except CancelledError as error:
        _end(jobs, reporter, _told(started, JobStatus.CANCELLED, error))
        raise
    except BackupError as error:
        _end(jobs, reporter, _told(started, JobStatus.FAILED, error))
        raise
    except BaseException as error:
        unexpected = BackupError(
            f"an unexpected error ended the job: {type(error).__name__}", hint="see the log, and report it"
        )
        _end(jobs, reporter, _told(started, JobStatus.FAILED, unexpected))
        raise
    if not _end(jobs, reporter, done):
        raise ConflictError(
            f"the job {job.id} was taken for dead and ended by somebody else while it went on",
            safe="what it published is whole; `rebuild-catalog` lists it again",
            hint="check this host's clock and its connection to the catalog",
        )
    return jobs.get(job.id)


def _told(job: RecordT, status: JobStatus, error: BackupError) -> RecordT:
    text = error.message + (f" Safe: {error.safe}." if error.safe else "")
    return replace(job, status=status, error=text, hint=error.hint or None)


def _end(jobs: Jobs[RecordT], reporter: JobReporter, job: RecordT) -> bool:
    usage = reporter.usage(sent_bytes=job.usage.sent_bytes)
    return jobs.finish(replace(job, completed_at=datetime.now(UTC), usage=usage))
