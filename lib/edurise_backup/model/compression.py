"""How hard blobs are compressed, as a person says it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edurise_backup.errors import InputError

WORDS = r"^(auto|off|max|[1-9]|1[0-9])\Z"
_MAX = 19


@dataclass(frozen=True, slots=True)
class Compression:
    """zstd's level for file contents; trees and all else are always compressed, at the usual level."""

    level: int | None
    """None: contents are stored as they are."""
    sampled: bool = False
    """Contents of which a sample does not shrink are stored as they are, unseen."""


AUTO = Compression(3, sampled=True)
AUTO_DATABASE = Compression(2)
"""Of dumps and base backups: three fifths of level 3's time, for 1 to 4 % more room (`docs/performance.md`).

Samples would cost a quarter more: zstd sees by itself what does not shrink, before it has cost as much as they do.
"""
TREES = Compression(3)


def parse_compression(text: str, *, auto: Compression = AUTO) -> Compression:
    """Return what `auto`, `off`, `max` or a level from 1 to 19 means; raises InputError."""
    if not re.match(WORDS, text):
        raise InputError(f"{text!r} is no compression", hint="write auto, off, max, or a level from 1 to 19")
    match text:
        case "auto":
            return auto
        case "off":
            return Compression(None)
        case "max":
            return Compression(_MAX)
        case _:
            return Compression(int(text))
