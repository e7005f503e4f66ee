"""Processors that may be used: a container's share counts, not the machine's number."""

from __future__ import annotations

from pathlib import Path

import pytest

from edurise_backup.machine.cores import allowed, cores

MANY = 1 << 16


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, MANY),
        ({"": "max 100000"}, MANY),
        ({"a/b": "200000 100000"}, 2),
        ({"a": "150000 100000", "a/b": "max 100000"}, 2),
        ({"a": "50000 100000", "a/b": "800000 100000"}, 1),
        ({"a/b": "no number"}, MANY),
    ],
)
def test_the_narrowest_group_above_decides(tmp_path: Path, limits: dict[str, str], expected: int) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for group, limit in limits.items():
        (tmp_path / group / "cpu.max").write_text(limit + "\n")
    assert allowed(tmp_path, "/a/b") == expected


def test_there_is_always_one() -> None:
    assert cores() >= 1
