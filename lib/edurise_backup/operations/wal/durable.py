"""Give files their names so that they keep them through a crash, and never take another's (SCENARIOS S-34)."""

from __future__ import annotations

import os
from pathlib import Path

_PIECE = 1 << 20


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, durable; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_durably(path: Path, target: Path) -> None:
    """Give a durable file a second name, durably; raises FileExistsError, OSError."""
    os.link(path, target)
    sync(target.parent)


def is_same(one: Path, other: Path) -> bool:
    """Whether two files have the same bytes; raises OSError."""
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        while piece := left.read(_PIECE):
            if piece != right.read(_PIECE):
                return False
    return True
