"""Throughput of a sharded backup with 1, 2 and 4 worker processes, and the constants for a calculation on paper.

`python -m tests.benchmarks.shards [MB [SMALL FILES]]`. The repository lies in a bucket of a real server behind a proxy
that makes every request wait 50 ms and lets a connection carry 1 MB/s. A worker has four connections, so the line is
its limit (4 MB/s), and two cores are enough for four workers and the server: what is measured is whether they add up.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from edurise_backup.model.shards import Range, ShardGoal
from edurise_backup.model.snapshot import Snapshot
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import Store
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Label, Saved
from edurise_backup.repository.sharded_saving import ShardAnswer, ShardWork, archive_shard, save_sharded
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.sources.files import FilesSource
from edurise_backup.stores.local import LocalStore
from tests.benchmarks.measuring import cpu_seconds, peak
from tests.support import engine
from tests.support.s3_proxy import Line, S3Proxy
from tests.support.s3_servers import S3Server, rclone_server
from tests.support.s3_stores import new_bucket, store_at

_MB = 1_000_000
LINE = Line(latency=0.05, rate=1_000_000)
ONE_CORE = WriterSettings(pack_size=_MB, workers=1, crew=1)
"""Small packs: a shard of some megabytes fills several, so its connections are used as those of a large one are."""
SHARDS = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker finds repository and source."""

    root: str
    keys: str
    server: S3Server | None
    bucket: str

    def store(self) -> Store:
        """Open the store anew."""
        if self.server is None:
            return LocalStore(Path(self.bucket))
        return store_at(self.server, self.bucket, Path(self.keys), prefix="")


@dataclass(frozen=True, slots=True)
class Done:
    """What a worker has done, and what it took."""

    answer: ShardAnswer
    peak: int
    cpu: float


def work(place: Place, ranges: Sequence[Range], parent: Snapshot | None) -> Done:
    """Archive one shard in a worker process."""
    began = cpu_seconds()
    repository = Repository.open(place.store(), engine.PASSPHRASE)
    with repository.lock(at_once=True) as lock:
        repository.load_index_without(())
        answer = archive_shard(
            repository,
            FilesSource([place.root]),
            ranges,
            lock,
            parent=parent,
            progress=SilentProgress(),
            settings=ONE_CORE,
        )
    return Done(answer, peak(), cpu_seconds() - began)


def back_up(place: Place, workers: int) -> tuple[Saved, list[Done], float]:
    """Back up the source with so many workers; return the snapshot, what they did, and the seconds."""
    repository = Repository.open(place.store(), engine.PASSPHRASE)
    done: list[Done] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(abs, range(workers * 4)))  # processes that have started, as those of a cluster have
        began = time.perf_counter()

        def run(task: ShardWork) -> list[ShardAnswer]:
            futures = [pool.submit(work, place, shard.ranges, task.parent) for shard in task.plan.shards]
            done.extend(future.result() for future in futures)
            return [one.answer for one in done]

        source = FilesSource([place.root])
        with repository.lock(at_once=True) as lock:
            repository.load_index(strict=False)
            saved = save_sharded(
                repository,
                source,
                Label(source.paths, host="benchmark"),
                lock,
                run=run,
                goal=ShardGoal(count=SHARDS),
                progress=SilentProgress(),
                settings=ONE_CORE,
            )
        return saved, done, time.perf_counter() - began


def fill(root: Path, size: int) -> None:
    """Make films of a MB, which nothing shrinks, in a flat directory and in folders."""
    rng = random.Random(2)
    for number in range(size // _MB):
        path = root / ("flat" if number % 2 else f"course {number % 10}") / f"film {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(_MB))


def over_the_line(folder: Path, size: int) -> list[dict[str, object]]:
    """Measure 1, 2 and 4 workers at the far end of the line."""
    root = folder / "source"
    fill(root, size)
    rows: list[dict[str, object]] = []
    with rclone_server(folder / "server") as server, S3Proxy(server, line=LINE) as proxy:
        for workers in (1, 2, 4):
            place = Place(str(root), str(folder / "keys"), proxy.server, new_bucket(server))
            engine.create(store_at(server, place.bucket, folder / "keys", prefix=""))
            before = len(proxy.requests)
            _, done, seconds = back_up(place, workers)
            rows.append(
                {
                    "workers": workers,
                    "seconds": round(seconds, 1),
                    "MB/s": round(size / _MB / seconds, 1),
                    "CPU seconds": round(sum(one.cpu for one in done), 1),
                    "requests": len(proxy.requests) - before,
                    "requests per GiB": round((len(proxy.requests) - before) / (size / (1 << 30))),
                    "most MB of a worker": round(max(one.peak for one in done) / _MB),
                }
            )
    return rows


def constants(folder: Path, files: int, size: int) -> dict[str, object]:
    """Measure one worker of one core on a directory: small files, then large ones, then a second backup."""
    rng = random.Random(3)
    small, large = folder / "small", folder / "large"
    for number in range(files):
        path = small / f"{number % 200}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(2000))
    fill(large, size)
    found: dict[str, object] = {}
    for name, root in (("small", small), ("large", large)):
        repository = str(folder / f"repository {name}")
        engine.create(LocalStore(Path(repository)))
        place = Place(str(root), str(folder), None, repository)
        saved, done, seconds = back_up(place, 1)
        again, _, seconds_again = back_up(place, 1)
        stats = saved.archived.stats
        store = LocalStore(Path(repository))
        index = sum(size for _, size in store.list(Kind.INDEX))
        blobs = saved.added.data_blobs + saved.added.tree_blobs
        found[name] = {
            "files": stats.files,
            "µs per file": round(seconds * 1e6 / stats.files),
            "CPU µs per file": round(sum(one.cpu for one in done) * 1e6 / stats.files),
            "MB/s": round(stats.source_bytes / _MB / seconds),
            "µs per unchanged file": round(seconds_again * 1e6 / again.archived.stats.files),
            "index bytes per blob": round(index / blobs, 1),
            "blobs per MB": round(saved.added.data_blobs / (stats.source_bytes / _MB), 2),
        }
    return found


def tree_bytes(folder: Path, files: int) -> float:
    """Return the stored bytes of trees for each small file."""
    repository = Repository.open(LocalStore(folder / "repository small"), engine.PASSPHRASE)
    index = repository.load_index()
    kinds, lengths = index.kinds(range(len(index))), index.lengths(range(len(index)))
    return round(sum(length for kind, length in zip(kinds, lengths, strict=True) if kind == 1) / files, 1)


def main() -> None:
    """Measure, and print one JSON document."""
    size, files = ([int(word) for word in sys.argv[1:]] + [64, 20_000][len(sys.argv) - 1 :])[:2]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report: dict[str, object] = {"line": over_the_line(folder, size * _MB)}
        report["constants"] = constants(folder, files, 2 * size * _MB)
        report["tree bytes per file, stored"] = tree_bytes(folder, files)
    sys.stdout.write(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
