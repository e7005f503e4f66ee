"""Measure full, unchanged and changed backups of a demonstration platform's files beside stock restic.

    python -m tests.benchmarks.beside_restic [--scale 10] [--runs 3] [--work DIRECTORY]

Both tools back up the same files in the same run, in turn; each phase begins
with an empty page cache where this user may empty it. Prints medians: wall
seconds, MB/s of the source, CPU seconds, peak memory, and what the repository
takes. Restic's cache is off, as ours has none. Figures, no verdict.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edurise_backup.cli.output import table
from edurise_backup.demonstration.platform import Platform, create_platform, remove_tree
from tests.benchmarks.measuring import empty_page_cache

PHASES = ("full", "unchanged", "changed", "restore", "verify")


@dataclass(frozen=True, slots=True)
class Cost:
    """One run of one command."""

    wall: float
    cpu: float
    peak: int
    """Bytes, of the largest process."""
    repository: int
    """Bytes that it takes afterwards."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A backup program: its commands for a repository and the files."""

    name: str
    init: Callable[[Path], list[str]]
    backup: Callable[[Path, Path], list[str]]
    restore: Callable[[Path, Path], list[str]]
    verify: Callable[[Path], list[str]]


def tools(password: Path) -> list[Tool]:
    """Return ours, ours without the check before writing, and restic."""
    us = [sys.executable, "-m", "edurise_backup"]
    shutil_restic = shutil.which("restic") or ".tools/usr/bin/restic"

    def ours(repository: Path, *words: str) -> list[str]:
        return [*us, "repo", words[0], "-q", "-r", str(repository), "-p", str(password), *words[1:]]

    def restic(repository: Path, *words: str) -> list[str]:
        return [shutil_restic, "-q", "--no-cache", "-r", str(repository), "-p", str(password), *words]

    def our(name: str, *options: str) -> Tool:
        return Tool(
            name,
            lambda repository: ours(repository, "init"),
            lambda repository, files: ours(repository, "backup", *options, str(files)),
            lambda repository, target: ours(repository, "restore", "latest", "--target", str(target)),
            lambda repository: ours(repository, "check", "--read-data"),
        )

    return [
        our("ours"),
        our("ours, --no-check", "--no-check"),
        Tool(
            "restic",
            lambda repository: restic(repository, "init"),
            lambda repository, files: restic(repository, "backup", str(files)),
            lambda repository, target: restic(repository, "restore", "latest", "--target", str(target)),
            lambda repository: restic(repository, "check", "--read-data"),
        ),
    ]


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=10)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=None, help="where to work; it needs four times the files' room")
    given = parser.parse_args()
    work = given.work or Path(tempfile.mkdtemp(prefix="beside-restic-"))
    work.mkdir(parents=True, exist_ok=True)
    costs: dict[tuple[str, str], list[Cost]] = {}
    sizes: list[int] = []
    for run in range(given.runs):
        sys.stderr.write(f"run {run + 1} of {given.runs}\n")
        sizes.append(measure(work, given.scale, run, costs))
    report(costs, statistics.median(sizes))


def measure(work: Path, scale: float, run: int, costs: dict[tuple[str, str], list[Cost]]) -> int:
    """Make the platform, run every tool through every phase; return the files' bytes."""
    password = work / "password"
    password.write_text("benchmark\n")
    for left in work.iterdir():
        if left != password:
            remove_tree(left)
    platform = create_platform(work / "platform", seed=1, scale=scale)
    order = tools(password)
    order = order[run % len(order) :] + order[: run % len(order)]
    repositories = {tool.name: work / f"repository-{number}" for number, tool in enumerate(order)}
    for tool in order:
        run_command(tool.init(repositories[tool.name]))
    for phase in ("full", "unchanged"):
        take(phase, order, repositories, platform, costs)
    platform.change(2)
    take("changed", order, repositories, platform, costs)
    for tool in order:
        target = work / "restored"
        note(costs, tool, "restore", tool.restore(repositories[tool.name], target), repositories[tool.name])
        remove_tree(target)
        note(costs, tool, "verify", tool.verify(repositories[tool.name]), repositories[tool.name])
    size = sum(path.lstat().st_size for path in platform.storage.rglob("*") if path.is_file() and not path.is_symlink())
    platform.stop()
    return size


def take(
    phase: str,
    order: list[Tool],
    repositories: dict[str, Path],
    platform: Platform,
    costs: dict[tuple[str, str], list[Cost]],
) -> None:
    """Let each tool back up once."""
    for tool in order:
        repository = repositories[tool.name]
        note(costs, tool, phase, tool.backup(repository, platform.storage), repository)


def note(
    costs: dict[tuple[str, str], list[Cost]], tool: Tool, phase: str, command: list[str], repository: Path
) -> None:
    """Run a command with a cold cache and keep what it cost."""
    empty_page_cache()
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    taken = sum(path.stat().st_size for path in repository.rglob("*") if path.is_file())
    cost = Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, taken)
    costs.setdefault((tool.name, phase), []).append(cost)


def run_command(command: list[str]) -> None:
    """Run a command whose cost does not count."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def report(costs: dict[tuple[str, str], list[Cost]], source: float) -> None:
    """Print the medians."""
    rows = []
    for phase in PHASES:
        for tool in dict.fromkeys(name for name, _ in costs):
            runs = costs[tool, phase]
            wall = statistics.median(run.wall for run in runs)
            base = statistics.median(run.wall for run in costs["restic", phase])
            rows.append(
                [
                    phase,
                    tool,
                    f"{wall:.2f}",
                    f"{min(run.wall for run in runs):.2f}-{max(run.wall for run in runs):.2f}",
                    f"{wall / base:.2f}",
                    f"{source / 1e6 / wall:.0f}",
                    f"{statistics.median(run.cpu for run in runs):.1f}",
                    f"{statistics.median(run.peak for run in runs) / 1e6:.0f}",
                    f"{statistics.median(run.repository for run in runs) / 1e6:.1f}",
                ]
            )
    head = ["Phase", "Tool", "Wall s", "min-max", "× restic", "MB/s", "CPU s", "Peak MB", "Repository MB"]
    sys.stdout.write(f"{source / 1e6:.0f} MB of files\n{table(head, rows)}\n")


if __name__ == "__main__":
    main()
