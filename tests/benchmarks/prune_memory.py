"""Measure memory and time of planning a prune, and of loading the index for a backup, with very many blobs.

    python -m tests.benchmarks.prune_memory [--blobs 10000000] [--used 0.9] [--work DIRECTORY] [--repository DIRECTORY]

Makes a repository whose index files, trees and snapshot are real and whose
packs of data are holes (`synthetic_repository`), then plans a prune of it, and
loads its index, each in a process of its own that does what `repo prune
--dry-run` and `repo backup` do, the key derivation and the lock apart. Prints
for each step the seconds that it took, the memory at its end and the peak
until then (MB of 10^6 bytes), and the peak's bytes for each blob beyond what
there was before the index. Warm cache. Figures, no verdict.

10 million blobs take 1 GB of disk, 153,000 inodes, and two minutes to make.
`--repository` keeps what was made there, and uses it again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from edurise_backup.cli.output import table
from tests.benchmarks.index_memory import Request, Steps
from tests.benchmarks.measuring import apart
from tests.benchmarks.synthetic_repository import Made, Shape


def main() -> None:
    """Make the repository, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blobs", type=int, default=10_000_000)
    parser.add_argument("--used", type=float, default=0.9, help="the share of the blobs that a snapshot refers to")
    parser.add_argument("--work", type=Path, default=None, help="where to work, and to clean up")
    parser.add_argument("--repository", type=Path, default=None, help="made when it is not there, and kept")
    given = parser.parse_args()
    if given.repository is not None:
        report(*measure(given.repository.absolute(), given.blobs, given.used))
        return
    work = Path(tempfile.mkdtemp(prefix="prune-memory-", dir=given.work)).absolute()
    try:
        report(*measure(work / "repository", given.blobs, given.used))
    finally:
        shutil.rmtree(work)


def measure(place: Path, blobs: int, used: float) -> tuple[Steps, Steps]:
    """Return what planning and loading took."""
    if not place.exists():
        began = time.monotonic()
        made = apart("tests.benchmarks.synthetic_repository", Shape(place=str(place), blobs=blobs, used=used), Made)
        sys.stderr.write(
            f"made {made.data_blobs:,} data blobs, {made.used_data_blobs:,} of them used, "
            f"in {time.monotonic() - began:.0f} s\n"
        )
    plan, load = (apart("tests.benchmarks.index_memory", Request(str(place), plan), Steps) for plan in (True, False))
    return plan, load


def report(plan: Steps, load: Steps) -> None:
    """Print both."""
    rows = []
    for work, steps in (("plan a prune", plan), ("load the index", load)):
        before = steps.steps[0].resident
        rows += [
            [
                work,
                step.name,
                f"{step.seconds:.1f}",
                f"{step.resident / 1e6:.0f}",
                f"{step.peak / 1e6:.0f}",
                f"{(step.peak - before) / steps.blobs:.0f}",
            ]
            for step in steps.steps
        ]
    head = ["Work", "Step", "Seconds", "Memory MB", "Peak MB", "B a blob"]
    sys.stdout.write(f"{plan.told}\n{table(head, rows)}\n")


if __name__ == "__main__":
    main()
