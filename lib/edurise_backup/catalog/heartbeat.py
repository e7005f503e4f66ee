"""Report a job's progress to its row while it runs, from a thread of its own.

The catalog may go away meanwhile: the work goes on, and the next sign of life
that gets through tells everything. What was counted never waits for the catalog.
"""

from __future__ import annotations

import resource
import threading
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

from edurise_backup.catalog.lifecycle import Beat, Standing
from edurise_backup.errors import BackupError, CancelledError
from edurise_backup.model.jobs import JobId, JobStatus, Phase, Usage
from edurise_backup.ports import Clock, Progress, utc_now

_INTERVAL = timedelta(seconds=2)
_FLUSH_PATIENCE = timedelta(seconds=5)
_JOIN_SECONDS = 15


class Beats(Protocol):
    """The rows of one kind of job."""

    def beat(self, job_id: UUID, beat: Beat, *, patience: timedelta | None = None) -> Standing:
        """Write a sign of life of a running job."""


class JobReporter:
    """A job's `ports.Progress`: writes phase, progress and a heartbeat every `interval`.

    Used as a context manager around the work, after `Jobs.start` and before
    `Jobs.finish`. `also` hears the same (a terminal); `stop` is an event that
    asks the work to stop, beside the request in the job's row. At the end the
    last counts are tried for `flush_patience`.
    """

    def __init__(
        self,
        jobs: Beats,
        job_id: JobId,
        *,
        interval: timedelta = _INTERVAL,
        flush_patience: timedelta = _FLUSH_PATIENCE,
        also: Progress | None = None,
        stop: threading.Event | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._jobs = jobs
        self._job_id = job_id
        self._interval = interval
        self._flush_patience = flush_patience
        self._also = also
        self._stop = stop
        self._clock = clock
        self._cpu_before = _cpu_seconds()
        self._lock = threading.Lock()  # guards the phases and counts
        self._phases: list[Phase] = []
        self._written: dict[int, Phase] = {}
        self._bytes_done = 0
        self._files_done = 0
        self._cancelled = threading.Event()
        self._wake = threading.Event()
        self._closing = False
        self._fault: BackupError | None = None
        self._ended_as: JobStatus | None = None
        self._thread = threading.Thread(target=self._report, name="job-heartbeat", daemon=True)

    @property
    def fault(self) -> BackupError | None:
        """Why the last sign of life did not reach the catalog; None when it did."""
        return self._fault

    @property
    def ended_as(self) -> JobStatus | None:
        """How the row ended while the work went on (a reconciler took the job for dead); None: it did not."""
        return self._ended_as

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        """Begin the phase `name`; the one before has ended."""
        with self._lock:
            self._end_phase()
            self._phases.append(Phase(name, self._clock(), bytes_total=bytes_total))
        self._wake.set()
        if self._also is not None:
            self._also.phase(name, bytes_total=bytes_total)

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Count what was done in this phase; called from any thread."""
        with self._lock:
            self._bytes_done += bytes_done
            self._files_done += files_done
        if self._also is not None:
            self._also.advance(bytes_done=bytes_done, files_done=files_done)

    def raise_if_cancelled(self) -> None:
        """Raise `CancelledError` when a person asked to stop."""
        if self._cancelled.is_set() or (self._stop is not None and self._stop.is_set()):
            raise CancelledError(
                "the job was cancelled", safe="what was published before it is whole", hint="start it again"
            )
        if self._also is not None:
            self._also.raise_if_cancelled()

    def usage(self, *, sent_bytes: int = 0) -> Usage:
        """Return what the job has cost since this reporter was made; children count once they have ended."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
        return Usage(max(0.0, _cpu_seconds() - self._cpu_before), peak, sent_bytes)

    def phases(self) -> tuple[Phase, ...]:
        """Return the phases up to now; the last has no end while it goes on."""
        with self._lock:
            return tuple(self._current())

    def close(self) -> None:
        """End the last phase, write what is left, and stop the thread; may be called again."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._end_phase()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_SECONDS)
        if not self._thread.is_alive():  # else it waits for a server that will not answer us either
            self._write(self._flush_patience)

    def _report(self) -> None:
        while not self._closing and self._ended_as is None:
            self._write(self._interval)
            self._wake.wait(self._interval.total_seconds())
            self._wake.clear()

    def _write(self, patience: timedelta) -> None:
        with self._lock:
            phases = self._current()
        changed = [(at, phase) for at, phase in enumerate(phases) if self._written.get(at) != phase]
        latest = phases[-1] if phases else None
        beat = Beat(
            phase=latest.name if latest else None,
            progress=_share(latest) if latest else None,
            usage=self.usage(),
            phases=changed,
        )
        try:
            standing = self._jobs.beat(self._job_id, beat, patience=patience)
        except BackupError as error:  # whatever ails the catalog, the work goes on; the next beat tells it all
            self._fault = error
            return
        self._fault = None
        self._written.update(changed)
        if standing.status.ended:
            self._ended_as = standing.status
        if standing.cancel_requested or standing.status is JobStatus.CANCELLED:
            self._cancelled.set()

    def _current(self) -> list[Phase]:
        if not self._phases or self._phases[-1].completed_at is not None:
            return list(self._phases)
        latest = replace(self._phases[-1], bytes_done=self._bytes_done, files_done=self._files_done)
        return [*self._phases[:-1], latest]

    def _end_phase(self) -> None:
        if self._phases and self._phases[-1].completed_at is None:
            began = self._phases[-1].started_at
            # the clock may have been set back meanwhile
            self._phases[-1] = replace(self._current()[-1], completed_at=max(began, self._clock()))
        self._bytes_done = self._files_done = 0


def _share(phase: Phase) -> float | None:
    if phase.bytes_total is None:
        return None
    return min(1.0, phase.bytes_done / phase.bytes_total) if phase.bytes_total else 1.0


def _cpu_seconds() -> float:
    # getrusage counts in microseconds, os.times in hundredths of a second
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in spent)
