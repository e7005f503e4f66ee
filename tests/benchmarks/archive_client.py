"""Measure what an archive_command costs beyond the start of its interpreter.

    python -m tests.benchmarks.archive_client [--rounds 31] [--mib 16] [--folder DIRECTORY] [--python /usr/bin/python3]

In turn: the interpreter with nothing to do, the client with a new segment each time and an acceptor in a process of its
own, and what the disk alone takes for the same bytes (write, fsync, link, fsync of the folder), which nobody who
answers "durable" can save. Prints milliseconds: of a machine that works
on other things, too, the least says most. Figures, no verdict.
"""

from __future__ import annotations

import argparse
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from edurise_backup.cli.output import table
from tests.support.archiving import CLIENT, Handed, accepting_apart

_SYSTEM = 7_700_000_000_000_000_000
_MAGIC = 0xD116


def main(arguments: Sequence[str]) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--mib", type=int, default=16)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--python", default="/usr/bin/python3")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        took = measured(Path(name), asked.rounds, asked.mib << 20, [asked.python, "-I", "-S"])
    start = took["interpreter"]
    rows = []
    for what, all_ in took.items():
        figures = (min(all_), middle(all_), late(all_), min(all_) - min(start), middle(all_) - middle(start))
        rows.append([what, *(f"{value * 1000:.1f}" for value in figures)])
    head = ["Milliseconds", "least", "median", "9 of 10", "beyond the start: least", "median"]
    print(table(head, rows))  # noqa: T201


def measured(folder: Path, rounds: int, size: int, python: list[str]) -> dict[str, list[float]]:
    """Return the seconds of each round."""
    took: dict[str, list[float]] = {"interpreter": [], "client": [], "disk alone": []}
    handed = Handed(f"{1:024X}", bytes(size), str(_SYSTEM))
    with accepting_apart(folder, handed):
        for number in range(1, rounds + 3):
            name = f"00000001{number // (2**32 // size):08X}{number % (2**32 // size):08X}"
            path = folder / "pg_wal"
            content = segment(number, size)
            path.write_bytes(content)
            hand_over = [*python, str(CLIENT), str(folder / "socket"), str(path), name]
            times = (
                timed(partial(subprocess.run, [*python, "-c", "pass"], check=True)),
                timed(partial(subprocess.run, hand_over, check=True)),
                timed(partial(on_disk_alone, folder, content)),
            )
            for all_, one in zip(took.values(), times, strict=True):
                all_.append(one)
    return {what: all_[2:] for what, all_ in took.items()}  # the first ones load what is not cached yet


def segment(number: int, size: int) -> bytes:
    """Return bytes that begin like a segment, and cannot be compressed."""
    head = struct.pack("<HHIQI4xQII", _MAGIC, 2, 1, number * size, 0, _SYSTEM, size, 8192)
    return head + os.urandom(size - len(head))


def on_disk_alone(folder: Path, content: bytes) -> None:
    """Write the bytes durably, in the simplest way."""
    descriptor = os.open(folder / "plain.tmp", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    os.write(descriptor, content)
    os.fsync(descriptor)
    os.close(descriptor)
    os.link(folder / "plain.tmp", folder / "plain")
    place = os.open(folder, os.O_RDONLY)
    os.fsync(place)
    os.close(place)
    (folder / "plain.tmp").unlink()
    (folder / "plain").unlink()


def timed(act: Callable[[], object]) -> float:
    """Return how long it takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def middle(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def late(values: Sequence[float]) -> float:
    """Return what nine of ten stay below."""
    return statistics.quantiles(values, n=10)[8]


if __name__ == "__main__":
    main(sys.argv[1:])
