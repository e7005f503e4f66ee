"""Simulate the log of a busy and of an idle server: what the archive costs in objects, requests and bytes.

    python -m tests.benchmarks.wal_year [--publications 288] [--keep 30]

The archive is the product's, in a store in memory that counts. Busy: each 30
seconds a segment ends, and half of the next is there (the archive holds
`--keep` days of such segments before). Idle: a heartbeat a minute, which
changes the end of a partial segment. So many publications are made one after
the other, then what is older than the window is trimmed, and a prune without
grace follows. The log's own bytes are left out of "beside the log". A year is
the measured publication times 1,051,200 (busy) or 525,600 (idle); a prune a
day. Figures, no verdict.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from edurise_backup.cli.output import table
from edurise_backup.model.wal import Segment, Timeline
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import Buffer
from edurise_backup.repository.fates import PruneOptions
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.pruner import prune
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_archive import CUT, WalArchive, WalContent
from tests.support import engine
from tests.support.stores import MemoryStore

SIZE = 16 * 1024 * 1024
BUSY, IDLE = 1_051_200, 525_600
"""Publications in a year: one each 30 seconds, one a minute."""
PER_DAY = 2880
RANDOM = 66 * 1024
"""So many bytes of a busy piece do not compress, the rest is zeros: a segment takes the 4 MiB that it usually does."""
HEARTBEAT = 300
"""Bytes of log that a heartbeat and what the server adds to it take."""
Contents = Iterator[list[WalContent]]


class CountingStore(MemoryStore):
    """Counts requests by their kind, and the bytes of what is put."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Count, and keep."""
        self.asked["put"] += 1
        self.asked["bytes"] += sum(memoryview(piece).nbytes for piece in pieces)
        super().put(name, pieces)

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Count, and return."""
        self.asked["get"] += 1
        return super().get(name, offset=offset, length=length)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Count, and return."""
        self.asked["list"] += 1
        return super().list(prefix)

    def delete(self, name: str) -> None:
        """Count, and delete."""
        self.asked["delete"] += 1
        super().delete(name)


class Log:
    """An archive in a store that counts, with a clock of its own."""

    def __init__(self) -> None:
        self.store = CountingStore()
        self.repository: Repository = engine.create(self.store)
        self.repository.load_index()
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)
        self.archive = WalArchive(self.repository, "main", "7123456789012345678", SIZE, host="year", now=self._now)
        self.log_bytes = 0

    def _now(self) -> datetime:
        return self.moment

    def publish(self, contents: Sequence[WalContent]) -> None:
        """Publish as the receiver does, under a lock of its own."""
        self.moment += timedelta(seconds=30)
        with self.repository.lock(settle=engine.AT_ONCE) as lock:
            self.archive.refresh()
            done = self.archive.publish(contents, lock)
        self.log_bytes += done.stored_bytes if done else 0

    def go_on(self, contents: Contents, publications: int) -> None:
        """Publish so many times."""
        for _ in range(publications):
            self.publish(next(contents))

    def trim(self, names: Sequence[str]) -> None:
        """Take segments away."""
        with self.repository.lock(settle=engine.AT_ONCE) as lock:
            self.archive.refresh()
            self.archive.trim(names, lock)

    def tidy(self, old: Sequence[str]) -> None:
        """Do what an hour and a day bring: a trim, and a prune."""
        if old:
            self.trim(old)
        self.consolidate()

    def consolidate(self) -> None:
        """Prune; what is unused goes at once, because no grace passes here."""
        options = PruneOptions(grace=engine.AT_ONCE, max_removed=1.0)
        prune(self.repository, options, progress=SilentProgress(), settle=engine.AT_ONCE)

    def count(self) -> dict[str, str]:
        """Return how many objects there are, by kind, and the bytes that are not data."""
        found = {
            kind: list(MemoryStore.list(self.store, kind.value)) for kind in (Kind.PACK, Kind.INDEX, Kind.SNAPSHOT)
        }
        return {
            "packs": f"{len(found[Kind.PACK]):,}",
            "index files": f"{len(found[Kind.INDEX]):,}",
            "index bytes": f"{sum(size for _, size in found[Kind.INDEX]):,}",
            "snapshots": f"{len(found[Kind.SNAPSHOT]):,}",
        }


def name(number: int) -> str:
    """Return the name of a segment of the first timeline."""
    return Segment(Timeline(1), number).name(SIZE)


def busy(first: int, moment: datetime) -> Contents:
    """Yield a segment and half of the next, which the next begins with."""
    half = _pieces(random.Random(first), 32)
    for number in range(first, first + BUSY):
        pieces = random.Random(number + 1)
        whole = half + _pieces(pieces, 32)
        half = _pieces(pieces, 32)
        partial = half + bytes(SIZE - len(half))
        yield [WalContent(name(number), whole, moment), WalContent(f"{name(number + 1)}.partial", partial, moment)]


def idle(moment: datetime) -> Contents:
    """Yield a partial segment that grows."""
    source = random.Random(7)
    log = bytearray(SIZE)
    for at in range(0, SIZE - HEARTBEAT, HEARTBEAT):
        log[at : at + HEARTBEAT] = source.randbytes(HEARTBEAT)
        yield [WalContent(f"{name(1)}.partial", bytes(log), moment)]


def _pieces(source: random.Random, count: int) -> bytes:
    return b"".join(source.randbytes(RANDOM) + bytes(CUT - RANDOM) for _ in range(count))


def main() -> None:
    """Simulate both, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publications", type=int, default=288, help="so many are made and measured")
    parser.add_argument("--keep", type=int, default=30, help="days of log that the busy archive holds before")
    given = parser.parse_args()
    log = Log()
    old = [name(number) for number in range(given.keep * PER_DAY)]
    log.publish([WalContent(one, b"old", log.moment) for one in old])
    log.consolidate()
    report("busy", log, busy(len(old), log.moment), given.publications, BUSY, old[: given.publications])
    log = Log()
    report("idle", log, idle(log.moment), given.publications, IDLE, [])


def report(title: str, log: Log, contents: Contents, publications: int, year: int, old: Sequence[str]) -> None:
    """Print what publications cost, what a year of them would, and what a trim and a prune leave."""
    spent = _counted(log, lambda: log.go_on(contents, publications))
    beside = spent["bytes"] - log.log_bytes
    rows = [("put", spent["put"]), ("deleted", spent["delete"]), ("got", spent["get"]), ("listed", spent["list"])]
    rows += [("bytes beside the log", beside), ("bytes of the log", log.log_bytes)]
    before = log.count()
    tidied = _counted(log, lambda: log.tidy(old))
    after = log.count()
    scaled = [[what, f"{n / publications:,.1f}", f"{n * year // publications:,}"] for what, n in rows]
    lines = [
        f"{title}: {publications} publications",
        table(["", "a publication", "a year"], scaled),
        table(["", "before the prune", "after"], [[kind, before[kind], after[kind]] for kind in before]),
        f"trim and prune: {dict(tidied)}\n",
    ]
    print("\n\n".join(lines))  # noqa: T201


def _counted(log: Log, work: Callable[[], object]) -> Counter[str]:
    before = Counter(log.store.asked)
    work()
    return log.store.asked - before


if __name__ == "__main__":
    main()
