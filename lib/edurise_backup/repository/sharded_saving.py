"""Make one snapshot of what several workers store: each a shard, whoever joins them the trees above.

Each line is durable before the next one begins: a shard's packs → its index
file → its answer → the joined trees' packs → their index file → the snapshot.
Whoever joins holds a lock from before the plan until after the snapshot, so no
prune takes away what a shard has found; each worker holds one of its own. A
worker that ends early, or comes twice, leaves blobs that nothing refers to.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edurise_backup.errors import DamageError
from edurise_backup.model.shards import Range, ShardGoal, ShardPlan
from edurise_backup.model.snapshot import Snapshot
from edurise_backup.pipeline.archiver import Archived, Parent, archive
from edurise_backup.pipeline.shards.joining import Before, JoinedSource
from edurise_backup.pipeline.shards.part import PartialSource, partial_parent, real_stats, sum_of
from edurise_backup.pipeline.shards.weighing import plan_from_source, plan_from_tree
from edurise_backup.ports import Clock, DividedSource, Progress, Source, utc_now
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Label, Saved, find_parent, parent_from, publish_archived
from edurise_backup.repository.writer import WriterSettings, WriterStats


@dataclass(frozen=True, slots=True)
class ShardAnswer:
    """A shard whose blobs are durable and indexed; `archived.tree` has a directory for each of its ranges."""

    archived: Archived
    added: WriterStats
    index_files: tuple[str, ...]
    """The index files that it relied on."""


@dataclass(frozen=True, slots=True)
class ShardWork:
    """What all workers of a backup must know."""

    plan: ShardPlan
    parent: Snapshot | None
    """Itself and not its name: somebody may forget it meanwhile. Its trees stay as long as the lock is held."""
    lost: frozenset[str]
    """Packs that are missing or cut short: what the index says of them counts for nothing."""


RunShards = Callable[[ShardWork], Sequence[ShardAnswer]]
"""Has all shards of a plan archived, somewhere, and returns their answers in the plan's order."""


def archive_shard(
    repository: Repository,
    source: DividedSource,
    ranges: Sequence[Range],
    lock: Lock,
    *,
    parent: Snapshot | None,
    progress: Progress,
    settings: WriterSettings | None = None,
    readers: int = 0,
) -> ShardAnswer:
    """Store one shard; the index must be loaded. Done twice it stores what is missing, and answers the same."""
    settings = settings or WriterSettings()
    before = None if parent is None else parent_from(repository, parent)
    with repository.writer(lock, settings) as sink:
        archived = archive(
            PartialSource(source, ranges),
            sink,
            progress=progress,
            parent=None if before is None else partial_parent(before, ranges, source.place),
            sizes=settings.sizes,
            readers=readers,
        )
    stats = real_stats(archived.stats, len(ranges), with_parent=before is not None)
    return ShardAnswer(replace(archived, stats=stats), sink.stats, tuple(sorted(repository.index_files)))


def save_sharded(
    repository: Repository,
    source: DividedSource,
    label: Label,
    lock: Lock,
    *,
    run: RunShards,
    goal: ShardGoal,
    progress: Progress,
    read_everything: bool = False,
    settings: WriterSettings | None = None,
    readers: int = 0,
    now: Clock = utc_now,
) -> Saved:
    """Publish a snapshot of the source, archived in shards: the same tree as `save_snapshot` makes.

    The index must be loaded. Raises what `run`, the source and the store raise; then nothing is published.
    """
    started = now()
    lost = repository.lost_packs()  # before anybody asks the index, which forgets them
    found = find_parent(repository, label.paths, label.host or socket.gethostname())
    plan = plan_shards(repository, source, None if found is None else found[1].tree, goal, progress=progress)
    before = Before.of(source, plan)
    opened = plan.opened
    plan = plan.without(opened - before.folders.keys())  # the last snapshot's directories that are no more
    if read_everything:
        found = None
    parent_id, parent = (found[0], parent_from(repository, found[1])) if found else (None, None)
    answers = run(ShardWork(plan, found[1] if found else None, lost))
    progress.raise_if_cancelled()
    lock.confirm()  # was it lost meanwhile, what the shards stored may be gone
    repository.learn_index()
    for answer in answers:
        repository.rely_on(answer.index_files)
    trees = [answer.archived.tree for answer in answers]
    joined = JoinedSource(source, plan, trees, opened=opened, read_tree=repository.read_tree_once, before=before)
    top, added_last = _archive_top(repository, joined, lock, parent, progress, settings or WriterSettings(), readers)
    archived = _whole(top, [answer.archived for answer in answers])
    added = _added([*(answer.added for answer in answers), added_last])
    return publish_archived(
        repository, archived, added, label, lock, progress=progress, parent=parent_id, started=started, now=now
    )


def _archive_top(
    repository: Repository,
    joined: Source,
    lock: Lock,
    parent: Parent | None,
    progress: Progress,
    settings: WriterSettings,
    readers: int,
) -> tuple[Archived, WriterStats]:
    """Store the trees of the directories that were opened, and what came late."""
    with repository.writer(lock, settings) as sink:
        top = archive(joined, sink, progress=progress, parent=parent, sizes=settings.sizes, readers=readers)
    return top, sink.stats


def plan_shards(
    repository: Repository, source: DividedSource, tree: str | None, goal: ShardGoal, *, progress: Progress
) -> ShardPlan:
    """Cut the source by what its last snapshot's tree weighs; without one that can be read, by what is there now."""
    if tree is not None:
        try:
            return plan_from_tree(repository.read_tree_once, tree, goal, progress, source.afterwards)
        except DamageError as error:
            repository.damage.append(f"the last snapshot does not say how to cut this one: {error.message}")
    return plan_from_source(source, goal, progress)


def _whole(top: Archived, parts: Sequence[Archived]) -> Archived:
    problems = dict.fromkeys(problem for part in (*parts, top) for problem in part.problems)
    return Archived(top.tree, sum_of([*parts, top]), tuple(problems))


def _added(parts: Sequence[WriterStats]) -> WriterStats:
    total = WriterStats()
    for part in parts:
        for name in WriterStats.__slots__:
            setattr(total, name, getattr(total, name) + getattr(part, name))
    return total
