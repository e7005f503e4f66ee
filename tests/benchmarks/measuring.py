"""What the benchmarks share: the memory of a process, measuring in a process of its own, an empty page cache."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import msgspec

ROOT = Path(__file__).parents[2]
"""The checkout: the benchmarks run as modules from here."""

Answer = TypeVar("Answer")


def resident() -> int:
    """Return the bytes of memory that this process has now."""
    return _status("VmRSS")


def peak() -> int:
    """Return the most bytes of memory that this process ever had.

    Not ru_maxrss where there is a choice: it begins with the memory of whoever started this process.
    """
    return _status("VmHWM")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def apart(module: str, request: object, answer: type[Answer]) -> Answer:
    """Run a module in a process of its own: it gets `request` as JSON on its input, and prints the answer as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module], input=msgspec.json.encode(request), stdout=subprocess.PIPE, cwd=ROOT, check=True
    )
    return msgspec.json.decode(done.stdout, type=answer)


def asked(kind: type[Answer]) -> Answer:
    """Return what `apart` was given, in that process."""
    return msgspec.json.decode(sys.stdin.buffer.read(), type=kind)


def answer_with(answer: object) -> None:
    """Give `apart` its answer, in that process."""
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")


def empty_page_cache() -> None:
    """Empty the page cache, where this user may."""
    os.sync()
    place = Path("/proc/sys/vm/drop_caches")
    if os.access(place, os.W_OK):
        place.write_text("3")
