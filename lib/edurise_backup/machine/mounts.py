"""On which file system a path lies, and how it is mounted (proc(5), `/proc/self/mountinfo`)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "tmpfs", "overlay", "jfs"})
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system."""

    point: str
    kind: str
    options: frozenset[str]

    @property
    def times_prove(self) -> bool:
        """Whether a file that was written has another time afterwards, seen from here and at once.

        Over a network, or where a program serves the files, another machine's clock or cache may hide it.
        """
        return self.kind in _LOCAL and "lazytime" not in self.options


def mount_of(path: str, *, table: str = "/proc/self/mountinfo") -> Mount | None:
    """Return the file system of an existing path; None where that cannot be told."""
    real = os.path.realpath(path)
    try:
        lines = Path(table).read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    mounts = [mount for line in lines if (mount := _parsed(line)) and _holds(mount.point, real)]
    return max(enumerate(mounts), key=lambda found: (len(found[1].point), found[0]))[1] if mounts else None


def _parsed(line: str) -> Mount | None:
    front, sign, back = line.partition(" - ")
    fields, rest = front.split(" "), back.split(" ")
    if not sign or len(fields) < 6 or len(rest) < 3:
        return None
    point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4])
    return Mount(point, rest[0], frozenset(fields[5].split(",")) | frozenset(rest[2].split(",")))


def _holds(point: str, path: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")
