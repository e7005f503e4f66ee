"""Measure the primitives that the engine stands on, and our own hot paths around them, one at a time, one thread.

    python -m tests.benchmarks.micro [--repeat 7] [--only WORD] [--work DIRECTORY] [--quick]

Prints one table. Each line was measured `--repeat` times, each time for at
least a tenth of a second, warm: the best, and all between the slowest and the
fastest. Bytes are those of the plaintext, MB 10^6 bytes. `--only` measures
the lines that hold a word; `--work` says on which disk packs are written.

Text is records of numbers and prose, of which zstd leaves about a quarter; random
bytes stand for media. Pieces are of 1 MiB, as large chunks are, or of 4
KiB, as small files are. Data is the same in every run. Figures, no verdict.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from edurise_backup.cli.output import table
from edurise_backup.demonstration.prose import Writer


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    repeat: int
    seconds: float
    """The least that one measurement lasts."""
    data: int
    """Bytes of each kind."""
    blobs: int
    """Of an index."""


FULL = Scale(repeat=7, seconds=0.1, data=8 << 20, blobs=500_000)
QUICK = Scale(repeat=1, seconds=0.0, data=1 << 20, blobs=2_000)


@dataclass(frozen=True, slots=True)
class Line:
    """Something to measure: each call of `work` does `count` items, or as many bytes."""

    name: str
    data: str
    work: Callable[[], object]
    count: int
    in_bytes: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """What lines are made from."""

    scale: Scale
    work: Path
    text: bytes
    random: bytes
    zeros: bytes

    def kinds(self) -> Iterator[tuple[str, bytes]]:
        """Yield the kinds of data by name."""
        yield from (("text", self.text), ("random", self.random), ("zeros", self.zeros))


Group = Callable[[Setting], Iterator[Line]]


def main() -> None:
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=FULL.repeat)
    parser.add_argument("--only", default="", help="lines whose name or data holds this")
    parser.add_argument("--work", type=Path, default=None, help="where packs are written")
    parser.add_argument("--quick", action="store_true", help="once and little of it: to see that it runs")
    given = parser.parse_args()
    scale = QUICK if given.quick else Scale(given.repeat, FULL.seconds, FULL.data, FULL.blobs)
    work = Path(tempfile.mkdtemp(prefix="micro-", dir=given.work)).absolute()
    try:
        rows = list(_rows(setting(scale, work), given.only))
    finally:
        shutil.rmtree(work)
    sys.stdout.write(table(["Measured", "Data", "Best", "Slowest to fastest", "Unit"], rows) + "\n")


def _rows(of: Setting, only: str) -> Iterator[list[str]]:
    from tests.benchmarks import micro_model, micro_repository, micro_sealing

    for group in (*micro_sealing.GROUPS, *micro_model.GROUPS, *micro_repository.GROUPS):
        for line in group(of):
            if only in line.name or only in line.data:
                sys.stderr.write(f"{line.name}, {line.data}\n")
                yield _row(line, _seconds(line, of.scale))


def setting(scale: Scale, work: Path) -> Setting:
    """Make the data: the same for the same scale."""
    random = Random(1)
    writer, text = Writer(random), bytearray()
    while len(text) < scale.data:
        record = f"{random.getrandbits(64):016x},{random.randrange(10**6)},{writer.sentence(writer.subject())}\n"
        text += record.encode()
    return Setting(scale, work, bytes(text[: scale.data]), random.randbytes(scale.data), bytes(scale.data))


def _seconds(line: Line, scale: Scale) -> list[float]:
    """Return the seconds of one call, from each measurement."""
    began = time.perf_counter()
    line.work()  # warms up, and tells how often it is called
    calls = max(1, int(scale.seconds / max(1e-9, time.perf_counter() - began)))
    found = []
    for _ in range(scale.repeat):
        began = time.perf_counter()
        for _ in range(calls):
            line.work()
        found.append((time.perf_counter() - began) / calls)
    return found


def _row(line: Line, seconds: list[float]) -> list[str]:
    if line.in_bytes:
        slowest, fastest = (line.count / 1e6 / edge(seconds) for edge in (max, min))
        return [line.name, line.data, f"{fastest:.0f}", f"{slowest:.0f} - {fastest:.0f}", "MB/s"]
    slowest, fastest = (edge(seconds) / line.count * 1e6 for edge in (max, min))
    return [line.name, line.data, _short(fastest), f"{_short(slowest)} - {_short(fastest)}", "µs"]


def _short(number: float) -> str:
    return f"{number:.2f}" if number < 100 else f"{number:,.0f}"


if __name__ == "__main__":
    main()
