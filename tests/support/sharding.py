"""Sharded backups for tests, without Dask: shards one after the other, each in a repository opened anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edurise_backup.config import Settings
from edurise_backup.model.shards import Shard, ShardGoal
from edurise_backup.model.snapshot import Snapshot
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.shard_work import do_order
from edurise_backup.ports import Clock, DividedSource, Progress, Store, utc_now
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Label, Saved
from edurise_backup.repository.sharded_saving import ShardAnswer, ShardWork, archive_shard, save_sharded
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.sources.files import FilesSource
from tests.support import engine

Worker = Callable[[ShardWork, Shard], ShardAnswer]
Opener = Callable[[], DividedSource]


def work_at(store: Store, open_source: Opener, settings: WriterSettings = engine.TINY, readers: int = 0) -> Worker:
    """Return a worker that opens the repository and the source by itself, as one of another process does."""

    def work(task: ShardWork, shard: Shard) -> ShardAnswer:
        repository = Repository.open(store, engine.PASSPHRASE)
        with repository.lock(settle=engine.AT_ONCE) as lock:
            repository.load_index_without(task.lost)
            return archive_shard(
                repository,
                open_source(),
                shard.ranges,
                lock,
                parent=task.parent,
                progress=SilentProgress(),
                settings=settings,
                readers=readers,
            )

    return work


def files_at(*paths: Path) -> Opener:
    """Return what opens directory trees."""
    return lambda: FilesSource([str(path) for path in paths])


def back_up_sharded(repository: Repository, *paths: Path, **more: Any) -> Saved:
    """Publish a snapshot of directory trees in shards; `more` is of `save_in_shards`."""
    return save_in_shards(repository, files_at(*paths), **more)


def save_in_shards(
    repository: Repository,
    open_source: Opener,
    *,
    work: Worker | None = None,
    goal: ShardGoal = ShardGoal(count=4),  # noqa: B008  a frozen value
    between: Callable[[], object] = lambda: None,
    everything: bool = False,
    settings: WriterSettings = engine.TINY,
    readers: int = 0,
    now: Clock = utc_now,
) -> Saved:
    """Publish a snapshot of a source in shards; `between` happens once all have answered."""
    worker = work or work_at(repository.store, open_source, settings, readers)

    def run(task: ShardWork) -> list[ShardAnswer]:
        answers = [worker(task, shard) for shard in task.plan.shards]
        between()
        return answers

    source = open_source()
    with repository.lock(settle=engine.AT_ONCE) as lock:
        repository.load_index(strict=False)
        return save_sharded(
            repository,
            source,
            Label(source.paths, host="tests"),
            lock,
            run=run,
            goal=goal,
            progress=SilentProgress(),
            read_everything=everything,
            settings=settings,
            readers=readers,
            now=now,
        )


class ThreadWorkers:
    """`ports.Workers` of this process: threads that open everything anew for each order, as processes would."""

    count = 2
    cores = 1

    def __init__(self, settings: Settings, *, around: Callable[[int], object] = lambda number: None) -> None:
        """`around` hears of each order before it is done, and may raise."""
        self.settings = settings
        self.orders: list[bytes] = []
        self._around = around

    def check(self) -> None:
        """Threads can always start."""

    def do(
        self, orders: Sequence[bytes], *, progress: Progress, still: Callable[[], Sequence[int]]
    ) -> Iterator[tuple[int, bytes]]:
        """Do the orders, two at a time; a thread cannot be ended."""
        self.orders += orders

        def one(at: int) -> tuple[int, bytes]:
            self._around(at)
            progress.raise_if_cancelled()
            return at, do_order(orders[at], self.settings)

        with ThreadPoolExecutor(self.count) as pool:
            yield from pool.map(one, range(len(orders)))


def below(repository: Repository, saved: Saved | Snapshot, root: Path) -> str:
    """Return the id of the tree of a directory; what is above it, such as /tmp, others change meanwhile."""
    tree = (saved if isinstance(saved, Snapshot) else saved.snapshot).tree
    for name in root.parts[1:]:
        (tree,) = [node.subtree or "" for node in repository.read_tree(tree) if node.name == name]
    return tree
