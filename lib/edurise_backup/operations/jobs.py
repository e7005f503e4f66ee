"""Run a job: its row is written before the work begins, told while it goes on, and ended whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from uuid import UUID

from edurise_backup.catalog.heartbeat import JobReporter
from edurise_backup.catalog.lifecycle import Jobs
from edurise_backup.catalog.records import JobRecord, kind_of
from edurise_backup.catalog.rows import RecordT
from edurise_backup.errors import (
    AwaitingApprovalError,
    BackupError,
    CancelledError,
    ConflictError,
    ToolError,
    UnderWayError,
)
from edurise_backup.model.jobs import JobId, JobStatus, Phase
from edurise_backup.monitoring.logs import LoggedProgress, log_event
from edurise_backup.monitoring.redaction import REDACTOR
from edurise_backup.operations.errands import Errand
from edurise_backup.ports import Progress

_UNEXPECTED = "an unexpected error ended the job"
_REPORT = "see the log, and report it"


def run_job(
    jobs: Jobs[RecordT],
    job: RecordT,
    work: Callable[[JobReporter, RecordT], RecordT],
    *,
    keep: Callable[[RecordT], None],
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    errand: Errand | None = None,
) -> RecordT:
    """Create the row unless it was queued, do the work, `keep` the result, write how it ended, and return the row.

    What is kept is what the row will say, to the last figure. Whatever `work`
    raises is raised again, after the row says failed (or cancelled). `errand`:
    what it asks of the store ends with it, and is written down whatever the end.
    """
    jobs.create(job)
    if flow_run_id is not None:
        jobs.attach_flow_run(job.id, flow_run_id)
    started = jobs.start(job.id)
    log_event("job_started", f"{kind_of(job)} {job.id} started", **_named(job, flow_run_id))
    logged = LoggedProgress(job.id, kind_of(job).value, progress)
    reporter = JobReporter(jobs, job.id, also=logged, stop=stop, clock=jobs.clock)
    if errand is not None:
        errand.follow(reporter)
    try:
        with reporter:
            done = work(reporter, started)
        if errand is not None:
            errand.end()
        done = _final(jobs, reporter, done)
        keep(done)
    except BackupError as error:
        cause = _without_secrets(_cause(reporter, error))
        _end(jobs, reporter, _told(started, _status(cause), cause))
        if cause is error:
            raise
        raise cause from error
    except BaseException as error:
        _end(jobs, reporter, _broken_off(started, error))
        if isinstance(error, Exception) and REDACTOR.clean(str(error)) != str(error):
            raise BackupError(f"{_UNEXPECTED}: {REDACTOR.clean(repr(error))}", hint=_REPORT) from None
        raise
    finally:
        if errand is not None:
            errand.note(job, jobs.clock())
    if not jobs.finish(done):
        raise ConflictError(
            f"the job {job.id} was taken for dead and ended by somebody else while it went on",
            safe="what it published is whole; `rebuild-catalog` lists it again",
            hint="check this host's clock and its connection to the catalog",
        )
    _log_end(done)
    return jobs.get(job.id)


@contextmanager
def told_in_row(jobs: Jobs[RecordT], job_id: JobId | None) -> Iterator[None]:
    """Have a queued job fail in its row, too, when what must hold before it starts does not."""
    try:
        yield
    except BackupError as error:
        if job_id is not None:
            with suppress(BackupError):  # the first error counts
                queued = jobs.get(job_id)
                if queued.status is JobStatus.QUEUED:
                    jobs.finish(_told(queued, _status(error), error))
        raise


def _status(error: BackupError) -> JobStatus:
    """Return how a job ended: one that waits for a person, or that another job does, was not begun."""
    not_begun = CancelledError | AwaitingApprovalError | UnderWayError
    return JobStatus.CANCELLED if isinstance(error, not_begun) else JobStatus.FAILED


def storable(sentence: str) -> str:
    """Return a sentence as a row may hold it: without secrets; a byte of a name that is not UTF-8 becomes `\\xNN`."""
    return REDACTOR.clean(sentence).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _cause(reporter: JobReporter, error: BackupError) -> BackupError:
    """Return why the job ended: Ctrl-C in a terminal kills the programs that we run, too, and they fail first."""
    if isinstance(error, ToolError):
        try:
            reporter.raise_if_cancelled()
        except CancelledError as cancelled:
            return cancelled
    return error


def _without_secrets(error: BackupError) -> BackupError:
    """Clean an error where it leaves the job: from here it goes to rows, logs, Prefect and people."""
    error.message, error.safe, error.hint = map(REDACTOR.clean, (error.message, error.safe, error.hint))
    error.args = (error.message,)
    return error


def _broken_off(job: RecordT, error: BaseException) -> RecordT:
    if isinstance(error, KeyboardInterrupt):  # the second request to stop, which waits for nothing
        safe = "what was published before it is whole"
        return _told(job, JobStatus.CANCELLED, CancelledError("the job was stopped at once", safe=safe))
    return _told(job, JobStatus.FAILED, BackupError(f"{_UNEXPECTED}: {type(error).__name__}", hint=_REPORT))


def _told(job: RecordT, status: JobStatus, error: BackupError) -> RecordT:
    text = error.message + (f" Safe: {error.safe}." if error.safe else "")
    return replace(job, status=status, error=storable(text), hint=storable(error.hint) or None)


def _end(jobs: Jobs[RecordT], reporter: JobReporter, job: RecordT) -> None:
    _log_end(job)
    jobs.finish(_final(jobs, reporter, job))


def _log_end(job: JobRecord) -> None:
    text = f"{kind_of(job)} {job.id} ended: {job.status.value}"
    log_event(
        "job_ended", text, **_named(job, job.flow_run_id), status=job.status.value, error=job.error, hint=job.hint
    )


def _named(job: JobRecord, flow_run_id: UUID | None) -> dict[str, object]:
    run = {"flow_run_id": str(flow_run_id)} if flow_run_id else {}
    return {"job_id": str(job.id), "kind": kind_of(job).value, **run}


def _final(jobs: Jobs[RecordT], reporter: JobReporter, job: RecordT) -> RecordT:
    """Return the job as its row will be once it has ended."""
    now, phases = jobs.clock(), reporter.phases()
    last = phases[-1] if phases else None
    return replace(
        job,
        completed_at=now,
        heartbeat_at=now,
        phase=last.name if last else None,
        progress=_share(last) if last else None,
        phases=phases,
        usage=reporter.usage(sent_bytes=job.usage.sent_bytes),
    )


def _share(phase: Phase) -> float | None:
    if phase.bytes_total is None:
        return None
    return min(1.0, phase.bytes_done / phase.bytes_total) if phase.bytes_total else 1.0
