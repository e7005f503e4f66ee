"""Child processes: they answer, they stop, they do not outlive their parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edurise_backup.errors import ConflictError, ToolError
from flows import processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(600)",
]


def gone(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def test_a_child_that_ignores_the_signal_is_killed() -> None:
    reading, writing = os.pipe()
    with open(writing, "wb") as log:
        child = processes.start(DEAF, environment=os.environ, log=log)
    with open(reading, "rb") as said:
        assert said.readline() == b"deaf\n"
        processes.stop(child, seconds=0.1)
    assert child.returncode == -signal.SIGKILL


def test_a_child_ends_when_its_parent_is_killed() -> None:
    program = (
        "import os, sys, time\nfrom flows.processes import start\n"
        f"child = start({SLEEP!r}, environment=os.environ)\nprint(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        parent.kill()
    processes.wait_until(lambda: gone(child), "the orphan", seconds=10)


def test_waiting_ends_with_the_process_that_is_waited_for(tmp_path: Path) -> None:
    with (
        processes.running(
            [sys.executable, "-c", "raise SystemExit(3)"],
            environment=os.environ,
            log_path=tmp_path / "log",
            stop_seconds=1,
        ) as child,
        pytest.raises(ToolError, match="ended with status 3"),
    ):
        processes.wait_until(lambda: False, "the child", seconds=20, process=child)


def test_waiting_has_an_end() -> None:
    with pytest.raises(ToolError, match="did not answer"):
        processes.wait_until(lambda: False, "nobody", seconds=0)


def test_a_port_in_use_is_refused_with_the_variable_that_moves_it() -> None:
    with socket.socket() as taken:
        taken.bind((processes.LOOPBACK, 0))
        taken.listen()
        with pytest.raises(ConflictError) as refusal:
            processes.require_free(taken.getsockname()[1], what="the dashboard", variable="SOME_PORT")
    assert "the dashboard" in refusal.value.message
    assert "SOME_PORT" in refusal.value.hint


def test_children_and_their_variables_are_found() -> None:
    child = processes.start(SLEEP, environment={**os.environ, "EDURISE_TEST": "x=1"})
    try:
        assert child.pid in processes.children(os.getpid())
        processes.wait_until(
            lambda: processes.variable_of(child.pid, "EDURISE_TEST") == "x=1", "the child's environment", seconds=10
        )
        assert processes.variable_of(child.pid, "EDURISE_OTHER") is None
    finally:
        processes.stop(child, seconds=5)
    assert processes.children(child.pid) == []
