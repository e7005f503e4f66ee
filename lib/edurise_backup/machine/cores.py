"""How many processors this process may use: not those of the machine, where a container or cpuset gives less."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


@lru_cache(maxsize=1)
def cores() -> int:
    """Return the number of processors worth of work that can be done at once; at least 1."""
    return max(1, min(len(os.sched_getaffinity(0)), allowed(_CGROUPS, _own_group())))


def allowed(root: Path, group: str) -> int:
    """Return the processors that a control group and those above it allow, rounded up (cgroup v2: `cpu.max`).

    Many where nothing limits them, or this system does not tell.
    """
    found = 1 << 16
    place = root / group.strip("/")
    while True:
        with suppress(OSError, ValueError):
            quota, period = (place / "cpu.max").read_text().split()
            if quota != "max":
                found = min(found, max(1, -(-int(quota) // int(period))))
        if place == root:
            return found
        place = place.parent


def _own_group() -> str:
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, _, group = line.partition("::")
            if number == "0":
                return group
    return ""
