"""Measure how long a report of a quarter takes, and how much memory, with very many jobs in the catalog.

    python -m tests.benchmarks.report_quarter [--jobs 100000] [--work DIRECTORY]

Makes an embedded catalog, writes the jobs with their parts, verifications,
recoveries and expected runs by COPY, and makes the report in a process of its
own. Prints seconds, that process's peak memory (MB of 10^6 bytes; the
database server is not part of it) and the sizes of the files. Warm cache.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edurise_backup import operations
from edurise_backup.cli.output import table
from edurise_backup.config import load_settings
from tests.benchmarks.measuring import apart
from tests.benchmarks.report_apart import Made, Request
from tests.support.history import write_history

START = datetime(2026, 7, 1, tzinfo=UTC)
LENGTH = timedelta(days=92)


def main() -> None:
    """Make the catalog, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--work", type=Path, default=None, help="where to work, and to clean up")
    given = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="report-quarter-", dir=given.work)).absolute()
    try:
        path = work / "edurise-backup.toml"
        path.write_text('data_directory = "data"\n')
        began = time.monotonic()
        with operations.open_catalog(load_settings(path, {})) as catalog:
            with catalog.sessions.transaction() as connection:
                write_history(connection, jobs=given.jobs, start=START, length=LENGTH)
            request = Request(str(path), "2026-Q3", START + LENGTH + timedelta(days=1))
            sys.stderr.write(f"made {given.jobs:,} backups in {time.monotonic() - began:.0f} s\n")
            report(given.jobs, apart("tests.benchmarks.report_apart", request, Made))
    finally:
        shutil.rmtree(work)


def report(jobs: int, made: Made) -> None:
    """Print what was measured."""
    rows = [[name, f"{size:,}"] for name, size in made.files.items()]
    sys.stdout.write(
        f"{jobs:,} jobs: {made.seconds:.1f} s, {made.cpu:.1f} s of CPU, peak {made.peak / 1e6:.0f} MB, {made.verdict}\n"
        f"{table(['File', 'Bytes'], rows)}\n"
    )


if __name__ == "__main__":
    main()
