"""How a file is read that a running PostgreSQL changes in place: pages of one size, mended later from the WAL."""

from __future__ import annotations

import msgspec

BLOCK = 8192
"""Bytes of a page, unless the server was built with another size."""
RELATION_FILE = 1 << 30
"""Bytes of a relation's file before the next one begins (RELSEG_SIZE is so many pages)."""


class PageCheck(msgspec.Struct, array_like=True, frozen=True):
    """Which checksum each page of a file must have."""

    first: int
    """The number, in its relation, of the file's first page."""
    before: int
    """LSN: a page that was written at or after it may be torn, and the WAL has it whole."""
    block: int = BLOCK


class Paged(msgspec.Struct, array_like=True, frozen=True):
    """A file that may change while it is read, which is no fault: of it counts what is there when it is opened.

    It may grow, shrink and vanish meanwhile.
    """

    cut: int
    """Bytes of a chunk, a multiple of a page: a page that is changed in place leaves the other chunks as they are."""
    check: PageCheck | None = None
    """None where pages have no checksums."""
    begin: int = 0
    """Where reading begins, in bytes: a large file is read in ranges, by several at once."""
    end: int | None = None
    """Where it ends; None: at the size that the file has when it is opened."""
