"""Read `global/pg_control`: which cluster a data directory is, and where its last checkpoint lies.

Source: PostgreSQL's `src/include/catalog/pg_control.h`. The checksum stands
behind fields whose number differs by version, so its place is found by trying.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import crc32c

from edurise_backup.errors import DamageError
from edurise_backup.model.wal import Lsn, Timeline

SIZE = 8192
_HEAD = struct.Struct("<QIIi4xqQQII8xQ")
_CHECKSUM = struct.Struct("<I")
_CHECKSUM_PLACES = range(200, 400, 4)


@dataclass(frozen=True, slots=True)
class ControlFile:
    """What a cluster says of itself."""

    system_identifier: str
    control_version: int
    catalog_version: int
    checkpoint: Lsn
    redo: Lsn
    """Where replay begins when the server starts from that checkpoint."""
    timeline: Timeline
    next_xid: int
    """Transactions from this number on began after that checkpoint (64 bits: with the epoch)."""


def parse_control(content: bytes) -> ControlFile:
    """Return what the file says; raises DamageError when its checksum is wrong, as it is while it is being written."""
    if len(content) < _CHECKSUM_PLACES.stop or not any(_is_checksum(content, place) for place in _CHECKSUM_PLACES):
        raise DamageError("pg_control has no right checksum", hint="check the server's disk; pg_controldata shows it")
    identifier, control, catalog, _state, _time, checkpoint, redo, timeline, _previous, next_xid = _HEAD.unpack_from(
        content
    )
    return ControlFile(str(identifier), control, catalog, Lsn(checkpoint), Lsn(redo), Timeline(timeline), next_xid)


def _is_checksum(content: bytes, place: int) -> bool:
    (stored,) = _CHECKSUM.unpack_from(content, place)
    return bool(stored == crc32c.crc32c(content[:place]))
