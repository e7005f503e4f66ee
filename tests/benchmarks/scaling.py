"""Measure how time grows with the work: nearly empty files, one flat directory, a sparse file, an index of many blobs.

    python -m tests.benchmarks.scaling [--steps 4] [--largest 1.0] [--work DIRECTORY] [--plot docs/scaling.svg]

Each workload is measured at `steps` sizes up to the largest (100,000 files, 200,000 files in one directory, 20 GB
sparse, 1,000,000 blobs, times `--largest`), through the command line, with a warm cache. Prints a table: seconds, and
microseconds for each unit, which stay the same where time grows linearly. Figures, no verdict.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edurise_backup.cli.output import table
from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.pipeline.archiver import GRANULARITY
from edurise_backup.repository.index import Index
from edurise_backup.repository.index_files import ListedPack

PHASES = ("first", "unchanged", "restore", "check")


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that is made in a size, and what one unit of the size is."""

    name: str
    unit: str
    largest: int
    make: Callable[[Path, int], None]


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement."""

    workload: str
    phase: str
    size: int
    seconds: float
    peak: int
    """Bytes, of the largest process."""


def nearly_empty(top: Path, count: int) -> None:
    """Make files of a few bytes each, a hundred in a directory."""
    for number in range(count):
        folder = top / f"{number // 10000}" / f"{number // 100}"
        if number % 100 == 0:
            folder.mkdir(parents=True)
        (folder / f"{number}").write_bytes(b"%d" % number)


def flat(top: Path, count: int) -> None:
    """Make files of a few bytes each in one directory."""
    top.mkdir()
    for number in range(count):
        (top / f"a file with a name of some length {number}").write_bytes(b"%d" % (number % 1000))


def sparse(top: Path, size: int) -> None:
    """Make one file of `size` MB with a MiB of data at every GB."""
    top.mkdir()
    with (top / "sparse").open("wb") as stream:
        for at in range(0, size, 1000):
            stream.seek(at * 1_000_000)
            stream.write(os.urandom(1 << 20))
        stream.truncate(size * 1_000_000)


WORKLOADS = (
    Workload("nearly empty files", "file", 100_000, nearly_empty),
    Workload("files in one directory", "file", 200_000, flat),
    Workload("one sparse file", "MB", 20_000, sparse),
)
BLOBS = 1_000_000


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--largest", type=float, default=1.0, help="of the sizes that are named above")
    parser.add_argument("--work", type=Path, default=None)
    parser.add_argument("--plot", type=Path, default=None, help="write the curves as an SVG picture")
    given = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="scaling-", dir=given.work))
    points: list[Point] = []
    try:
        for workload in WORKLOADS:
            for size in sizes(workload.largest, given.steps, given.largest):
                sys.stderr.write(f"{workload.name}: {size}\n")
                points += measure(workload, size, work)
        points += [measure_index(size) for size in sizes(BLOBS, given.steps, given.largest)]
    finally:
        shutil.rmtree(work)
    report(points)
    if given.plot is not None:
        given.plot.write_text(picture(points))


def sizes(largest: int, steps: int, share: float) -> list[int]:
    """Return sizes in equal steps."""
    return [max(1, int(largest * share * step / steps)) for step in range(1, steps + 1)]


def measure(workload: Workload, size: int, work: Path) -> list[Point]:
    """Make the workload and take it through all phases."""
    home = work / "one"
    home.mkdir()
    (home / "password").write_text("benchmark\n")
    source, target = home / "source", home / "target"
    workload.make(source, size)
    run(home, "init")
    time.sleep(GRANULARITY / 1e9)  # of what changed just now the second backup would read all again
    points = []
    for phase, words in zip(
        PHASES,
        (
            ("backup", str(source)),
            ("backup", str(source)),
            ("restore", "latest", "--target", str(target)),
            ("check", "--read-data"),
        ),
        strict=True,
    ):
        seconds, peak = run(home, *words)
        points.append(Point(workload.name, phase, size, seconds, peak))
    shutil.rmtree(home)
    return points


def run(home: Path, *words: str) -> tuple[float, int]:
    """Run one command of ours; return (seconds, peak bytes)."""
    command = [sys.executable, "-m", "edurise_backup", "repo", words[0], "-q", "-r", str(home / "repository")]
    command += ["-p", str(home / "password"), *words[1:]]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    return time.monotonic() - began, usage.ru_maxrss * 1024


def measure_index(count: int) -> Point:
    """Make an index of `count` blobs in memory, 64 in a pack, in a process of its own; then look some of them up."""
    code = f"from tests.benchmarks.scaling import fill_index; print(*fill_index({count}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    seconds, peak = done.stdout.split()
    return Point("blobs in the index", "load and find", count, float(seconds), int(peak))


def fill_index(count: int) -> tuple[float, int]:
    """Return (seconds, peak bytes) of loading an index and finding the first blob of each pack."""
    import resource

    offsets, lengths = array("I", range(0, 64_000, 1000)), array("I", [1000] * 64)
    firsts: list[bytes] = []

    def listed() -> Iterator[ListedPack]:  # one by one, as from files: all ids here would be a third of the peak
        for _ in range(count // 64):
            own = os.urandom(32 * 64)
            firsts.append(own[:32])
            yield ListedPack(own[:32], own, bytes(64), offsets, lengths, lengths)

    began = time.monotonic()
    index = Index()
    index.extend(listed())
    for first in firsts:
        assert index.numbers(BlobKind.DATA, BlobId(first))
    return time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def report(points: list[Point]) -> None:
    """Print all measurements."""
    rows = [
        [
            point.workload,
            point.phase,
            f"{point.size:,}",
            f"{point.seconds:.2f}",
            f"{point.seconds / point.size * 1e6:.1f}",
            f"{point.peak / 1e6:.0f}",
        ]
        for point in sorted(points, key=lambda point: (point.workload, point.phase, point.size))
    ]
    sys.stdout.write(table(["Workload", "Phase", "Size", "Seconds", "µs a unit", "Peak MB"], rows) + "\n")


def picture(points: list[Point]) -> str:
    """Return the curves as SVG: each workload's share of its largest size to the right, seconds up, a line a phase."""
    parts = []
    for number, name in enumerate(dict.fromkeys(point.workload for point in points)):
        mine = [point for point in points if point.workload == name]
        most, size = max(point.seconds for point in mine), max(point.size for point in mine)
        left, top = 60 + 300 * (number % 2), 40 + 230 * (number // 2)
        parts.append(f'<text x="{left}" y="{top - 12}" font-weight="bold">{name}, up to {size:,}</text>')
        parts.append(f'<path d="M{left} {top}v160h220" fill="none" stroke="#888"/>')
        parts.append(f'<text x="{left - 6}" y="{top + 8}" text-anchor="end">{most:.1f} s</text>')
        for shade, phase in enumerate(dict.fromkeys(point.phase for point in mine)):
            ordered = sorted((point for point in mine if point.phase == phase), key=lambda point: point.size)
            way = " ".join(
                f"{left + 220 * point.size / size:.0f},{top + 160 - 160 * point.seconds / most:.0f}"
                for point in ordered
            )
            colour = ("#1f77b4", "#2ca02c", "#d62728", "#9467bd")[shade]
            parts.append(
                f'<polyline points="{left},{top + 160} {way}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
            parts.append(f'<text x="{left + 55 * shade}" y="{top + 176}" fill="{colour}">{phase}</text>')
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="500" font-family="sans-serif" font-size="11">'
        '<rect width="640" height="500" fill="white"/>' + "".join(parts) + "</svg>\n"
    )


if __name__ == "__main__":
    main()
