"""Measure what 1, 2 and 4 workers back up in a second, with a store that is far away.

    python -m tests.benchmarks.workers [--mib 24] [--sources 8] [--latency 0.04] [--bandwidth 2] [--work DIRECTORY]

A worker is a process that backs up one source after the other, as a host with one slot does; they share a catalog
(PostgreSQL) and a bucket (`rclone serve s3`). So that this machine's cores are not the limit, a proxy before the bucket
has every request wait for a round trip (`--latency`, seconds) and for its bytes at so many MB/s (`--bandwidth`, of one
connection). What Prefect adds to a run is not in it. Prints a table; figures, no verdict.
"""

from __future__ import annotations

import argparse
import os
import queue
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edurise_backup.cli.output import table
from edurise_backup.operations.configured import make_repository
from tests.support.hosts import Host, site
from tests.support.s3_proxy import Answer, S3Proxy
from tests.support.s3_servers import rclone_server

MIB = 1 << 20


@dataclass(slots=True)
class Distant(S3Proxy):
    """A proxy that is as slow as a line: each request waits for itself, however many there are at once."""

    latency: float = 0.0
    bandwidth: float = 1e9
    """Bytes in a second, each way, of one connection."""

    def ask(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> Answer:
        """Ask the server behind, after the way there and before the way back."""
        self.wait(self.latency + len(body) / self.bandwidth)
        answer = S3Proxy.ask(self, method, path, headers, body)
        self.wait(len(answer.body) / self.bandwidth)
        return answer


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement."""

    workers: int
    seconds: float
    bytes: int
    cpu_seconds: float
    requests: int


def main(arguments: Sequence[str]) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=24)
    parser.add_argument("--sources", type=int, default=8)
    parser.add_argument("--latency", type=float, default=0.04)
    parser.add_argument("--bandwidth", type=float, default=2.0)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--work", type=Path)
    asked = parser.parse_args(arguments)
    work = asked.work or Path(tempfile.mkdtemp(prefix="workers-"))
    points = []
    for count in asked.workers:
        points.append(measured(work / str(count), count, asked))
        print(points[-1], file=sys.stderr, flush=True)  # noqa: T201  what is known if somebody stops it
    shutil.rmtree(work, ignore_errors=True)
    head = ["Workers", "Seconds", "MB/s", "of one", "CPU s", "Requests", "Requests per GiB"]
    print(table(head, [row(point, points[0]) for point in points]))  # noqa: T201


def row(point: Point, first: Point) -> list[str]:
    """Return a measurement as a line of the table."""
    speed = point.bytes / point.seconds
    return [
        str(point.workers),
        f"{point.seconds:.1f}",
        f"{speed / 1e6:.1f}",
        f"{speed / (first.bytes / first.seconds):.2f}",
        f"{point.cpu_seconds:.1f}",
        str(point.requests),
        f"{point.requests / (point.bytes / (1 << 30)):.0f}",
    ]


def measured(folder: Path, workers: int, asked: argparse.Namespace) -> Point:
    """Back up all sources with so many workers into a new repository."""
    (folder / "s3").mkdir(parents=True)
    with (
        rclone_server(folder / "s3") as real,
        Distant(real, latency=asked.latency, bandwidth=asked.bandwidth * 1e6) as far,
        site(folder, far.server) as made,
    ):
        sources = [f"part-{number}" for number in range(asked.sources)]
        more = ""
        for name in sources:
            (folder / name).mkdir()
            for number in range(asked.mib):
                (folder / name / f"{number}.bin").write_bytes(os.urandom(MIB))
            more += f'[[files]]\nname = "{name}"\npaths = ["{folder / name}"]\n'
        hosts = [made.add(f"lms-{number}", more=more) for number in range(1, workers + 1)]
        make_repository(hosts[0].settings)
        before, asked_before = cpu(), len(far.requests)
        seconds = timed(hosts, sources)
        return Point(
            workers, seconds, asked.sources * asked.mib * MIB, cpu() - before, len(far.requests) - asked_before
        )


def timed(hosts: Sequence[Host], sources: Sequence[str]) -> float:
    """Return how long the hosts take for all sources, each one after the other."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in sources:
        waiting.put(name)
    failed: list[str] = []

    def work(host: Host) -> None:
        while True:
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            done = host.run("edurise_backup", "backup", "files", "--source", name)
            if done.returncode:
                failed.append(done.stderr)

    began = time.monotonic()
    threads = [threading.Thread(target=work, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        sys.exit(failed[0])
    return time.monotonic() - began


def cpu() -> float:
    """Return the processor time of the workers up to now, those that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


if __name__ == "__main__":
    main(sys.argv[1:])
