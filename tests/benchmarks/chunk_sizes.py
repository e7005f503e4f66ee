"""Measure what the average size of chunks does: speed, stored bytes, number of blobs, size of the index, memory.

    python3 ../shared/bench/workload_files.py v1 /tmp/tree
    python -m tests.benchmarks.chunk_sizes --files /tmp/tree \\
        --change "python3 ../shared/bench/workload_files.py v2 /tmp/tree"
        [--averages 256,512,1024] [--runs 3] [--cold] [--scale 1.0] [--work DIRECTORY] [--only files dump folder]

Every average (KiB; the least chunk is a quarter of it, the largest four times)
has a repository of its own for each workload and run; each backup runs in a
process of its own (`chunk_size_backup`). The workloads:

- files: the directory `--files`, then what `--change` (a command) makes of it,
  or `--second` (another directory). A second directory has other paths, so
  all of it is read; what a command left alone is not read again. Without
  `--files` this workload is left out.
- dump: a database like a learning platform's (`learning_database`; 0.7 GB of
  dump at scale 1) through our database source, whose streams are pg_dump's
  custom format, uncompressed: first; after the newest 2 % of the rows were
  changed and 2 % were added; after 2 % of the rows all over it were changed.
- folder: the data folder of that database's stopped server, in the same three
  states, without its WAL, which is backed up in another way.

`--cold` empties the page cache before each backup. Prints medians of the runs;
MB are 10^6 bytes. CPU is our processes' and pg_dump's, not the server's.
`--runs 3` keeps nine repositories of a workload at once. Figures, no verdict.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edurise_backup.cli.output import table
from edurise_backup.pipeline.archiver import GRANULARITY
from tests.benchmarks.chunk_size_backup import Backup, Cost, Database
from tests.benchmarks.learning_database import NAME, LearningDatabase, learning_database
from tests.benchmarks.measuring import apart, empty_page_cache

WORKLOADS = ("files", "dump", "folder")
_FIRST, _SECOND, _THIRD = "first", "newest 2 % changed, 2 % added", "2 % changed all over"


@dataclass(slots=True)
class Trial:
    """The averages that are compared (bytes), and what was measured so far."""

    work: Path
    averages: list[int]
    runs: int
    cold: bool
    costs: dict[tuple[str, str, int], list[Cost]] = field(default_factory=dict)
    """By workload, phase and average."""

    def take(
        self,
        workload: str,
        phase: str,
        *,
        path: str = "",
        exclude: Iterable[str] = (),
        database: Database | None = None,
    ) -> None:
        """Back up what there is now with every average, in another order in each run."""
        if path:
            time.sleep(GRANULARITY / 1e9)  # what changed just now would be read again by the next backup
        for run in range(self.runs):
            turn = run % len(self.averages)
            for average in self.averages[turn:] + self.averages[:turn]:
                sys.stderr.write(f"{workload}, {phase}: {average >> 10} KiB, run {run + 1}\n")
                if self.cold:
                    empty_page_cache()
                repository = str(self.work / f"{workload}-{average}-{run}")
                backup = Backup(repository, average, path, list(exclude), database)
                cost = apart("tests.benchmarks.chunk_size_backup", backup, Cost)
                self.costs.setdefault((workload, phase, average), []).append(cost)

    def drop(self, workload: str) -> None:
        """Remove the repositories of a workload."""
        for place in self.work.glob(f"{workload}-*-*"):
            shutil.rmtree(place)


def main() -> None:
    """Run all and print the table."""
    given = _arguments()
    averages = [int(word) << 10 for word in given.averages.split(",")]
    wanted = set(given.only)
    work = Path(tempfile.mkdtemp(prefix="chunk-sizes-", dir=given.work)).absolute()
    trial = Trial(work, averages, given.runs, given.cold)
    try:
        if given.files is not None and "files" in wanted:
            take_files(trial, given.files, given.change, given.second)
        if wanted & {"dump", "folder"}:
            with learning_database(work / "cluster", given.scale) as database:
                take_database(trial, database, wanted)
    finally:
        shutil.rmtree(work)
    sys.stdout.write(table(HEAD, list(rows(trial))) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, default=None, help="the first version of a tree")
    parser.add_argument("--change", default="", help="a command that makes the second version of it, in place")
    parser.add_argument("--second", type=Path, default=None, help="a directory that is the second version")
    parser.add_argument("--averages", default="256,512,1024", help="KiB")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--cold", action="store_true", help="empty this machine's page cache before each backup")
    parser.add_argument("--scale", type=float, default=1.0, help="of the database")
    parser.add_argument("--work", type=Path, default=None, help="where to work")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=WORKLOADS, help="these workloads")
    return parser.parse_args()


def take_files(trial: Trial, first: Path, change: str, second: Path | None) -> None:
    """Take a tree in its two versions."""
    trial.take("files", _FIRST, path=str(first.absolute()))
    if change:
        subprocess.run(shlex.split(change), check=True, stdout=sys.stderr)
    if change or second is not None:
        trial.take("files", "second", path=str((second or first).absolute()))
    trial.drop("files")


def take_database(trial: Trial, database: LearningDatabase, wanted: set[str]) -> None:
    """Take a database, and its server's data folder, in their three states."""
    for phase, change in (
        (_FIRST, None),
        (_SECOND, database.change_recent),
        (_THIRD, database.change_scattered),
    ):
        if change is not None:
            change()
        if "dump" in wanted:
            at = database.address
            trial.take("dump", phase, database=Database(at.host, at.port, NAME, database.password))
        if "folder" in wanted:
            folder = database.server.data_directory
            database.server.stop()
            trial.take("folder", phase, path=str(folder), exclude=[str(folder / "pg_wal")])
            database.server.start()


HEAD = ["Workload", "Phase", "Average", "Wall s", "CPU s", "Peak MB", "Source MB", "Added MB", "Stored MB"]
HEAD += ["New blobs", "Blobs", "Index KB"]


def rows(trial: Trial) -> Iterator[list[str]]:
    """Yield a row for each workload, phase and average."""
    ordered = sorted(trial.costs.items(), key=lambda item: WORKLOADS.index(item[0][0]))
    for (workload, phase, average), costs in ordered:
        last = costs[-1]
        yield [
            workload,
            phase,
            f"{average >> 10} KiB",
            f"{statistics.median(cost.wall for cost in costs):.2f}",
            f"{statistics.median(cost.cpu for cost in costs):.2f}",
            f"{max(cost.peak for cost in costs) / 1e6:.0f}",
            f"{last.source / 1e6:.1f}",
            f"{statistics.median(cost.added for cost in costs) / 1e6:.1f}",
            f"{statistics.median(cost.stored for cost in costs) / 1e6:.1f}",
            f"{last.new_blobs:,}",
            f"{last.blobs:,}",
            f"{last.index / 1e3:.0f}",
        ]


if __name__ == "__main__":
    main()
