"""When a task is tried again, and how an error of the library becomes a run's message.

Only a whole operation that failed with `TransientError` is repeated, here and
nowhere else: single calls are retried inside the library already. No result is
kept by Prefect; a failed run's exception is written to its disk even so, as
JSON (`result_serializer`), because a pickle can be made to run code.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import wraps
from threading import current_thread, main_thread
from typing import ParamSpec, TypeVar
from uuid import UUID

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run, task_run
from prefect.states import Cancelled

from edurise_backup.errors import BackupError, CancelledError, TransientError
from edurise_backup.model.jobs import JobId
from edurise_backup.monitoring.logs import log_json_where_asked
from edurise_backup.monitoring.redaction import REDACTOR, protect_logs

P = ParamSpec("P")
R = TypeVar("R")

RETRIES = 3
RETRY_DELAYS = [10.0, 60.0, 300.0]
"""Seconds before each further attempt."""


def is_transient(task: Task[..., object], task_run: TaskRun, state: State[object]) -> bool:
    """Tell Prefect whether another attempt may succeed (a `retry_condition_fn`)."""
    return isinstance(state.result(raise_on_failure=False), TransientError)


def whole_operation(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function the task of a flow, repeated when it failed with `TransientError`."""
    return task(
        name=name,
        retries=RETRIES,
        retry_delay_seconds=RETRY_DELAYS,
        retry_jitter_factor=0.2,
        retry_condition_fn=is_transient,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


def queued_row(job_id: UUID | None) -> JobId | None:
    """Return the row that was queued for this run; a repetition of its task makes a row of its own."""
    return JobId(job_id) if job_id and task_run.run_count == 1 else None


def told_in_full(flow_body: Callable[P, str | State[object]]) -> Callable[P, str | State[object]]:
    """Make an error's three parts (what happened, what is safe, what to do) the run's message.

    Prefect shows an exception's text only, and `BackupError` keeps two parts
    beside it. A run that a person stopped ends as Cancelled, not as Failed.
    """

    @wraps(flow_body)
    def body(*args: P.args, **kwargs: P.kwargs) -> str | State[object]:
        if current_thread() is main_thread():
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # stock `restic unlock` asks so whether a lock's process lives
        log_json_where_asked(os.environ)
        protect_logs()
        try:
            return flow_body(*args, **kwargs)
        except CancelledError as error:
            return Cancelled(message=REDACTOR.clean("\n".join(error.lines())))
        except BackupError as error:
            raise type(error)(REDACTOR.clean("\n".join(error.lines()))) from error

    return body


def current_flow_run() -> UUID:
    """Return the id of the run that this is; the job row carries it, so that both can be laid side by side."""
    return UUID(str(flow_run.id))
