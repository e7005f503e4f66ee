"""Phases of an operation as tasks of a run, on Prefect's own server (test harness)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State, TaskRun

from edurise_backup.errors import CancelledError, SourceError, TransientError
from edurise_backup.ports import Progress
from flows.phases import PhaseFeed, run_showing_phases
from flows.policies import current_flow_run, is_transient, told_in_full

MOMENT = threading.Event().wait  # an interruptible pause inside an operation that stands for work


pytestmark = pytest.mark.usefixtures("prefect_server")


def run_of(act: Callable[[Progress], str]) -> State[str]:
    @flow(name="example", persist_result=False)
    @told_in_full
    def example() -> str:
        return run_showing_phases(act)

    return example(return_state=True)


def tasks_of(state: State[str]) -> dict[str, TaskRun]:
    run_id = state.state_details.flow_run_id
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
    return {run.name: run for run in runs}


def settled_tasks(state: State[str], count: int) -> dict[str, TaskRun]:
    """Return the run's tasks once the server has written them all: they reach it as events."""
    for _ in range(100):
        tasks = tasks_of(state)
        if len(tasks) == count and all(task.state and task.state.is_final() for task in tasks.values()):
            return tasks
        MOMENT(0.1)
    raise AssertionError(f"the server knows {sorted(tasks)}")


def test_every_phase_is_a_task_that_lasts_as_long_as_the_phase() -> None:
    def act(progress: Progress) -> str:
        progress.phase("database", bytes_total=10)
        progress.advance(bytes_done=10)
        MOMENT(2.0)
        progress.phase("files")
        return "done"

    state = run_of(act)
    assert state.result() == "done"
    tasks = settled_tasks(state, 2)
    assert {name: run.state_name for name, run in tasks.items()} == {"database": "Completed", "files": "Completed"}
    # a task begins a moment after its phase, on a busy machine a good part of a second
    assert timedelta(seconds=1) < tasks["database"].total_run_time < timedelta(seconds=10)
    assert tasks["files"].total_run_time < timedelta(seconds=1)


def test_a_failure_fails_its_phase_and_its_three_parts_are_the_run_s_message() -> None:
    def act(progress: Progress) -> str:
        progress.phase("database")
        progress.phase("files")
        raise SourceError("the disk is gone", safe="earlier backups", hint="look at the disk")

    state = run_of(act)
    assert state.is_failed()
    assert "the disk is gone\nSafe: earlier backups\nTo do: look at the disk" in (state.message or "")
    tasks = settled_tasks(state, 2)
    assert {name: run.state_name for name, run in tasks.items()} == {"database": "Completed", "files": "Failed"}


def test_an_operation_that_a_person_stopped_ends_the_run_as_cancelled() -> None:
    def act(progress: Progress) -> str:
        raise CancelledError("stopped by a person")

    state = run_of(act)
    assert state.is_cancelled()
    assert state.message == "stopped by a person"


def test_only_transient_faults_are_tried_again() -> None:
    attempts: dict[str, int] = {"transient": 0, "lasting": 0}

    @task(retries=2, retry_delay_seconds=0, retry_condition_fn=is_transient, persist_result=False)
    def work(kind: str) -> str:
        attempts[kind] += 1
        if attempts[kind] < 3:
            raise TransientError("try again") if kind == "transient" else SourceError("never")
        return kind

    @flow(persist_result=False)
    def both() -> str:
        work("lasting", return_state=True)
        return work("transient")

    assert both() == "transient"
    assert attempts == {"transient": 3, "lasting": 1}


def test_the_library_s_log_is_the_run_s_log() -> None:
    def act(progress: Progress) -> str:
        logging.getLogger("edurise_backup.somewhere").info("17 files were taken")
        return "done"

    state = run_of(act)
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[UUID(str(state.state_details.flow_run_id))]))
    for _ in range(100):
        with get_client(sync_client=True) as client:
            lines = [line.message for line in client.read_logs(log_filter=wanted)]
        if "17 files were taken" in lines:
            return
        MOMENT(0.1)
    raise AssertionError(lines)


def test_a_run_knows_its_own_id() -> None:
    seen: list[UUID] = []

    def act(progress: Progress) -> str:
        seen.append(current_flow_run())
        return "done"

    state = run_of(act)
    with get_client(sync_client=True) as client:
        run: FlowRun = client.read_flow_run(seen[0])
    assert run.id == state.state_details.flow_run_id


def test_an_operation_hears_that_it_was_stopped() -> None:
    feed = PhaseFeed()
    feed.raise_if_cancelled()
    feed.cancel()
    with pytest.raises(CancelledError):
        feed.raise_if_cancelled()


class Stop(BaseException):
    """Stands for the signal that Prefect raises in the run's main thread."""


def test_a_stop_signal_lets_the_operation_end_its_job_first() -> None:
    ended: list[str] = []
    begun = threading.Event()

    class Interrupted(PhaseFeed):
        def next_name(self) -> str | None:
            begun.wait(10)
            raise Stop

    def act(progress: Progress) -> str:
        begun.set()
        try:
            while True:
                progress.raise_if_cancelled()
                MOMENT(0.02)
        finally:
            ended.append("job row written")

    with pytest.raises(Stop):
        run_showing_phases(act, feed=Interrupted())
    assert ended == ["job row written"]
