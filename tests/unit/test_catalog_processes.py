"""Which processes live, seen from this one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from edurise_backup.catalog.processes import Life, Process, life, process_on_this_host, this_process

ME = this_process()
HERE = replace(ME, machine_id="this machine")


def test_this_process_is_alive() -> None:
    assert life(ME, seen_from=ME) is Life.ALIVE


def test_a_process_that_ended_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = process_on_this_host(child.pid)
        assert life(process, seen_from=ME) is Life.ALIVE
        child.kill()
    assert life(process, seen_from=ME) is Life.DEAD


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (replace(ME, ticks=(ME.ticks or 0) + 1), Life.DEAD),
        (replace(HERE, boot_id="another boot"), Life.DEAD),
        (replace(HERE, boot_id="another boot", machine_id="another machine"), Life.UNKNOWN),
        (replace(HERE, boot_id="another boot", machine_id=None), Life.UNKNOWN),
        (replace(ME, host="elsewhere"), Life.UNKNOWN),
        (replace(ME, pid_namespace=1), Life.UNKNOWN),
        (replace(ME, ticks=None), Life.ALIVE),
        (Process(ME.host, ME.pid), Life.UNKNOWN),
    ],
    ids=[
        "number reused",
        "restarted",
        "other machine",
        "perhaps another machine",
        "other host",
        "other container",
        "no start time",
        "nothing known",
    ],
)
def test_a_process_is_known_by_more_than_its_number(process: Process, expected: Life) -> None:
    assert life(process, seen_from=HERE) is expected
