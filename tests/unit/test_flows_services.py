"""Services of `make up` end in an order: runs first, what they need afterwards, nobody before the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from flows.processes import stop, wait_until
from flows.services import SERVICES_LOCK, present, wait_until_nobody

KEEP = """
import os, sys
from pathlib import Path
from flows.services import keep
said = Path(sys.argv[1])
def before_stop(pid):
    said.write_text(said.read_text() + "asked ")
sys.exit(keep([sys.executable, "-c", sys.argv[2]], environment=os.environ, before_stop=before_stop))
"""
CHILD = """
import pathlib, signal, sys, time
def end(*_):
    said = pathlib.Path({said!r})
    said.write_text(said.read_text() + "ended ")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path({said!r}).write_text("began ")
time.sleep(600)
"""


def keep(said: Path, home: Path, child: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", KEEP, str(said), child], env={**os.environ, "PREFECT_HOME": str(home)}
    )


def test_a_service_told_to_end_prepares_first_then_ends_its_child(tmp_path: Path) -> None:
    said = tmp_path / "said"
    service = keep(said, tmp_path, CHILD.format(said=str(said)))
    try:
        wait_until(said.exists, "the child", seconds=20, process=service)
        wait_until(lambda: said.read_text() == "began ", "the child", seconds=20)
        service.send_signal(signal.SIGTERM)
        assert service.wait(20) == 0
    finally:
        stop(service, seconds=1)
    assert said.read_text() == "began asked ended "


def test_a_service_whose_child_died_says_so_at_once(tmp_path: Path) -> None:
    service = keep(tmp_path / "said", tmp_path, "raise SystemExit(7)")
    assert service.wait(20) == 7


def test_a_service_stays_until_the_others_have_ended_their_children(tmp_path: Path) -> None:
    said = tmp_path / "said"
    with present(tmp_path / SERVICES_LOCK):
        service = keep(said, tmp_path, CHILD.format(said=str(said)))
        wait_until(lambda: said.exists() and said.read_text() == "began ", "the child", seconds=20)
        service.send_signal(signal.SIGTERM)
        wait_until(lambda: said.read_text().endswith("ended "), "the child's end", seconds=20)
        assert service.poll() is None
    assert service.wait(20) == 0


def test_waiting_for_nobody_ends_when_the_last_one_leaves(tmp_path: Path) -> None:
    lock, leave = tmp_path / "lock", threading.Event()
    inside = threading.Event()

    def stay() -> None:
        with present(lock):
            inside.set()
            leave.wait(20)

    visitor = threading.Thread(target=stay)
    visitor.start()
    inside.wait(20)
    waiter = threading.Thread(target=lambda: wait_until_nobody(lock, seconds=20))
    waiter.start()
    waiter.join(0.3)
    assert waiter.is_alive()
    leave.set()
    waiter.join(20)
    visitor.join(20)
    assert not waiter.is_alive()
