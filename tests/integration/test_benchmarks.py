"""The benchmarks run, in their smallest size; what they measure is nothing to test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.measuring import ROOT


def run(name: str, *words: object) -> str:
    """Run a benchmark; return what it prints."""
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_primitives_are_measured(tmp_path: Path) -> None:
    table = run("micro", "--quick", "--work", tmp_path)
    assert "MB/s" in table
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_growth_is_measured(tmp_path: Path) -> None:
    table = run("scaling", "--steps", 1, "--largest", 0.0005, "--work", tmp_path)
    assert "restore" in table
    assert list(tmp_path.iterdir()) == []


def test_the_memory_of_a_prune_is_measured_on_a_repository_that_can_be_pruned(tmp_path: Path) -> None:
    table = run("prune_memory", "--blobs", 20_000, "--repository", tmp_path / "repository")
    used, of = (int(word.replace(",", "")) for word in table.split()[2:5:2])
    assert 0.85 < used / of < 0.95
    assert run("prune_memory", "--repository", tmp_path / "repository").startswith(table.splitlines()[0])


def test_the_report_of_a_quarter_is_measured(tmp_path: Path) -> None:
    table = run("report_quarter", "--jobs", 300, "--work", tmp_path)
    assert table.startswith("300 jobs: ")
    assert "backups.csv" in table
    assert list(tmp_path.iterdir()) == []


def test_chunk_sizes_are_compared_on_files(tmp_path: Path) -> None:
    for version in ("first", "second"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "numbers").write_text("\n".join(map(str, range(200_000))) + version)
    table = run("chunk_sizes", "--only", "files", "--averages", "256,1024", "--work", tmp_path)
    assert "256 KiB" not in table, "without files there is nothing to compare"
    trees = ("--files", tmp_path / "first", "--second", tmp_path / "second")
    table = run("chunk_sizes", "--only", "files", "--averages", "256,1024", "--work", tmp_path, *trees)
    assert table.count("256 KiB") == table.count("1024 KiB") == 2


@pytest.mark.slow
def test_chunk_sizes_are_compared_on_a_database_and_its_folder(tmp_path: Path) -> None:
    table = run("chunk_sizes", "--averages", "256", "--scale", 0.001, "--work", tmp_path, "--only", "dump", "folder")
    assert table.count("256 KiB") == 6


@pytest.mark.slow
def test_workers_that_share_a_source_are_measured() -> None:
    report = json.loads(run("shards", 4, 100))
    assert [row["workers"] for row in report["line"]] == [1, 2, 4]
    assert report["constants"]["small"]["files"] == 100
