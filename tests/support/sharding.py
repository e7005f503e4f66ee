"""Sharded backups for tests, without Dask: shards one after the other, each in a repository opened anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edurise_backup.config import Settings
from edurise_backup.model.shards import Shard, ShardGoal
from edurise_backup.model.snapshot import Snapshot
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.shard_work import do_order
from edurise_backup.ports import Clock, Progress, Store, utc_now
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Label, Saved
from edurise_backup.repository.sharded_saving import ShardAnswer, ShardWork, archive_shard, save_sharded
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.sources.files import FilesSource
from tests.support import engine

Worker = Callable[[ShardWork, Shard], ShardAnswer]


def work_at(store: Store, paths: Sequence[Path], settings: WriterSettings = engine.TINY) -> Worker:
    """Return a worker that opens the repository and the source by itself, as one of another process does."""

    def work(task: ShardWork, shard: Shard) -> ShardAnswer:
        repository = Repository.open(store, engine.PASSPHRASE)
        with repository.lock(settle=engine.AT_ONCE) as lock:
            repository.load_index_without(task.lost)
            source = FilesSource([str(path) for path in paths])
            return archive_shard(
                repository,
                source,
                shard.ranges,
                lock,
                parent=task.parent,
                progress=SilentProgress(),
                settings=settings,
            )

    return work


def back_up_sharded(
    repository: Repository,
    *paths: Path,
    work: Worker | None = None,
    goal: ShardGoal = ShardGoal(count=4),  # noqa: B008  a frozen value
    between: Callable[[], object] = lambda: None,
    everything: bool = False,
    settings: WriterSettings = engine.TINY,
    now: Clock = utc_now,
) -> Saved:
    """Publish a snapshot of directory trees in shards; `between` happens once all have answered."""
    worker = work or work_at(repository.store, paths, settings)

    def run(task: ShardWork) -> list[ShardAnswer]:
        answers = [worker(task, shard) for shard in task.plan.shards]
        between()
        return answers

    source = FilesSource([str(path) for path in paths])
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

    def do(self, orders: Sequence[bytes], *, progress: Progress) -> Iterator[tuple[int, bytes]]:
        """Do the orders, two at a time."""
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
