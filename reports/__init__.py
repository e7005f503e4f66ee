"""Reports of a period: what was backed up, proved, recovered and removed, and whether the objectives were met.

This is the door. Names are imported when they are first used: laying out a
PDF needs a library that no other command has to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.keeping import find_report, folder_of, list_reports, read_file, verify_report
    from reports.making import expected_sources, make_report
    from reports.periods import Period, parse_period

_HOMES = {
    "Period": "periods",
    "expected_sources": "making",
    "find_report": "keeping",
    "folder_of": "keeping",
    "list_reports": "keeping",
    "make_report": "making",
    "parse_period": "periods",
    "read_file": "keeping",
    "verify_report": "keeping",
}

__all__ = [
    "Period",
    "expected_sources",
    "find_report",
    "folder_of",
    "list_reports",
    "make_report",
    "parse_period",
    "read_file",
    "verify_report",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
