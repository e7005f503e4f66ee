"""The names under which a restore keeps what is not in its place yet, or not any more."""

from __future__ import annotations

import re
import secrets

_UNFINISHED = ".edurise-restore-"
_ASIDE = ".edurise-replaced-"
_LEFT_OVER = re.compile(re.escape(_UNFINISHED) + r"[0-9a-f]{16}\Z")


def unfinished_name() -> str:
    """Return a name for a file that is being made: the next run removes what a killed one left under such a name."""
    return _UNFINISHED + secrets.token_hex(8)


def aside_name() -> str:
    """Return a name for something old that made way: it may be the only copy, so nobody takes it for a remain."""
    return _ASIDE + secrets.token_hex(8)


def is_left_over(name: str) -> bool:
    """Whether a name is one of `unfinished_name`."""
    return _LEFT_OVER.match(name) is not None
