"""Measure how much a server under load would lose if it burned: the age of the oldest write not in the repository.

    python -m tests.benchmarks.wal_exposure [--minutes 3] [--rows 200]

A server and a catalog of their own; the product's receiver at default settings
(a shipment each 30 seconds); one writer that commits `--rows` rows at a time,
as fast as it can. Each quarter of a second the server's flushed position and
the time are noted; what is exposed is the age of the oldest note beyond what the
repository has, whatever the receiver says of itself. At the end the writer
stops, and the archive must hold all of the log up to where it stopped. Figures,
no verdict.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from edurise_backup.cli.output import table
from edurise_backup.model.wal import Lsn, Segment, Timeline
from edurise_backup.operations.wal.receiving import Reception
from edurise_backup.postgres.connection import connect
from edurise_backup.postgres.server import Server
from edurise_backup.repository.wal_archive import open_archive
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.catalog import Product, opened
from tests.support.cluster_product import configure_cluster, receiving, shipped, written
from tests.support.clusters import SOURCE, ask, reachable_folder, running


@dataclass
class Exposure:
    """What was seen: seconds that were exposed, at each look."""

    notes: list[tuple[float, Lsn]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    """What the receiver says of itself at the same moments."""

    def look(self, server: Server, reception: Reception) -> None:
        """Note where the server is, and what the repository has not."""
        now = time.monotonic()
        self.notes.append((now, written(server)))
        has = reception.status.shipped_lsn or 0
        self.notes = [note for note in self.notes if note[1] > has]
        if reception.status.shipped_lsn is None:
            return
        self.seconds.append(now - self.notes[0][0] if self.notes else 0.0)
        self.told.append(reception.status.exposure(datetime.now(UTC)).total_seconds())


@contextmanager
def writing(server: Server, rows: int) -> Iterator[list[int]]:
    """Commit rows as fast as one connection can; yields a list whose only entry counts the commits."""
    stop, commits = threading.Event(), [0]

    def write() -> None:
        with connect(server.address) as session:
            while not stop.is_set():
                session.execute("INSERT INTO t SELECT g, md5(random()::text) FROM generate_series(1, %s) g", (rows,))
                commits[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield commits
    finally:
        stop.set()
        thread.join()


def main() -> None:
    """Run the load, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--rows", type=int, default=200, help="of a transaction")
    given = parser.parse_args()
    with reachable_folder() as folder, running(folder / "data") as server, running(folder / "catalog") as keeper:
        ask(server, "CREATE TABLE t (id int, v text)")
        product = configure_cluster(folder / "product", server, keeper.address, wal="")
        with opened(product) as catalog, receiving(product, catalog) as reception:
            shipped(reception, server)
            measure(product, server, reception, given.minutes * 60, given.rows)


def measure(product: Product, server: Server, reception: Reception, seconds: float, rows: int) -> None:
    """Print what was exposed while the writer wrote."""
    found, began, start = Exposure(), time.monotonic(), written(server)
    with writing(server, rows) as commits:
        while time.monotonic() - began < seconds:
            reception.step()
            found.look(server, reception)
            threading.Event().wait(0.25)
    log = written(server) - start
    end = shipped(reception, server)
    whole = held(product, end, reception.status.segment_size)
    ordered = sorted(found.seconds)
    rows_ = [
        ["commits a second", f"{commits[0] / seconds:.0f}"],
        ["log, MB/s", f"{log / seconds / 1e6:.1f}"],
        ["exposed, seconds: median", f"{statistics.median(ordered):.1f}"],
        ["99 % of the time below", f"{ordered[int(len(ordered) * 0.99)]:.1f}"],
        ["at most", f"{ordered[-1]:.1f}"],
        ["at most, as the receiver tells", f"{max(found.told):.1f}"],
        ["all of the log is in the repository", str(whole)],
    ]
    print(table(["", f"{seconds:.0f} s"], rows_))  # noqa: T201


def held(product: Product, end: Lsn, size: int) -> bool:
    """Whether the archive has each segment up to a position, the last one at least in part."""
    archive = open_archive(engine.opened(LocalStore(product.repository)), SOURCE, host="exposure")
    assert archive is not None
    names = {name.partition(".")[0] for name, _ in archive.names()}
    first = min(names)
    last = Segment(Timeline(1), (end - 1) // size).name(size)
    return last in names and len([name for name in names if first <= name <= last]) == _count(first, last, size)


def _count(first: str, last: str, size: int) -> int:
    logs = (int(one[8:16], 16) * (2**32 // size) + int(one[16:24], 16) for one in (last, first))
    return next(logs) - next(logs) + 1


if __name__ == "__main__":
    main()
