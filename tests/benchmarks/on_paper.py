"""What 1 TB, 100 TB and 10 PB need, calculated from what was measured: the tables of `docs/scale.md`.

    python -m tests.benchmarks.on_paper [--file-kb 1000] [--chunk-kib 512] [--pack-mib 16] [--ratio 0.6] [--cores 2]

Every constant is a measurement of this product on two cores (`docs/performance.md`, `docs/scale.md` say by which
command); everything else is arithmetic, which `work_of` shows. Change a constant, and see what follows.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

from edurise_backup.cli.output import table

FULL_SECONDS, INCREMENTAL_SECONDS, VERIFY_SECONDS, RECOVERY_SECONDS = 4 * 3600, 3600, 1800, 7200
"""The mission's targets."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one worker with two cores."""

    first_bytes: float = 180e6
    """Bytes of a source that a first backup takes in a second, each blob proved; large files."""
    first_file: float = 140e-6
    """CPU seconds that a small file costs beside its bytes."""
    unchanged_file: float = 25e-6
    """Seconds that a name costs when nothing changed, inodes read from the disk."""
    verified_bytes: float = 600e6
    """Bytes of a source that are read back and proved in a second."""
    restored_bytes: float = 345e6
    index_bytes: float = 60
    """Memory of a blob in the index."""
    index_stored: float = 50
    """Bytes of a blob in an index file."""
    tree_stored: float = 60
    """Bytes that a file costs in stored trees."""
    node_bytes: float = 400
    """Memory of a node of a directory that is open."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is backed up, and how."""

    bytes: float
    file_bytes: float
    chunk_bytes: float
    pack_bytes: float
    stored_ratio: float
    """Bytes that are stored for each of the source."""
    changed: float = 0.01
    """Part that changes between two backups."""


@dataclass(frozen=True, slots=True)
class Work:
    """What it takes; seconds are those of one worker."""

    files: float
    blobs: float
    stored: float
    full_seconds: float
    incremental_seconds: float
    verify_seconds: float
    recovery_seconds: float
    index_memory: float
    tree_stored: float
    packs: float


def work_of(source: Source, one: Measured, cores: int) -> Work:
    """Calculate it; pure."""
    speed = cores / 2
    files = source.bytes / source.file_bytes
    blobs = files * max(1.0, source.file_bytes / source.chunk_bytes)
    stored = source.bytes * source.stored_ratio
    full = source.bytes / one.first_bytes + files * one.first_file / 2
    return Work(
        files=files,
        blobs=blobs,
        stored=stored,
        full_seconds=full / speed,
        incremental_seconds=(files * one.unchanged_file + source.changed * full) / speed,
        verify_seconds=source.bytes / one.verified_bytes / speed,
        recovery_seconds=source.bytes / one.restored_bytes / speed,
        index_memory=blobs * one.index_bytes,
        tree_stored=files * one.tree_stored,
        packs=stored / source.pack_bytes,
    )


def rows_of(works: dict[str, Work]) -> list[list[str]]:
    """Return the table, a column for each source."""
    lines: list[tuple[str, list[str]]] = [
        ("files", [count(work.files) for work in works.values()]),
        ("blobs", [count(work.blobs) for work in works.values()]),
        ("stored", [size(work.stored) for work in works.values()]),
        ("a first backup by one worker", [duration(work.full_seconds) for work in works.values()]),
        ("workers for a full backup in 4 h", [needed(work.full_seconds, FULL_SECONDS) for work in works.values()]),
        ("an incremental by one worker", [duration(work.incremental_seconds) for work in works.values()]),
        (
            "workers for an incremental in 1 h",
            [needed(work.incremental_seconds, INCREMENTAL_SECONDS) for work in works.values()],
        ),
        (
            "workers to verify all of it in 30 min",
            [needed(work.verify_seconds, VERIFY_SECONDS) for work in works.values()],
        ),
        (
            "workers to bring all of it back in 2 h",
            [needed(work.recovery_seconds, RECOVERY_SECONDS) for work in works.values()],
        ),
        ("line for the full backup in 4 h", [rate(work.stored / FULL_SECONDS) for work in works.values()]),
        ("index in each worker's memory", [size(work.index_memory) for work in works.values()]),
        ("trees, stored", [size(work.tree_stored) for work in works.values()]),
        ("packs, a PUT each (elsewhere than at Amazon a HEAD, too)", [count(work.packs) for work in works.values()]),
    ]
    return [[name, *cells] for name, cells in lines]


def needed(seconds: float, target: float) -> str:
    """Return how many workers do it in time."""
    return f"{max(1, math.ceil(seconds / target)):,}"


def duration(seconds: float) -> str:
    """Return a length of time in two figures."""
    for unit, length in (("years", 365 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.2g} s"


def size(count_of: float) -> str:
    """Return bytes in two figures, by powers of ten."""
    return scaled(count_of, ("B", "kB", "MB", "GB", "TB", "PB"))


def count(number: float) -> str:
    """Return a number in two figures."""
    return scaled(number, ("", "thousand", "million", "thousand million", "million million")).strip()


def rate(bytes_a_second: float) -> str:
    """Return how wide the line must be."""
    return scaled(8 * bytes_a_second, ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"))


def scaled(number: float, units: tuple[str, ...]) -> str:
    """Return a number with the unit that suits it."""
    power = 0
    while number >= 1000 and power + 1 < len(units):
        number, power = number / 1000, power + 1
    return f"{number:.3g} {units[power]}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file-kb", type=float, default=1000, help="mean size of a file, kB")
    parser.add_argument("--chunk-kib", type=float, default=512, help="mean size of a chunk, KiB")
    parser.add_argument("--pack-mib", type=float, default=16, help="size of a pack, MiB")
    parser.add_argument("--ratio", type=float, default=0.6, help="bytes stored for each byte of the source")
    parser.add_argument("--cores", type=int, default=2, help="cores of a worker")
    given = parser.parse_args()
    works = {
        name: work_of(
            Source(amount, given.file_kb * 1e3, given.chunk_kib * 1024, given.pack_mib * (1 << 20), given.ratio),
            Measured(),
            given.cores,
        )
        for name, amount in (("1 TB", 1e12), ("100 TB", 1e14), ("10 PB", 1e16))
    }
    print(table(["", *works], rows_of(works)))  # noqa: T201  a table is what it is for


if __name__ == "__main__":
    main()
