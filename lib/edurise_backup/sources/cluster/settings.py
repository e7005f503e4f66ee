"""How a cluster's files are cut into chunks."""

from __future__ import annotations

CUT = 64 * 1024
"""Bytes of a chunk of a relation: eight pages. 1 TB has 15 million of them (`docs/performance.md` compares sizes)."""
WAL_CUT = 256 * 1024
"""Bytes of a chunk of the WAL: what a segment that still grows has stored twice at most, half of it on average."""
